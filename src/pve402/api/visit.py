"""Lets a call into a guest: who may make it, what it may cost, and which replica does it.

In this order: the caller is known and owns the lease, the request is read, lease and guest can
serve it, the fee is settled if the caller pays one, and then it is done. What runs in a guest goes
over one terminal, which one replica holds: where that is another one, the call is handed on to it,
as it came, without its credentials, under our own signature.
"""

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Final, TypeVar

import structlog
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from pve402.api import caller, context, guest_call
from pve402.api.guest_call import GuestCall
from pve402.api.peers import forward
from pve402.api.transport import body, guard, sse
from pve402.domain import errors, lease
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
    """What a route asks of its callers. `most_bytes` of a body are read; a stream is left."""

    scope: str
    description: str
    most_bytes: int = 0
    starts_command: bool = False

    @property
    def streams(self) -> bool:
        """Whether the body is passed on as it comes."""
        return self.most_bytes == _STREAM


def streaming(scope: str, description: str) -> Door:
    """Make a door for bodies of any size."""
    return Door(scope=scope, description=description, most_bytes=_STREAM)


async def enter(
    request: Request,
    door: Door,
    parse: Callable[[Request, bytes], Wish],
    act: Callable[[GuestCall, Wish], Awaitable[Response]],
) -> Response:
    """Serve a call into a guest; `parse` refuses what cannot be served, `act` does it."""
    if context.of(request).work.is_closing:
        raise errors.TryLater("the service is stopping", retry_after_seconds=2)
    admitted = await _authorized(request, door)
    if isinstance(admitted, Response):
        return admitted
    require_active(admitted.the_lease)
    raw = await body.read_bytes(request, door.most_bytes) if door.most_bytes > 0 else b""
    wish = parse(request, raw)
    await _check_guest(request, admitted)
    await admitted.charge()
    guard.hold(request, LONG_SECONDS, admitted.the_lease.lease_id)
    call = GuestCall(
        request=request,
        lease=admitted.the_lease,
        work=context.of(request).work,
        body=None if door.streams else raw,
        exec_id=forward.given_exec_id(request) if door.starts_command else "",
    )
    return await _while_lasting(call, lambda: act(call, wish))


def require_active(found: Lease) -> None:
    """Raise LeaseNotReady for a lease that is not active, or whose paid time is over."""
    if not lease.is_usable(found.status, found.expires_at, datetime.now(UTC)):
        raise errors.LeaseNotReady


async def _authorized(request: Request, door: Door) -> caller.Call | Response:
    """Return the call, for whose lease nothing is charged yet, or the 402."""
    lease_id = guest_call.lease_of_peer_call(request)
    if lease_id is None:
        return await caller.admit(
            request, scope=door.scope, description=door.description, find_lease=True
        )
    found = await context.of(request).leases.find(lease_id)
    return caller.Call(caller=service.Caller(owner=found.owner), lease=found)


async def _while_lasting(call: GuestCall, act: Callable[[], Awaitable[Response]]) -> Response:
    """Do it at the replica that holds the terminal, for as long as token and lease last."""
    open_call = open_calls.OpenCall(call.lease, _token_hash(call.request))
    with call.work.consoles.open_calls.track(open_call):
        async with open_call.lasting():
            response = await forward.at_owner(call, act)
    if isinstance(response, StreamingResponse):
        chunks, events = aiter(response.body_iterator), sse.is_sent(response)
        response.body_iterator = _while_open(call, open_call, chunks, events=events)
    return response


def _token_hash(request: Request) -> str | None:
    """The token of a peer's client is looked at by the peer; who pays the fee has none."""
    if guest_call.lease_of_peer_call(request) is not None:
        return None
    token = caller.token_text(request)
    return None if token is None else vault.token_hash(token)


async def _while_open(
    call: GuestCall, open_call: open_calls.OpenCall, chunks: AsyncIterator[Chunk], *, events: bool
) -> AsyncIterator[Chunk]:
    """Pass a body on while the call may last. Events end with an `error`; a file is cut off."""
    with call.work.consoles.open_calls.track(open_call):
        while True:
            try:
                async with open_call.lasting():
                    chunk = await anext(chunks, None)
            except (open_calls.TokenRevoked, hub_errors.GuestClosed) as end:
                if not events:
                    raise
                yield sse.error_event(call.followed_id, end)
                return
            if chunk is None:
                return
            yield chunk


async def _check_guest(request: Request, call: caller.Call) -> None:
    """Before a fee is settled, see that what it is paid for can be had.

    Somebody whose signature is only seen at settlement may not make us open a terminal.
    """
    if call.caller.how != "payment":
        return
    app = context.of(request)
    view = await app.leases.view(call.the_lease)
    if not view.seen:
        raise errors.ProxmoxUnavailable
    if view.guest is None or view.guest.state is not resources.RunState.RUNNING:
        # The list of all guests is up to ten seconds behind one that has just started.
        await app.work.open_vnc.check(guest_work.ref(call.the_lease))
    if call.caller.by_key:
        try:
            await app.work.hub.session(guest_work.ref(call.the_lease))
        except hub_errors.Moved:
            logger.debug("terminal_held_elsewhere", lease=call.the_lease.lease_id)
