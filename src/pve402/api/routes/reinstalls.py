"""A fresh container in the place of a lease's."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from pve402 import schemas
from pve402.api import caller, context
from pve402.api.messages import reinstalls as messages
from pve402.api.messages import reply
from pve402.api.openapi import operations
from pve402.api.transport import body, routing

router = routing.Router("lease")

_SCOPE: Final = "reinstall"
_LOOK: Final = "A look at the latest reinstallation of a container"
_REINSTALL: Final = "A fresh container in the place of a lease's"


@router.get("/lease/{ctid}/reinstall", **operations.alters(schemas.ReinstallAnswer))
async def show_reinstall(request: Request) -> Response:
    """Show the latest reinstallation of the container, and how far it is."""
    call = await _admitted(request, _LOOK)
    if isinstance(call, Response):
        return call
    service = context.of(request).leases.reinstalls
    shown = await call.charge_for(lambda: service.show(call.the_lease))
    return reply.respond(messages.answer(shown))


@router.post(
    "/lease/{ctid}/reinstall",
    **operations.alters(schemas.ReinstallAnswer, request=schemas.ReinstallRequest),
)
async def reinstall_lease(request: Request) -> Response:
    """Destroy the container and make a fresh one in its place, of any template of its sku.

    All files are lost. Its number, addresses, name, size, token, published ports and paid time
    stay; its time stands still until the new container is there.
    """
    call = await _admitted(request, _REINSTALL)
    if isinstance(call, Response):
        return call
    wish = messages.to_wish(body.parse(await body.read(request), schemas.ReinstallRequest))
    service = context.of(request).leases.reinstalls
    await service.check(call.the_lease, wish)
    await call.charge()
    return reply.respond(messages.answer(await service.reinstall(call.the_lease, wish)))


async def _admitted(request: Request, description: str) -> caller.Call | Response:
    return await caller.admit(request, scope=_SCOPE, description=description, find_lease=True)
