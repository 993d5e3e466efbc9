"""Power: start, stop and reboot a lease's container."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from pve402 import schemas
from pve402.api import caller, context
from pve402.api.messages import leases as lease_messages
from pve402.api.messages import reply
from pve402.api.openapi import operations
from pve402.api.transport import routing
from pve402.domain.lease import Lease

router = routing.Router("lease")

_POWER = "Start, stop or reboot a container"


@router.post("/lease/{ctid}/start", **operations.fee(schemas.LeaseItem))
async def start_lease(request: Request) -> Response:
    """Start a stopped container; does nothing if it is running."""
    return await _switch(request, context.of(request).leases.start)


@router.post("/lease/{ctid}/stop", **operations.fee(schemas.LeaseItem))
async def stop_lease(request: Request) -> Response:
    """Stop the container until somebody starts it; its paid time keeps running.

    It keeps its cores, memory and disk, at the full price. Nothing else starts it, not even a
    renewal.
    """
    return await _switch(request, context.of(request).leases.stop)


@router.post("/lease/{ctid}/reboot", **operations.fee(schemas.LeaseItem))
async def reboot_lease(request: Request) -> Response:
    """Reboot the container: shut it down (by force after half a minute) and start it."""
    return await _switch(request, context.of(request).leases.reboot)


async def _switch(request: Request, act: Callable[[Lease], Awaitable[Lease]]) -> Response:
    call = await caller.admit(request, scope="power", description=_POWER, find_lease=True)
    if isinstance(call, Response):
        return call
    await context.of(request).leases.check_switch(call.the_lease)
    await call.charge()
    done = await act(call.the_lease)
    view = await context.of(request).leases.view(done)
    return reply.respond(lease_messages.lease_item(view))
