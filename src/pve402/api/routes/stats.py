"""Figures: of nodes, as far as the operator shows them, and of the caller's own containers."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from pve402 import schemas
from pve402.api import context, openapi, shapes
from pve402.api.routes import management
from pve402.api.transport import routing

router = routing.Router("stats")

_STATS = "Figures of one's containers"


@router.get("/stats/node", **openapi.free(schemas.AllNodeStats))
async def node_stats(request: Request) -> Response:
    """Show how busy the nodes are. Names and figures that the operator keeps are not shown."""
    app = context.of(request)
    figures = await app.leases.node_figures()
    nodes = [_node(number, node, app.stats_fields) for number, node in enumerate(figures, start=1)]
    first = nodes[0] if nodes else _node(1, None, frozenset())
    return shapes.respond(schemas.AllNodeStats(nodes=nodes, **dict(first)))


@router.get("/stats/lxc", **openapi.fee(list[schemas.GuestStats]))
async def guest_stats(request: Request) -> Response:
    """Show what the caller's containers use, one call to Proxmox VE for all of them."""
    views = await management.own_views(request, _STATS)
    if isinstance(views, Response):
        return views
    return await shapes.respond_each(views, shapes.guest_stats)


def _node(number: int, figures: Any, shown: frozenset[str]) -> schemas.NodeStats:
    """Describe one node; without `name` it is only numbered."""
    return schemas.NodeStats(
        node=figures.node if "name" in shown else f"node-{number}",
        cpu=shapes.cpu(figures.cpu_usage, figures.cpu_cores) if "cpu" in shown else None,
        memory=shapes.space(figures.memory_used, figures.memory_total)
        if "memory" in shown
        else None,
        disk=shapes.space(figures.disk_used, figures.disk_total) if "disk" in shown else None,
    )
