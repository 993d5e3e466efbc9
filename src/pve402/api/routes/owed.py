"""What is owed to a wallet, and leases for it."""

import asyncio
import dataclasses

from starlette.requests import Request
from starlette.responses import Response

from pve402 import schemas
from pve402.api import caller, context
from pve402.api.messages import debts, lease_request, reply
from pve402.api.messages import leases as lease_messages
from pve402.api.openapi import operations
from pve402.api.transport import body, guard, large_bodies, routing
from pve402.domain import errors
from pve402.leases import service

router = routing.Router("owed")


@router.get("/owed", **operations.of_wallet(list[schemas.OwedItem]))
async def list_owed(request: Request) -> Response:
    """List what the wallet paid and got nothing for.

    It needs a wallet's token: POST /auth/challenge, then POST /auth/token without a leaseId.
    """
    holder = await _wallet(request, "read")
    holding = await context.of(request).redeeming.list_of(holder)
    items = [*map(debts.debt, holding.debts), *map(debts.undelivered, holding.undelivered)]
    return reply.respond_list(items)


@router.post(
    "/owed/{owedId}/redeem",
    **operations.of_wallet(schemas.LeaseAnswer, request=schemas.LeaseRequest),
)
async def redeem_owed(request: Request) -> Response:
    """Lease a container for what is owed instead of a payment; the rest stays owed.

    It needs a token of the wallet that paid. The same request joins a redemption in progress; with
    an Idempotency-Key, a repeated request never redeems twice.
    """
    app = context.of(request)
    raw = await large_bodies.read(request)
    holder = await _wallet(request, "redeem")
    wish = lease_request.to_creation(body.parse(raw, schemas.LeaseRequest))
    wishes = app.gate.wishes_of(request)
    owed_id = request.path_params["owedId"]
    guard.allow_time_for_payment(request, holder.owner)
    redeeming = app.redeeming.redeem(holder, owed_id, wish, **dataclasses.asdict(wishes))
    answer = await asyncio.shield(asyncio.ensure_future(redeeming))
    if answer.order.is_open:
        message = "This is being worked on; ask again with the same request."
        return reply.respond(lease_messages.lease_answer(answer, message, app.ssh_way), 202)
    until = lease_messages.until(answer.lease.expires_at)
    message = f"The container is ready{until}."
    return reply.respond(lease_messages.lease_answer(answer, message, app.ssh_way))


async def _wallet(request: Request, scope: str) -> service.Caller:
    holder = await caller.bearer(request, scope)
    if holder is None:
        raise errors.Unauthenticated("Sign in with the wallet that paid: POST /auth/challenge.")
    return holder
