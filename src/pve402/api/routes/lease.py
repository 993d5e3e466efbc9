"""Leases: price, buy, show, renew, end."""

from fractions import Fraction

from starlette.requests import Request
from starlette.responses import Response

from pve402 import schemas
from pve402.api import caller, context, gate
from pve402.api.messages import lease_request, prices, reply
from pve402.api.messages import leases as lease_messages
from pve402.api.openapi import operations
from pve402.api.transport import body, routing
from pve402.domain import errors, lease
from pve402.domain.catalogue import Sku
from pve402.domain.request import CreationRequest
from pve402.leases import service

router = routing.Router("lease")

_LEASE = "A container by the minute"
_RENEWAL = "More minutes for a container"
_LOOK = "Show a lease"
_END = "End a lease early"


@router.post("/lease/container", **operations.paid(schemas.LeaseRequest, schemas.LeaseAnswer))
async def lease_container(request: Request) -> Response:
    """Lease a container.

    Without a body the answer is 402 with the lowest price; a body that cannot be served is
    refused before any payment. The container is created first, and paid for once it runs.
    """
    app = context.of(request)
    raw = await body.read(request)
    await app.leases.check_client(app.gate.client_address(request))
    if not raw and not gate.carries_payment(request):
        lowest = app.leases.catalogue.lowest_price_usd()
        return app.gate.ask(_priced(app, request, lowest, _LEASE))
    wish = lease_request.to_creation(body.parse(raw, schemas.LeaseRequest))
    priced = _priced(app, request, app.leases.creation_price_usd(wish), _LEASE)
    if not gate.carries_payment(request):
        await app.leases.check_room(app.leases.catalogue.sku(wish.sku), wish.size)
        return app.gate.ask(priced)
    purchase = app.gate.judge(request, priced, may_join=True)
    creating = app.leases.create(wish, purchase)
    answer = await app.gate.buy(request, priced, purchase, creating)
    gate.attach_receipt(request, purchase.payment, answer.order)
    return _bought(answer, "The container is ready")


@router.post("/lease/{ctid}/renew", **operations.paid(schemas.RenewRequest, schemas.LeaseAnswer))
async def renew_lease(request: Request) -> Response:
    """Add minutes to a lease, at the price of its size.

    They count from the lease's end, or from now if that has passed. A stopped container is
    started first. Only the owner's wallet may pay, or any wallet with a token of the lease.
    """
    app = context.of(request)
    text = caller.lease_text(request)
    raw = await body.read(request)
    await app.leases.check_client(app.gate.client_address(request))
    if not raw and not gate.carries_payment(request):
        lowest = app.leases.catalogue.lowest_minute_usd()
        return app.gate.ask(_priced(app, request, lowest, _RENEWAL))
    minutes = body.parse(raw, schemas.RenewRequest).runtime_minutes
    holder = await caller.bearer(request, "renew")
    found = await app.leases.find(text, holder)
    priced = _priced(app, request, app.leases.renewal_price_usd(found, minutes), _RENEWAL)
    if not gate.carries_payment(request):
        knows_the_lease = holder is not None or lease.is_lease_id(text)
        await _check_renewable(app, found, minutes, knows_the_lease=knows_the_lease)
        return app.gate.ask(priced)
    purchase = app.gate.judge(request, priced, may_join=True)
    renewing = app.leases.renew(found, minutes, purchase, holder)
    answer = await app.gate.buy(request, priced, purchase, renewing)
    gate.attach_receipt(request, purchase.payment, answer.order)
    return _bought(answer, "The lease is renewed")


async def _check_renewable(
    app: context.Context, found: lease.Lease, minutes: int, *, knows_the_lease: bool
) -> None:
    """Raise the error that a renewal would get now.

    A stranger who counted up to a ctid could tell from PaidTooFarAhead until when it is paid.
    """
    try:
        await app.leases.check_renewable(found, minutes)
    except errors.PaidTooFarAhead:
        if knows_the_lease:
            raise


