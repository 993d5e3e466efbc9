"""Tokens for wallets: sign a challenge to get a token, and revoke it when done."""

from starlette.requests import Request
from starlette.responses import Response

from pve402 import schemas
from pve402.api import caller, context
from pve402.api.messages import reply
from pve402.api.openapi import operations
from pve402.api.transport import body, routing
from pve402.domain import errors
from pve402.payments import errors as payment_errors
from pve402.payments import networks

router = routing.Router("auth")


@router.post(
    "/auth/challenge",
    **operations.free(schemas.ChallengeAnswer, request=schemas.ChallengeRequest),
)
async def new_challenge(request: Request) -> Response:
    """Get a message (EIP-4361) for the wallet to sign as proof of identity. It works once."""
    wish = body.parse(await body.read(request), schemas.ChallengeRequest)
    challenge = await context.of(request).access.new_challenge(wish.address, _chain(wish.chain))
    answer = schemas.ChallengeAnswer(
        message=challenge.message, nonce=challenge.nonce, expires_at=challenge.expires_at
    )
    return reply.respond(answer)


@router.post("/auth/token", **operations.free(schemas.TokenAnswer, request=schemas.TokenRequest))
async def issue_token(request: Request) -> Response:
    """Exchange a signed challenge for a token.

    With `leaseId` you get a new token for that lease, and the old one is revoked. Without it you
    get a short-lived token for all leases of the wallet. `scope` and `expiresAt` narrow it.
    """
    wish = body.parse(await body.read(request), schemas.TokenRequest)
    issued = await context.of(request).access.issue_token(
        wish.message,
        "0x" + wish.signature.removeprefix("0x"),
        lease_id=wish.lease_id,
        scope=list(wish.scope) if wish.scope else None,
        expires_at=body.in_utc(wish.expires_at, "expiresAt"),
        client_address=context.of(request).gate.client_address(request),
    )
    answer = schemas.TokenAnswer(
        access_token=issued.token,
        expires_at=issued.expires_at,
        lease_id=issued.lease_id,
        owner=issued.owner,
        scope=sorted(issued.scope),
    )
    return reply.respond(answer)


@router.delete("/auth/token", **operations.revocation())
async def revoke_token(request: Request) -> Response:
    """Revoke the token that the request carries."""
    token = caller.token_text(request)
    if token is None:
        raise errors.Unauthenticated
    await context.of(request).access.revoke(token)
    return Response(status_code=204)


def _chain(name: str | None) -> str | None:
    if name is None:
        return None
    try:
        return networks.resolve(name).caip2
    except payment_errors.UnknownNetwork:
        problem = {"field": "chain", "message": "this network is not supported here"}
        raise body.BodyInvalid([problem]) from None
