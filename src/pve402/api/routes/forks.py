"""Copies of a lease's container, leased with one payment."""

import functools
from fractions import Fraction
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from pve402 import schemas
from pve402.api import caller, context, gate, terms
from pve402.api.messages import forks as fork_messages
from pve402.api.messages import reply
from pve402.api.openapi import operations
from pve402.api.transport import body, large_bodies, routing
from pve402.domain import errors
from pve402.leases import service

router = routing.Router("lease")

_SCOPE: Final = "fork"
"""No token can be narrowed to this: who copies a container sees everything in it."""
_LOOK: Final = "Whether a container can be copied"
_FORK: Final = "Copies of a container, each a lease of its own"


@router.get("/lease/{ctid}/fork", **operations.alters(schemas.ForkOffer, query=["snapshot"]))
async def show_fork(request: Request) -> Response:
    """Tell whether the container, or a snapshot of it, can be copied now, and for how much."""
    call = await caller.admit(request, scope="read", description=_LOOK, find_lease=True)
    if isinstance(call, Response):
        return call
    forks = context.of(request).forks
    snapshot = request.query_params.get("snapshot")
    found = await call.charge_for(lambda: forks.offer(call.the_lease, snapshot))
    return reply.respond(fork_messages.offer(found))


@router.post("/lease/{ctid}/fork", **operations.paid(schemas.ForkRequest, schemas.ForkAnswer))
async def fork_lease(request: Request) -> Response:
    """Lease copies of the container: each has its disk and size, and everything else anew.

    A token of the lease is needed that is not narrowed; any wallet may pay, and owns the copies.
    What kept them from being made is told before any payment. Without a body the answer is 402
    with the lowest price.
    """
    app = context.of(request)
    text = caller.lease_text(request)
    await app.leases.check_client(app.gate.client_address(request))
    if not gate.carries_payment(request):  # what was paid for before goes on
        app.forks.check_on()
    holder = await caller.bearer(request, _SCOPE)
    reading = body.read if holder is None else large_bodies.read
    raw = await reading(request)
    if not raw and not gate.carries_payment(request):
        return app.gate.ask(_priced(app, request, app.leases.catalogue.lowest_price_usd()))
    if holder is None:
        raise errors.Unauthenticated("A token of the lease is needed to copy its container.")
    wish = body.parse(raw, schemas.ForkRequest)
    found = await app.leases.find(text, holder)
    asked = fork_messages.to_creation(found, wish)
    pricing = functools.partial(app.leases.prices.of_creation, asked)
    put = functools.partial(_priced, app, request)
    if not gate.carries_payment(request):
        app.forks.check_count(asked)
        today = pricing()[0]
        await app.forks.check(found, asked.snapshot)
        await app.forks.check_room(found, asked)
        return app.gate.ask(put(today))
    priced, purchase = await terms.judge(request, pricing, put)
    forking = app.forks.create(found, asked, purchase)
    answer = await app.gate.buy(request, priced, purchase, forking)
    gate.attach_receipt(request, purchase.payment, answer.order)
    return _bought(app, answer, found.lease_id)


def _priced(app: context.Context, request: Request, usd: Fraction) -> gate.Priced:
    listed = request.scope["route"].listed
    return app.gate.price(usd, request.scope["path"], _FORK, listed=listed)


def _bought(app: context.Context, answer: service.Answer, forked_from: str) -> Response:
    """Build the answer to a purchase; 202 while it is still in progress."""
    is_open = any(one.order.is_open for one in (answer, *answer.others))
    shown = fork_messages.answer(answer, forked_from, app.ssh_way)
    return reply.respond(shown, 202 if is_open else 200)
