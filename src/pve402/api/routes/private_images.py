"""Private images: save a container, list, renew and delete what was saved."""

import functools
from collections.abc import Coroutine
from fractions import Fraction
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from pve402 import schemas
from pve402.api import caller, context, gate, terms
from pve402.api.messages import private_images as messages
from pve402.api.messages import reply
from pve402.api.openapi import operations
from pve402.api.transport import body, routing
from pve402.domain import lease
from pve402.leases import service
from pve402.leases.images.saving_orders import SaveRequest

router = routing.Router("images")

_SAVE_SCOPE: Final = "files"  # whoever pays can read what is copied
_SAVING: Final = "A private image of a container"
_RENEWAL: Final = "More time for a private image"
_LIST: Final = "The list of a wallet's private images"
_LOOK: Final = "Show a private image"
_END: Final = "Delete a private image"


@router.post(
    "/lease/{ctid}/image", **operations.paid(schemas.SaveRequest, schemas.SavedImageAnswer)
)
async def save_image(request: Request) -> Response:
    """Save a container as a private image, which outlives it and which the payer owns.

    The copy is made first and paid once it is there. The container must be stopped, or a snapshot
    of it named. Its owner's wallet may pay, or any wallet with a token of the lease.
    """
    app = context.of(request)
    text = caller.lease_text(request)
    raw = await body.read(request)
    await app.leases.check_client(app.gate.client_address(request))
    if not raw and not gate.carries_payment(request):
        return app.gate.ask(_priced(app, request, _SAVING, app.images.lowest_usd()))
    wish = body.parse(raw, schemas.SaveRequest)
    holder = await caller.bearer(request, _SAVE_SCOPE)
    found = await app.leases.find(text, holder)
    asked = SaveRequest(
        lease_id=found.lease_id,
        name=wish.name,
        minutes=wish.runtime_minutes,
        snapshot=wish.snapshot,
    )
    pricing = functools.partial(app.images.prices_of_saving, found, asked.minutes)
    put = functools.partial(_priced, app, request, _SAVING)
    if not gate.carries_payment(request):
        today = pricing()[0]
        if holder is not None:  # nobody else need know what the container does
            await app.images.check_saving(found, asked)
        return app.gate.ask(put(today))
    priced, purchase = await terms.judge(request, pricing, put)
    saving = app.images.save(found, asked, purchase, holder)
    return await _bought(request, priced, purchase, saving, "The image is saved")


@router.get("/images/private", **operations.fee(schemas.PrivateImagesAnswer))
async def list_images(request: Request) -> Response:
    """List the private images of a wallet that signs in or pays, or the one of an image's token."""
    call = await caller.admit(request, scope="read", description=_LIST, find_lease=False)
    if isinstance(call, Response):
        return call
    app = context.of(request)
    images = await call.charge_for(lambda: app.images.list_of(call.caller))
    return reply.respond(messages.answer(images, app.images.at_most))


@router.get("/images/private/{imageId}", **operations.fee(schemas.PrivateImageItem))
async def show_image(request: Request) -> Response:
    """Show a private image: what it burns, and until when it is kept."""
    call = await caller.admit(request, scope="read", description=_LOOK, find_lease=False)
    if isinstance(call, Response):
        return call
    found = await _own(request, call.caller)
    await call.charge()
    return reply.respond(messages.item(found))


@router.post(
    "/images/private/{imageId}/renew",
    **operations.paid(schemas.RenewRequest, schemas.SavedImageAnswer),
)
async def renew_image(request: Request) -> Response:
    """Keep a private image longer, at the price of its disk.

    The time counts from its end, or from now if that has passed. Only its owner's wallet may pay,
    or any wallet with its token.
    """
    app = context.of(request)
    raw = await body.read(request)
    await app.leases.check_client(app.gate.client_address(request))
    if not raw and not gate.carries_payment(request):
        return app.gate.ask(_priced(app, request, _RENEWAL, app.images.lowest_usd()))
    minutes = body.parse(raw, schemas.RenewRequest).runtime_minutes
    holder = await caller.bearer(request, "renew")
    found = await _own(request, holder)
    pricing = functools.partial(app.images.prices_of_renewal, found, minutes)
    put = functools.partial(_priced, app, request, _RENEWAL)
    if not gate.carries_payment(request):
        today = pricing()[0]
        await app.images.check_renewable(found, minutes)
        return app.gate.ask(put(today))
    priced, purchase = await terms.judge(request, pricing, put)
    renewing = app.images.renew(found, minutes, purchase, holder)
    return await _bought(request, priced, purchase, renewing, "The image is kept")


@router.delete("/images/private/{imageId}", **operations.fee(schemas.PrivateImageItem, status=202))
async def delete_image(request: Request) -> Response:
    """Delete a private image; nothing is refunded. Containers that were made from it stay."""
    call = await caller.admit(request, scope="end", description=_END, find_lease=False)
    if isinstance(call, Response):
        return call
    found = await _own(request, call.caller)
    service.check_endable(found)
    await call.charge()
    return reply.respond(messages.item(await context.of(request).images.end(found)), 202)


async def _own(request: Request, holder: service.Caller | None) -> lease.Lease:
    return await context.of(request).images.find(request.path_params["imageId"], holder)


def _priced(app: context.Context, request: Request, what: str, usd: Fraction) -> gate.Priced:
    listed = request.scope["route"].listed
    return app.gate.price(usd, request.scope["path"], what, listed=listed)


async def _bought(
    request: Request,
    priced: gate.Priced,
    purchase: service.Purchase,
    action: Coroutine[Any, Any, service.Answer],
    words: str,
) -> Response:
    """Run a purchase; 202 while it is still in progress."""
    answer = await context.of(request).gate.buy(request, priced, purchase, action)
    gate.attach_receipt(request, purchase.payment, answer.order)
    status = 202 if answer.order.is_open else 200
    return reply.respond(messages.bought(answer, words), status)
