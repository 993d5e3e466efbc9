"""Another size for a lease's container."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from pve402 import schemas
from pve402.api import caller, context
from pve402.api.messages import reply
from pve402.api.messages import size_changes as messages
from pve402.api.openapi import operations
from pve402.api.transport import body, routing
from pve402.domain import errors, size_changes

router = routing.Router("lease")

_SCOPE: Final = "change"
_LOOK: Final = "A look at the latest change of a container's size"
_CHANGE: Final = "Another size for a container"


@router.get("/lease/{ctid}/change", **operations.alters(schemas.ChangeAnswer))
async def show_change(request: Request) -> Response:
    """Show the latest change of the container's size, and how far it is."""
    call = await _admitted(request, _LOOK)
    if isinstance(call, Response):
        return call
    service = context.of(request).leases.size_changes
    shown = await call.charge_for(lambda: service.show(call.the_lease))
    return reply.respond(messages.answer(shown))


@router.post(
    "/lease/{ctid}/change",
    **operations.alters(schemas.ChangeAnswer, request=schemas.ChangeRequest),
)
async def change_lease(request: Request) -> Response:
    """Give the container more or fewer cores, more or less memory, or a larger disk.

    No payment moves: what is left of its time lasts longer or shorter. `quote` tells how long, and
    changes nothing.
    """
    call = await _admitted(request, _CHANGE)
    if isinstance(call, Response):
        return call
    asked = body.parse(await body.read(request), schemas.ChangeRequest)
    # A lease's token does not tell how its owner signs, so the limits of a wallet count everywhere.
    wish, by_key = _wish(asked), call.caller.by_key or call.caller.how == "token"
    service = context.of(request).leases.size_changes
    if asked.quote:
        plan = await call.charge_for(lambda: service.quote(call.the_lease, wish, by_key=by_key))
        return reply.respond(messages.quoted(plan))
    await service.check(call.the_lease, wish, by_key=by_key)
    await call.charge()
    changed = await service.change(call.the_lease, wish, by_key=by_key)
    return reply.respond(messages.answer(changed))


async def _admitted(request: Request, description: str) -> caller.Call | Response:
    return await caller.admit(request, scope=_SCOPE, description=description, find_lease=True)


def _wish(asked: schemas.ChangeRequest) -> size_changes.Wish:
    """Return what is asked for. Raises InvalidRequest if that is nothing."""
    given = (asked.cores, asked.memory_mb, asked.disk_gb)
    if given == (None, None, None):
        raise errors.InvalidRequest("give cores, memoryMB or diskGB")
    return size_changes.Wish(
        cores=asked.cores,
        memory_mb=asked.memory_mb,
        disk_gb=asked.disk_gb,
        may_restart=asked.allow_restart,
    )