@router.post("/lease/quote", **operations.free(schemas.Quote, request=schemas.LeaseQuoteRequest))
async def quote_lease(request: Request) -> Response:
    """Return the exact price of a new lease or a renewal on each accepted network."""
    app = context.of(request)
    raw = await body.read(request)
    document = body.strict_json(raw)
    if isinstance(document, dict) and "ctid" in document:
        renewal = body.parse(raw, schemas.RenewalQuoteRequest)
        found = await _lease_to_quote(request, renewal.ctid)
        return await _renewal_quote(app, found, renewal)
    wish = lease_request.to_creation(body.parse(raw, schemas.LeaseQuoteRequest), priced_only=True)
    return reply.respond(await _creation_quote(app, wish))


@router.get("/lease/{ctid}", **operations.fee(schemas.LeaseDetails))
async def show_lease(request: Request) -> Response:
    """Show one lease with the live status of its container."""
    call = await caller.admit(request, scope="read", description=_LOOK, find_lease=True)
    if isinstance(call, Response):
        return call
    await call.charge()
    view = await context.of(request).leases.view(call.the_lease)
    return reply.respond(lease_messages.lease_details(view))


@router.delete("/lease/{ctid}", **operations.fee(schemas.LeaseItem, status=202))
async def end_lease(request: Request) -> Response:
    """End a lease early: the container is stopped and destroyed, and nothing is refunded."""

    call = await caller.admit(request, scope="end", description=_END, find_lease=True)
    if isinstance(call, Response):
        return call
    service.check_endable(call.the_lease)
    await call.charge()
    leases = context.of(request).leases
    ended = await leases.end(call.the_lease)
    return reply.respond(lease_messages.lease_item(await leases.view(ended)), 202)


def _priced(app: context.Context, request: Request, usd: Fraction, what: str) -> gate.Priced:
    return app.gate.price(usd, request.scope["path"], what)


def _bought(answer: service.Answer, words: str) -> Response:
    """Build the answer to a purchase; 202 while it is still in progress."""
    bought = answer.lease
    if answer.order.is_open:
        message = "This is still in progress; ask again with the same payment."
        return reply.respond(lease_messages.lease_answer(answer, message), 202)
    message = f"{words}{lease_messages.until(bought.expires_at)}."
    if bought.tenant_status != "active":  # the same payment again, long afterwards
        message = f"The lease is {bought.tenant_status}."
    return reply.respond(lease_messages.lease_answer(answer, message))


async def _creation_quote(app: context.Context, wish: CreationRequest) -> schemas.Quote:
    usd = app.leases.creation_price_usd(wish)
    offers = app.gate.price(usd, "/lease/container", _LEASE).offers
    available = await _has_room(app, app.leases.catalogue.sku(wish.sku), wish.size)
    return prices.quote(wish.sku, wish.size, wish.minutes, usd, offers, available=available)


async def _lease_to_quote(request: Request, text: str) -> lease.Lease:
    """Find a lease by its leaseId, which nobody can guess, or by its ctid with a token.

    Raises Unauthenticated, and LeaseNotFound if the token holder may not see the lease.
    """
    named = caller.checked_lease_text(text)
    leases = context.of(request).leases
    if lease.is_lease_id(named):
        return await leases.find(named)
    holder = await caller.bearer(request, "renew")
    if holder is None:
        raise errors.Unauthenticated(
            "Only a token of the lease opens a quote by ctid; without one, name the leaseId."
        )
    return await leases.find(named, holder)


async def _renewal_quote(
    app: context.Context, found: lease.Lease, wish: schemas.RenewalQuoteRequest
) -> Response:
    await app.leases.check_renewable(found, wish.runtime_minutes)
    usd = app.leases.renewal_price_usd(found, wish.runtime_minutes)
    offers = app.gate.price(usd, f"/lease/{wish.ctid}/renew", _RENEWAL).offers
    priced = prices.quote(found.sku, found.size, wish.runtime_minutes, usd, offers, available=True)
    return reply.respond(priced)


async def _has_room(app: context.Context, sku: Sku, size: lease.Size) -> bool | None:
    """Whether a size fits on some machine now; None if we cannot see the machines."""
    try:
        await app.leases.check_room(sku, size)
    except errors.NoCapacity:
        return False
    except errors.TryLater:
        return None
    return True
