"""Identifies the caller: a token holder, a wallet that signs in, or one that pays the fee.

Headers that only state a name prove nothing, so we ignore them. A caller without proof gets the
same answer for every lease, so the answer does not reveal which leases exist. A proven caller who
does not own the lease gets 404 before anything is settled.
"""

import dataclasses
import functools
import re
from collections.abc import Awaitable, Callable
from fractions import Fraction
from typing import Any, Final, TypeVar

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from pve402.api import context, gate, terms
from pve402.api.transport import guard, refusal_page
from pve402.domain import errors
from pve402.domain.lease import Lease, is_lease_id
from pve402.leases import service
from pve402.payments import errors as payment_errors
from pve402.payments import sign_in

Answer = TypeVar("Answer")

_BEARER: Final = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([\x21-\x7e]{16,256})")
_FREE_OTHERWISE: Final = (
    "payment is required; the call is free with the lease's accessToken (Authorization: Bearer "
    "TOKEN) and for a wallet that signs in (POST /auth/challenge)"
)
_FOR_PEOPLE: Final = "This address is for programs, which pay for each call or show a token."
_CTID: Final = re.compile(r"[1-9][0-9]{2,8}")


async def _nothing_due() -> None:
    """Charge nothing: other replicas do not pay for calls."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Call:
    """A management call by a known caller; `charge` settles what is due before the call runs."""

    caller: service.Caller
    lease: Lease | None
    charge: Callable[[], Awaitable[None]] = _nothing_due

    async def charge_for(self, read: Callable[[], Awaitable[Answer]]) -> Answer:
        """Return what `read` does, and charge for it; nobody pays for a failure to read.

        Raises what both raise.
        """
        if self.caller.how != "payment":  # charging costs nothing, and moves the request on
            await self.charge()
            return await read()
        answer = await read()
        await self.charge()
        return answer

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
        await _know(request, caller)
    return caller


async def _holder(request: Request, scope: str) -> service.Caller | None:
    token = token_text(request)
    if token is None:
        return None
    caller = await context.of(request).access.authenticate(token)
    if not caller.may(scope):
        raise errors.NotAllowed
    return caller


async def _know(request: Request, holder: service.Caller) -> None:
    await context.of(request).rates.count_caller(holder.owner, by_key=holder.by_key)
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
    """Return the call if the caller has a token for `scope`, signs in or pays; otherwise the 402.

    With `find_lease`, the lease in the path must belong to the caller. This settles nothing: call
    `Call.charge` once the rest of the request has been checked.
    """
    app = context.of(request)
    text = lease_text(request) if find_lease else None
    url = app.gate.public_url + request.scope["path"]
    holder, refused = await _holder(request, scope), ""
    if holder is None:
        holder, refused = await _signed_in(request, url)
    if holder is not None:
        found = await app.leases.find(text, holder) if text else None
        return _free(request, holder, found)
    path, pricing = request.scope["path"], app.leases.prices.of_call
    listed = request.scope["route"].listed

    def put(usd: Fraction) -> gate.Priced:
        said = _FREE_OTHERWISE + refused
        return app.gate.price(usd, path, description, said=said, listed=listed)

    if not gate.carries_payment(request):
        offer = functools.partial(app.access.offer_sign_in, request.method, url)
        asked = app.gate.ask(put(pricing()[0]), offer_sign_in=offer)
        if refusal_page.is_wanted(request):  # a person opened the address of a program
            return refusal_page.answer(request, 402, _FOR_PEOPLE, asked.headers)
        return asked
    priced, purchase = await terms.judge(request, pricing, put)
    app.gate.require_timely(priced, purchase)
    return await _by_fee(request, app, priced, purchase, text)


async def _signed_in(request: Request, url: str) -> tuple[service.Caller | None, str]:
    """Return the wallet of the header SIGN-IN-WITH-X, or why it does not count.

    A call without one may still pay, and is offered to sign in.
    """
    header = request.headers.get(sign_in.HEADER)
    if header is None:
        return None, ""
    app = context.of(request)
    try:
        client = app.gate.client_address(request)
        return await app.access.sign_in(header, request.method, url, client), ""
    except errors.Unauthenticated as refusal:
        return None, f"; {sign_in.EXTENSION} was refused: {refusal.detail}"


def _free(request: Request, holder: service.Caller, found: Lease | None) -> Call:
    async def charge() -> None:
        # Not before: an unfinished body takes no place of known callers.
        await _know(request, holder)

    return Call(caller=holder, lease=found, charge=charge)


async def _by_fee(
    request: Request,
    app: context.Context,
    priced: gate.Priced,
    purchase: service.Purchase,
    text: str | None,
) -> Call:
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
