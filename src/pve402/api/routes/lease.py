"""Leases: price, buy, show, renew, end."""

import dataclasses
import functools
from fractions import Fraction

from starlette.requests import Request
from starlette.responses import Response

from pve402 import schemas
from pve402.api import caller, context, gate, terms
from pve402.api.messages import lease_request, prices, reply
from pve402.api.messages import leases as lease_messages
from pve402.api.openapi import operations
from pve402.api.transport import body, guard, large_bodies, preferences, routing, shapes
from pve402.domain import errors, lease, private_images
from pve402.domain.networks import NetworkProfile
from pve402.domain.request import CreationRequest
from pve402.leases import service
from pve402.leases.purchases import Redeemer

router = routing.Router("lease")

_LEASE = "A Linux container by the minute, with root: commands, files, SSH, published ports"
_RENEWAL = "More minutes for a container"
_LOOK = "Show a lease"
_END = "End a lease early"
_SCRIPT = "Show the outcome of a lease's script"
_OFF_SALE = (errors.UnknownSku, errors.OutOfBounds, errors.UnknownTemplate)
_MOST_WAIT_SECONDS = 30
_ANSWER_SECONDS = 30.0


@router.post("/lease/container", **operations.paid(schemas.LeaseRequest, schemas.LeaseAnswer))
async def lease_container(request: Request) -> Response:
    """Lease a container.

    Without a body the answer is 402 with the lowest price; a body that cannot be served is
    refused before any payment. The container is created first, and paid for once it runs.
    """
    app = context.of(request)
    raw = await large_bodies.read(request)
    await app.leases.check_client(app.gate.client_address(request))
    if not raw and not gate.carries_payment(request):
        lowest = app.leases.catalogue.lowest_price_usd()
        return app.gate.ask(_creation_priced(app, request, None, lowest))
    wish = lease_request.to_creation(body.parse(raw, schemas.LeaseRequest))
    pricing = functools.partial(app.leases.prices.of_creation, wish)
    put = functools.partial(_creation_priced, app, request, wish)
    if not gate.carries_payment(request):
        today = pricing()[0]
        await _check_choice(request, wish)
        await app.leases.check_room(app.leases.catalogue.sku(wish.sku), wish.size, wish.template)
        return app.gate.ask(put(today))
    try:
        priced, purchase = await terms.judge(request, pricing, put)
    except _OFF_SALE:  # it may have been bought while it was on sale
        lowest = app.leases.catalogue.lowest_price_usd()
        priced = _creation_priced(app, request, None, lowest)
        purchase = app.gate.judge(request, [priced])
    creating = app.leases.create(wish, purchase)
    answer = await app.gate.buy(request, priced, purchase, creating)
    gate.attach_receipt(request, purchase.payment, answer.order)
    return _bought(app, answer, "The container is ready")


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
        return app.gate.ask(_renewal_priced(app, request, lowest))
    minutes = body.parse(raw, schemas.RenewRequest).runtime_minutes
    holder = await caller.bearer(request, "renew")
    found = await app.leases.find(text, holder)
    pricing = functools.partial(app.leases.prices.of_renewal, found, minutes)
    put = functools.partial(_renewal_priced, app, request)
    if not gate.carries_payment(request):
        today = pricing()[0]
        knows_the_lease = holder is not None or lease.is_lease_id(text)
        await _check_renewable(app, found, minutes, knows_the_lease=knows_the_lease)
        return app.gate.ask(put(today))
    priced, purchase = await terms.judge(request, pricing, put)
    renewing = app.leases.renew(found, minutes, purchase, holder)
    answer = await app.gate.buy(request, priced, purchase, renewing)
    gate.attach_receipt(request, purchase.payment, answer.order)
    return _bought(app, answer, "The lease is renewed")


async def _check_renewable(
    app: context.Context, found: lease.Lease, minutes: int, *, knows_the_lease: bool
) -> None:
    """Raise the error that a renewal would get now.

    A stranger who counted up to a ctid could tell from PaidTooFarAhead until when it is paid, and
    learn what the operator has against its owner.
    """
    try:
        await app.leases.check_renewable(found, minutes)
    except (errors.PaidTooFarAhead, errors.WalletBlocked):
        if knows_the_lease:
            raise
    except errors.LeaseSuspended:
        if knows_the_lease:
            raise
        raise errors.LeaseSuspended from None  # its reason is for its tenant alone


@router.post("/lease/quote", **operations.free(schemas.Quote, request=schemas.LeaseQuoteRequest))
async def quote_lease(request: Request) -> Response:
    """Return the exact price of a new lease or a renewal on each accepted network."""
    app = context.of(request)
    raw = await large_bodies.read(request)
    document = body.strict_json(raw)
    if isinstance(document, dict) and "ctid" in document:
        renewal = body.parse(raw, schemas.RenewalQuoteRequest)
        found = await _lease_to_quote(request, renewal.ctid)
        return await _renewal_quote(app, found, renewal)
    wish = lease_request.to_creation(body.parse(raw, schemas.LeaseQuoteRequest), priced_only=True)
    return reply.respond(await _creation_quote(app, wish))


