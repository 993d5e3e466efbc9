"""Snapshots of a lease's container."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from pve402 import schemas
from pve402.api import caller, context
from pve402.api.messages import reply
from pve402.api.messages import snapshots as snapshot_messages
from pve402.api.openapi import operations
from pve402.api.transport import body, routing
from pve402.domain import snapshots

router = routing.Router("lease")

_SCOPE: Final = "snapshots"
_LOOK: Final = "A look at the snapshots of a container"
_TAKE: Final = "A snapshot of a container"
_DELETE: Final = "The end of a snapshot"
_ROLL_BACK: Final = "A rollback of a container"


@router.get("/lease/{ctid}/snapshots", **operations.alters(schemas.SnapshotsAnswer))
async def list_snapshots(request: Request) -> Response:
    """List the snapshots of the container, how many it may have, and if its storage takes any."""
    call = await _admitted(request, _LOOK)
    if isinstance(call, Response):
        return call
    service = context.of(request).leases.snapshots
    listing = await call.charge_for(lambda: service.of_lease(call.the_lease))
    return reply.respond(snapshot_messages.answer(listing))


@router.post(
    "/lease/{ctid}/snapshots",
    **operations.alters(schemas.SnapshotItem, request=schemas.SnapshotRequest),
)
async def take_snapshot(request: Request) -> Response:
    """Take a snapshot of the container's disk and options; it runs on.

    What its programs hold in memory is not part of it. It is deleted with the container.
    """
    call = await _admitted(request, _TAKE)
    if isinstance(call, Response):
        return call
    wish = body.parse(await body.read(request), schemas.SnapshotRequest)
    service = context.of(request).leases.snapshots
    await service.check_take(call.the_lease, wish.name)
    await call.charge()
    return reply.respond(snapshot_messages.item(await service.take(call.the_lease, wish.name)))


@router.delete("/lease/{ctid}/snapshots/{name}", **operations.alters(schemas.SnapshotsAnswer))
async def delete_snapshot(request: Request) -> Response:
    """Delete a snapshot; answers with those that are left."""
    call = await _admitted(request, _DELETE)
    if isinstance(call, Response):
        return call
    name = _name(request)
    service = context.of(request).leases.snapshots
    await service.check_change(call.the_lease, name)
    await call.charge()
    return reply.respond(snapshot_messages.answer(await service.delete(call.the_lease, name)))


@router.post("/lease/{ctid}/snapshots/{name}/rollback", **operations.alters(schemas.SnapshotItem))
async def roll_back(request: Request) -> Response:
    """Give the container the disk that it had at a snapshot. What was written since is lost.

    It is stopped for that: commands, consoles and streams end. Then it starts again, unless it was
    stopped before. Its size, addresses and paid time stay as they are.
    """
    call = await _admitted(request, _ROLL_BACK)
    if isinstance(call, Response):
        return call
    name = _name(request)
    service = context.of(request).leases.snapshots
    await service.check_roll_back(call.the_lease, name)
    await call.charge()
    return reply.respond(snapshot_messages.item(await service.roll_back(call.the_lease, name)))


async def _admitted(request: Request, description: str) -> caller.Call | Response:
    return await caller.admit(request, scope=_SCOPE, description=description, find_lease=True)


def _name(request: Request) -> str:
    """Return the name in the path. Raises InvalidRequest."""
    return snapshots.check_name(request.path_params["name"])
