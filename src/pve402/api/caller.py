"""Identifies the caller: a token holder, or the wallet that pays the management fee.

Headers that only state a name prove nothing, so we ignore them. A caller without proof gets the
same answer for every lease, so the answer does not reveal which leases exist. A proven caller who
does not own the lease gets 404 before anything is settled.
"""

import dataclasses
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from pve402.api import context, gate
from pve402.api.transport import guard
from pve402.domain import errors
from pve402.domain.lease import Lease, is_lease_id
from pve402.leases import service
from pve402.payments import errors as payment_errors

_BEARER: Final = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([\x21-\x7e]{16,256})")
_FREE_OTHERWISE: Final = (
    "payment is required; the call is free if you sign in with your wallet (POST /auth/challenge, "
    "then POST /auth/token) or send the lease's accessToken, as Authorization: Bearer TOKEN"
)
_CTID: Final = re.compile(r"[1-9][0-9]{2,8}")


async def _nothing_due() -> None:
    """Charge nothing: other replicas do not pay for calls."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Call:
    """A management call by a known caller; `charge` settles what is due before the call runs."""

    caller: service.Caller
    lease: Lease | None
    charge: Callable[[], Awaitable[None]] = _nothing_due

    @property
    def the_lease(self) -> Lease:
        """The lease of this call. Raises LeaseNotFound if the call is for none."""
        if self.lease is None:
            raise errors.LeaseNotFound
        return self.lease


async def bearer(request: Request, scope: str) -> service.Caller | None:
    """Return the holder of the request's token; None if the request has no token.

    Call it once the body is read, as the request moves to the lane for known callers.
    Raises Unauthenticated if the token is not ours, NotAllowed if it does not cover `scope`.
    """
    caller = await _holder(request, scope)
    if caller is not None:
        _know(request, caller)
    return caller


async def _holder(request: Request, scope: str) -> service.Caller | None:
    token = token_text(request)
    if token is None:
        return None
    caller = await context.of(request).access.authenticate(token)
    if not caller.may(scope):
        raise errors.NotAllowed
    return caller


def _know(request: Request, holder: service.Caller) -> None:
    guard.know(request, holder.lease_id or holder.owner)


def token_text(request: HTTPConnection) -> str | None:
    """Return the request's bearer token. Raises Unauthenticated if it cannot be one of ours."""
    header = request.headers.get("authorization")
    if header is None:
        return None
    match = _BEARER.fullmatch(header)
    if match is None:
        raise errors.Unauthenticated
    return match[1]


def lease_text(request: Request) -> str:
    """Return the ctid or leaseId of the path. Raises LeaseNotFound if it is neither."""
    return checked_lease_text(request.path_params["ctid"])


def checked_lease_text(text: str) -> str:
    """Return the text if it is a ctid or leaseId. Raises LeaseNotFound if it is neither."""
    if _CTID.fullmatch(text) or is_lease_id(text):
        return text
    raise errors.LeaseNotFound


async def admit(
    request: Request, *, scope: str, description: str, find_lease: bool
) -> Call | Response:
    """Return the call if the caller has a token for `scope` or pays the fee, otherwise the 402.

    With `find_lease`, the lease in the path must belong to the caller. This settles nothing: call
    `Call.charge` once the rest of the request has been checked.
    """
    app = context.of(request)
    text = lease_text(request) if find_lease else None
    holder = await _holder(request, scope)
    if holder is not None:
        found = await app.leases.find(text, holder) if text else None
        return _free(request, holder, found)
    fee_usd = app.leases.catalogue.management_fee_usd
    priced = app.gate.price(fee_usd, request.scope["path"], description, said=_FREE_OTHERWISE)
    if not gate.carries_payment(request):
        return app.gate.ask(priced)
    return await _by_fee(request, app, priced, text)


def _free(request: Request, holder: service.Caller, found: Lease | None) -> Call:
    async def charge() -> None:
        _know(request, holder)  # not before: an unfinished body takes no place of known callers

    return Call(caller=holder, lease=found, charge=charge)


async def _by_fee(
    request: Request,
    app: context.Context,
    priced: gate.Priced,
    text: str | None,
) -> Call:
    purchase = app.gate.judge(request, priced)
    payer = service.Caller(owner=purchase.owner, how="payment", by_key=purchase.by_key)
    found = await _find(app, text, payer) if text else None

    async def charge() -> None:
        canonical: dict[str, Any] = {"lease": found.lease_id if found else None}
        route = f"{request.method} {request.scope['route'].path}"
        paying = app.leases.pay_fee(purchase, route, canonical)
        settled = await app.gate.buy(request, priced, purchase, paying)
        gate.attach_receipt(request, purchase.payment, settled)

    return Call(caller=payer, lease=found, charge=charge)


async def _find(app: context.Context, text: str, payer: service.Caller) -> Lease:
    """Look up the payer's lease; do not reveal that it is missing to an unproven payer."""
    try:
        return await app.leases.find(text, payer)
    except errors.LeaseNotFound:
        if payer.by_key:
            raise
        raise payment_errors.PaymentRejected(
            payment_errors.Code.SIGNATURE_INVALID, "the payer did not sign this payment"
        ) from None