@router.get("/lease/{ctid}", **operations.lease_shown())
async def show_lease(request: Request) -> Response:
    """Show one lease with the live status of its container.

    With `Prefer: wait=SECONDS`, at most 30, it waits for addresses that the container gets itself.
    """
    call = await caller.admit(request, scope="read", description=_LOOK, find_lease=True)
    if isinstance(call, Response):
        return call
    await call.charge()
    app = context.of(request)
    found = call.the_lease
    seconds = preferences.wait_seconds(request, most=_MOST_WAIT_SECONDS)
    if seconds:
        guard.hold(request, seconds + _ANSWER_SECONDS, found.lease_id, found.owner)
    view = await app.leases.view(found, wait_seconds=seconds)
    view = await app.leases.scripts.seen(view)
    return reply.respond(lease_messages.lease_details(view, app.ssh_way))


@router.get("/lease/{ctid}/user-data", **operations.fee(schemas.UserDataAnswer))
async def show_user_data(request: Request) -> Response:
    """Show what became of the script that came with the lease, and the end of its output."""
    call = await caller.admit(request, scope="exec", description=_SCRIPT, find_lease=True)
    if isinstance(call, Response):
        return call
    found, output = await context.of(request).leases.scripts.outcome(call.the_lease)
    await call.charge()
    return reply.respond(lease_messages.user_data_answer(call.the_lease, found, output))


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


async def _check_choice(request: Request, wish: CreationRequest) -> None:
    """Check a private image before a payment is asked for, if a wallet's token came with it."""
    if private_images.chosen(wish.template) is None:
        return
    holder = await caller.bearer(request, "read")
    if holder is None or holder.lease_id is not None:
        return
    leases = context.of(request).leases
    buyer = Redeemer(owner=holder.owner, by_key=holder.by_key, client_address=None)
    await leases.check_choice(wish, leases.catalogue.sku(wish.sku), buyer)


def _renewal_priced(app: context.Context, request: Request, usd: Fraction) -> gate.Priced:
    listed = request.scope["route"].listed
    return app.gate.price(usd, request.scope["path"], _RENEWAL, listed=listed)


def _creation_priced(
    app: context.Context, request: Request, wish: CreationRequest | None, usd: Fraction
) -> gate.Priced:
    """Return a creation's price, which says how long its network takes."""
    said = gate.SAID if wish is None else gate.SAID + prices.waits(_network(app, wish))
    listed = _cheapest(app, app.leases.prices.version, request.scope["route"].listed)
    return app.gate.price(usd, request.scope["path"], _LEASE, said=said, listed=listed)


@functools.lru_cache(maxsize=8)
def _cheapest(app: context.Context, _version: int, listed: shapes.Listed) -> shapes.Listed:
    """List the cheapest lease as the route's example; once for each version of the catalogue."""
    return dataclasses.replace(listed, example=lease_request.cheapest(app.leases.catalogue))


def _network(app: context.Context, wish: CreationRequest) -> NetworkProfile:
    return app.leases.catalogue.network_of(app.leases.catalogue.sku(wish.sku))


def _bought(app: context.Context, answer: service.Answer, words: str) -> Response:
    """Build the answer to a purchase; 202 while it is still in progress."""
    bought = answer.lease
    if answer.order.is_open:
        message = "This is still in progress; ask again with the same payment."
        return reply.respond(lease_messages.lease_answer(answer, message, app.ssh_way), 202)
    message = f"{words}{lease_messages.until(bought.expires_at)}."
    if bought.tenant_status != "active":  # the same payment again, long afterwards
        message = f"The lease is {bought.tenant_status}."
    return reply.respond(lease_messages.lease_answer(answer, message, app.ssh_way))


async def _creation_quote(app: context.Context, wish: CreationRequest) -> schemas.Quote:
    usd = app.leases.prices.of_creation(wish)[0]
    offers = app.gate.price(usd, "/lease/container", _LEASE).offers
    available = await _has_room(app, wish)
    network = _network(app, wish)
    return prices.quote(
        wish.sku, wish.size, wish.minutes, usd, offers, available=available, connected=network
    )


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
    usd = app.leases.prices.of_renewal(found, wish.runtime_minutes)[0]
    offers = app.gate.price(usd, f"/lease/{wish.ctid}/renew", _RENEWAL).offers
    kept = app.leases.prices.of_snapshots(found)
    priced = prices.renewal_quote(found, wish.runtime_minutes, usd, offers, snapshots_usd=kept)
    return reply.respond(priced)


async def _has_room(app: context.Context, wish: CreationRequest) -> bool | None:
    """Whether a size fits on some machine now; None if we cannot see the machines."""
    try:
        sku = app.leases.catalogue.sku(wish.sku)
        await app.leases.check_room(sku, wish.size, wish.template)
    except errors.NoCapacity:
        return False
    except errors.TryLater:
        return None
    return True
