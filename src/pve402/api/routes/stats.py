"""Figures of the caller's own containers, and of nodes as far as the operator allows."""

from typing import Final, cast, get_args

from starlette.requests import Request
from starlette.responses import Response

from pve402 import schemas
from pve402.api import caller, context
from pve402.api.messages import figures, reply
from pve402.api.openapi import operations
from pve402.api.routes import management
from pve402.api.transport import queries, routing
from pve402.domain import errors

router = routing.Router("stats")

_STATS = "Show your containers' usage"
_USAGE = "Show what a container used"
_FRAMES: Final = get_args(schemas.TimeFrame)


@router.get("/stats/node", **operations.free(schemas.AllNodeStats))
async def show_node_stats(request: Request) -> Response:
    """Show how busy the nodes are. Names and figures that the operator hides are left out."""
    app = context.of(request)
    seen = await app.leases.node_figures()
    nodes = [
        figures.node_stats(number, node, app.stats_fields)
        for number, node in enumerate(seen, start=1)
    ]
    first = nodes[0] if nodes else figures.node_stats(1, None, frozenset())
    return reply.respond(schemas.AllNodeStats(nodes=nodes, **dict(first)))


@router.get("/stats/lxc", **operations.fee(list[schemas.GuestStats]))
async def show_guest_stats(request: Request) -> Response:
    """Show the resources that the caller's containers use."""
    views = await management.own_views(request, _STATS)
    if isinstance(views, Response):
        return views
    handed_over = [view for view in views if view.lease.handed_over]
    return await reply.respond_each(handed_over, figures.guest_stats)


@router.get("/lease/{ctid}/usage", **operations.usage())
async def show_usage(request: Request) -> Response:
    """Show what the container used since its lease began: processor, memory, disk, network.

    The figures are Proxmox VE's own averages. There are none in a container's first minutes.
    """
    call = await caller.admit(request, scope="read", description=_USAGE, find_lease=True)
    if isinstance(call, Response):
        return call
    frame, history = _time_frame(request), context.of(request).leases.history
    found = await call.charge_for(lambda: history.of(call.the_lease, frame))
    return reply.respond(figures.usage(call.the_lease, frame, found))


def _time_frame(request: Request) -> schemas.TimeFrame:
    """Return the query's time frame, an hour by default. Raises InvalidRequest."""
    chosen = queries.field(request, "timeframe") or "hour"
    if chosen not in _FRAMES:
        raise errors.InvalidRequest(f"timeframe must be one of {', '.join(_FRAMES)}")
    return cast("schemas.TimeFrame", chosen)
