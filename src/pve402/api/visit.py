"""Admits a call into a guest: checks the caller, charges the fee, and picks the replica.

The order: identify the caller and check that it owns the lease, read the request, check that lease
and guest can serve it, settle the fee if the caller pays one, and then run the call. All work in a
guest goes over one terminal, which one replica holds. If that is another replica, we forward the
call to it unchanged, but without its credentials and with our own signature.
"""

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, TypeVar

import structlog
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from pve402.api import caller, context, guest_call
from pve402.api.guest_call import GuestCall
from pve402.api.peers import forward
from pve402.api.transport import body, guard, sse
from pve402.domain import errors, power
from pve402.domain.lease import Lease
from pve402.guests import guest_work, open_calls
from pve402.hub import errors as hub_errors
from pve402.leases import service
from pve402.proxmox import resources
from pve402.storage import vault

logger = structlog.get_logger(__name__)

Wish = TypeVar("Wish")
Chunk = str | bytes | memoryview

LONG_SECONDS: Final = 2 * 3600.0
_STREAM: Final = -1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Door:
    """A route's requirements. We read up to `most_bytes` of a body, but leave a stream unread."""

    scope: str
    description: str
    most_bytes: int = 0
    starts_command: bool = False

    @property
    def streams(self) -> bool:
        """Whether the body is streamed."""
        return self.most_bytes == _STREAM


def streaming(scope: str, description: str) -> Door:
    """Build a door for bodies of any size."""
    return Door(scope=scope, description=description, most_bytes=_STREAM)


async def enter(
    request: Request,
    door: Door,
    parse: Callable[[Request, bytes], Wish],
    act: Callable[[GuestCall, Wish], Awaitable[Response]],
) -> Response:
    """Serve a call into a guest; `parse` refuses bad requests, `act` does the work."""
    if context.of(request).work.is_closing:
        raise errors.TryLater("the service is stopping", retry_after_seconds=2)
    admitted = await _authorized(request, door)
    if isinstance(admitted, Response):
        return admitted
    await context.of(request).leases.require_active(admitted.the_lease)
    raw = await body.read_bytes(request, door.most_bytes) if door.most_bytes > 0 else b""
    wish = parse(request, raw)
    app = context.of(request)
    row = await _noted(request, admitted)
    is_woken = door.starts_command and await app.leases.check_use(row, power.Use.COMMAND)
    if not is_woken:
        await _check_guest(request, admitted)
    # Nobody pays for a call that then finds no place; paying has its own time limit.
    guard.hold(request, LONG_SECONDS, admitted.the_lease.lease_id, admitted.the_lease.owner)
    await admitted.charge()
    guard.hold(request, LONG_SECONDS, admitted.the_lease.lease_id, admitted.the_lease.owner)
    used = await _used(request, row, door)
    call = GuestCall(
        request=request,
        lease=used,
        work=app.work,
        body=None if door.streams else raw,
        exec_id=forward.given_exec_id(request) if door.starts_command else "",
    )
    await call.pace(len(raw))
    return await _while_lasting(call, lambda: act(call, wish))


async def _noted(request: Request, call: caller.Call) -> Lease:
    """Return the lease as it is now; it is in use, so that no idle pause begins while it is paid.

    Who may not be the lease's tenant until the payment settles does not keep it awake before that.
    """
    is_proven = call.caller.how != "payment" or call.caller.by_key
    if not is_proven or guest_call.lease_of_peer_call(request) is not None:
        return call.the_lease
    return await context.of(request).leases.note_use(call.the_lease)


async def _used(request: Request, row: Lease, door: Door) -> Lease:
    """Return the lease as it is now, woken if a command does that; it is in use from now on.

    The replica that the client reached has noted that of a peer's call.
    """
    leases = context.of(request).leases
    if door.starts_command:
        return await leases.wake_for(row, power.Use.COMMAND)
    if guest_call.lease_of_peer_call(request) is not None:
        return row
    return await leases.note_use(row)


async def _authorized(request: Request, door: Door) -> caller.Call | Response:
    """Return the call, with nothing charged yet, or the 402."""
    lease_id = guest_call.lease_of_peer_call(request)
    if lease_id is None:
        return await caller.admit(
            request, scope=door.scope, description=door.description, find_lease=True
        )
    found = await context.of(request).leases.find(lease_id)
    return caller.Call(caller=service.Caller(owner=found.owner), lease=found)


async def _while_lasting(call: GuestCall, act: Callable[[], Awaitable[Response]]) -> Response:
    """Run `act` at the terminal's holder, until the token or the lease ends."""
    is_forwarded = guest_call.lease_of_peer_call(call.request) is not None
    token_hash = _token_hash(call.request)
    open_call = open_calls.OpenCall(call.lease, token_hash, is_forwarded=is_forwarded)
    with call.work.consoles.open_calls.track(open_call):
        async with open_call.lasting():
            response = await forward.at_owner(call, act)
    if isinstance(response, StreamingResponse):
        chunks, events = aiter(response.body_iterator), sse.is_sent(response)
        response.body_iterator = _while_open(call, open_call, chunks, events=events)
    else:
        await call.pace(len(response.body))
    return response


def _token_hash(request: Request) -> str | None:
    """The hash of the caller's token; None for a peer's call, or a caller without a token."""
    if guest_call.lease_of_peer_call(request) is not None:
        return None
    token = caller.token_text(request)
    return None if token is None else vault.token_hash(token)


async def _while_open(
    call: GuestCall, open_call: open_calls.OpenCall, chunks: AsyncIterator[Chunk], *, events: bool
) -> AsyncIterator[Chunk]:
    """Relay a body while the call may last and nothing refuses it.

    Then end events with `error`, or cut a file off.
    """
    with call.work.consoles.open_calls.track(open_call):
        while True:
            try:
                async with open_call.lasting():
                    chunk = await anext(chunks, None)
            except errors.Pve402Error as end:
                if not events:
                    raise
                yield sse.error_event(call.followed_id, end)
                return
            if chunk is None:
                return
            await call.pace(len(chunk))
            yield chunk


async def _check_guest(request: Request, call: caller.Call) -> None:
    """Check, before the fee is settled, that the guest can serve the call.

    We do not open a terminal for a caller whose signature is only verified at settlement.
    """
    if call.caller.how != "payment":
        return
    app = context.of(request)
    view = await app.leases.view(call.the_lease)
    if not view.seen:
        raise errors.ProxmoxUnavailable
    if view.guest is None or view.guest.state is not resources.RunState.RUNNING:
        # The guest list can be ten seconds old and miss a guest that has just started.
        await app.work.open_vnc.check(guest_work.ref(call.the_lease))
    if call.caller.by_key:
        try:
            await app.work.hub.session(guest_work.ref(call.the_lease))
        except hub_errors.Moved:
            logger.debug("terminal_held_elsewhere", lease=call.the_lease.lease_id)
