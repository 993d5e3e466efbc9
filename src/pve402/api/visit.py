"""A call into a guest: who may make it, what it may cost, and which replica does it.

In this order: the caller is known, owns the lease, the lease is active, the request can be served
as written, the guest runs; then the fee is settled, if the caller pays one; then it is done. What
runs in a guest goes over one terminal, which one replica holds: where that is another one, the call
is handed on to it, as it came, without its credentials, under our own signature.
"""

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, TypeVar

import structlog
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from pve402.api import caller, context
from pve402.api.peers import forward
from pve402.api.transport import body, guard, sse
from pve402.domain import errors
from pve402.domain.lease import Lease, LeaseStatus
from pve402.guests import guest_work, watch
from pve402.hub import errors as hub_errors
from pve402.leases import service
from pve402.proxmox import resources
from pve402.proxmox.guests import GuestRef
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Visit:
    """A call that may go ahead in a guest."""

    request: Request
    lease: Lease
    work: guest_work.GuestWork
    exec_id: str = ""  # of the command that this starts, if it starts one

    @property
    def guest(self) -> GuestRef:
        """The guest of the lease."""
        return guest_work.ref(self.lease)

    @property
    def followed_id(self) -> str:
        """The id of the command whose events are sent."""
        resumed = sse.last_event(self.request)
        named: str = self.request.path_params.get("execId", "")
        return named or (resumed[0] if resumed else self.exec_id)


Act = Callable[[Visit, Wish], Awaitable[Response]]


async def enter(
    request: Request, door: Door, parse: Callable[[Request, bytes], Wish], act: "Act[Wish]"
) -> Response:
    """Serve a call into a guest; `parse` refuses what cannot be served, `act` does it."""
    raw, wishes = b"", []
    if context.of(request).work.is_closing:
        raise errors.TryLater("the service is stopping", retry_after_seconds=2)

    async def check(call: caller.Call) -> None:
        nonlocal raw
        require_active(call.the_lease)
        if door.most_bytes > 0:
            raw = await body.read_bytes(request, door.most_bytes)
        wishes.append(parse(request, raw))
        await _check_guest(request, call)

    found = await _authorized(request, door, check)
    if isinstance(found, Response):
        return found
    guard.hold(request, LONG_SECONDS)
    work = context.of(request).work
    exec_id = forward.given_exec_id(request) if door.starts_command else ""
    visit = Visit(request=request, lease=found, work=work, exec_id=exec_id)
    errand = forward.Errand(
        request=request,
        lease=found,
        work=work,
        body=None if door.streams else raw,
        exec_id=exec_id,
    )
    open_call = watch.OpenCall(found, _token_hash(request))
    with work.consoles.watch.over(open_call):
        async with open_call.lasting():
            response = await forward.at_owner(errand, lambda: act(visit, wishes[0]))
    if isinstance(response, StreamingResponse):
        chunks, events = aiter(response.body_iterator), sse.is_sent(response)
        response.body_iterator = _while_open(visit, open_call, chunks, events=events)
    return response


def require_active(found: Lease) -> None:
    """Raise LeaseNotReady for a lease that is not active."""
    if found.status is not LeaseStatus.ACTIVE:
        raise errors.LeaseNotReady


def _token_hash(request: Request) -> str | None:
    """The token of a peer's client is looked at by the peer; who pays the fee has none."""
    if forward.lease_of_peer_call(request) is not None:
        return None
    token = caller.token_text(request)
    return None if token is None else vault.token_hash(token)


async def _while_open(
    of: Visit, open_call: watch.OpenCall, chunks: AsyncIterator[Chunk], *, events: bool
) -> AsyncIterator[Chunk]:
    """Pass a body on while the call may last. Events end with an `error`; a file is cut off."""
    with of.work.consoles.watch.over(open_call):
        while True:
            try:
                async with open_call.lasting():
                    chunk = await anext(chunks, None)
            except (watch.TokenRevoked, hub_errors.GuestClosed) as end:
                if not events:
                    raise
                yield sse.error_event(of.followed_id, end)
                return
            if chunk is None:
                return
            yield chunk


async def _authorized(
    request: Request, door: Door, check: Callable[[caller.Call], Awaitable[None]]
) -> Lease | Response:
    lease_id = forward.lease_of_peer_call(request)
    if lease_id is not None:
        return await _of_peer(request, lease_id, check)
    call = await caller.authorize(
        request, scope=door.scope, description=door.description, find_lease=True, check=check
    )
    return call if isinstance(call, Response) else call.the_lease


async def _of_peer(
    request: Request, lease_id: str, check: Callable[[caller.Call], Awaitable[None]]
) -> Lease:
    """Take a call that another replica has let in."""
    found = await context.of(request).leases.find(lease_id)
    await check(caller.Call(caller=service.Caller(owner=found.owner), lease=found))
    return found


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
