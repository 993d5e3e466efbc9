"""Management: the leases that a caller owns."""

from starlette.requests import Request
from starlette.responses import Response

from pve402 import schemas
from pve402.api import caller, context
from pve402.api.messages import leases as lease_messages
from pve402.api.messages import reply
from pve402.api.openapi import operations
from pve402.api.transport import routing
from pve402.leases import service

router = routing.Router("management")

_LIST = "List your leases"


@router.get("/management/list", **operations.fee(list[schemas.LeaseItem], query=["all"]))
async def list_leases(request: Request) -> Response:
    """List the caller's leases with the live status of their containers.

    Leases that are over are left out. `?all=true` lists the newest 5000 leases, and any older
    ones that are not over. A token of one lease lists only that lease.
    """
    views = await own_views(request, _LIST)
    if isinstance(views, Response):
        return views
    return await reply.respond_each(views, lease_messages.lease_item)


async def own_views(request: Request, description: str) -> list[service.LeaseView] | Response:
    """Return the caller's leases, or the 402 if the caller has proven nothing."""
    call = await caller.admit(request, scope="read", description=description, find_lease=False)
    if isinstance(call, Response):
        return call
    await call.charge()
    include_over = request.query_params.get("all", "").lower() in {"true", "1"}
    leases = context.of(request).leases
    return await leases.list_leases(call.caller, include_over=include_over)
