"""Power: start, stop, reboot and pause a lease's container."""

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

_POWER = "Start, stop, reboot or pause a container"


@router.post("/lease/{ctid}/start", **operations.fee(schemas.LeaseItem))
async def start_lease(request: Request) -> Response:
    """Start a stopped container, or wake a paused lease; does nothing if it is running.

    A paused lease burns the full rate from then on. Without room for it on its node, it stays
    paused.
    """
    leases = context.of(request).leases
    return await _switch(request, leases.check_start, leases.start)


@router.post("/lease/{ctid}/stop", **operations.fee(schemas.LeaseItem))
async def stop_lease(request: Request) -> Response:
    """Stop the container until somebody starts it; its paid time keeps running.

    It keeps its cores, memory and disk, at the full price. Nothing else starts it, not even a
    renewal.
    """
    leases = context.of(request).leases
    return await _switch(request, leases.check_switch, leases.stop)


@router.post("/lease/{ctid}/reboot", **operations.fee(schemas.LeaseItem))
async def reboot_lease(request: Request) -> Response:
    """Reboot the container: shut it down (by force after half a minute) and start it.

    A paused lease is woken.
    """
    leases = context.of(request).leases
    return await _switch(request, leases.check_start, leases.reboot)


@router.post("/lease/{ctid}/pause", **operations.fee(schemas.LeaseItem))
async def pause_lease(request: Request) -> Response:
    """Stop the container and burn `pausedUsdMinute` once it is down, for at most 30 days.

    It keeps its disk and addresses, and gives back its cores and memory. Only a start wakes it.
    """
    leases = context.of(request).leases
    return await _switch(request, leases.check_pause, leases.pause)


async def _switch(
    request: Request,
    check: Callable[[Lease], Awaitable[None]],
    act: Callable[[Lease], Awaitable[Lease]],
) -> Response:
    call = await caller.admit(request, scope="power", description=_POWER, find_lease=True)
    if isinstance(call, Response):
        return call
    await check(call.the_lease)
    await call.charge()
    done = await act(call.the_lease)
    view = await context.of(request).leases.view(done)
    return reply.respond(lease_messages.lease_item(view))
