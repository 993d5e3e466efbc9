"""The websocket of a console: a ticket first, then bytes both ways.

    client   text    {"ticket", "columns", "rows", "window"}, within 5 seconds; then
                     {"resize": {"columns", "rows"}}, {"ack": BYTES}, {"another": true},
                     {"ports": true}
             binary  keyboard input
    server   text    {"ready": {...}} with a ticket to reconnect; {"lease": {"expiresAt"}};
                     {"another": {"ticket", "expiresAt"}}; {"taken": BYTES}; {"exit": REASON};
                     {"addresses": [ADDRESS]} once the container has some;
                     {"ports": [{"port", "access", "url", ...}]}
             binary  terminal output

If the client names a `window`, the server sends at most that much without an `ack`. Close codes:
1000 the shell has ended, 4401 ticket, 4403 origin, 4404 gone, 4409 busy, 4502 connection to the
guest lost, 1013 too much is open. A peer's call has no ticket: the replica that the client reached
has already checked it.
"""

import asyncio
import contextlib
import json
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from pve402 import schemas
from pve402.api import context, guest_call, visit
from pve402.api.messages import leases as lease_messages
from pve402.api.messages import ports as port_messages
from pve402.api.sockets import channels
from pve402.api.sockets.pump import Pump
from pve402.api.transport import body, guard, lanes, routing
from pve402.domain import errors
from pve402.guests import consoles, guest_work
from pve402.guests.consoles import Grant, Kind, OpenConsole
from pve402.hub import errors as hub_errors

logger = structlog.get_logger(__name__)

router = routing.Router("console")

HELLO_SECONDS: Final = 5.0
_ADDRESS_SECONDS: Final = 30.0
MAX_HELLO_CHARACTERS: Final = 1024

_EXITED, _OVERLOADED = 1000, 1013
_TICKET, _ORIGIN, _GONE, _BUSY, _LOST = 4401, 4403, 4404, 4409, 4502
_CODES: Final[dict[type[errors.Pve402Error], int]] = {
    errors.InvalidRequest: _TICKET,
    errors.Unauthenticated: _TICKET,
    errors.LeaseNotFound: _GONE,
    errors.LeaseNotReady: _GONE,
    hub_errors.GuestNotRunning: _GONE,
    hub_errors.Unavailable: _BUSY,
    hub_errors.TooManyCommands: _BUSY,
    consoles.TooManyConsoles: _BUSY,
    hub_errors.SessionFailed: _LOST,
    hub_errors.Moved: _LOST,
    errors.Overloaded: _OVERLOADED,
    lanes.ShareUsed: _OVERLOADED,
    errors.TryLater: _LOST,
}
_MAY_RETURN: Final = frozenset({_LOST, _BUSY, _EXITED, _OVERLOADED})
_ENDINGS: Final = {"exit": _EXITED, "closed": _EXITED, "ended": _GONE, "refused": 1002}


class WrongOrigin(errors.Pve402Error):
    """A page from another site opened this websocket."""

    detail = "The page that opened this websocket is not one of ours."
    code = "wrong_origin"


@router.websocket(channels.PATHS[Kind.TERMINAL])
async def serve_terminal(socket: WebSocket) -> None:
    """Serve a terminal."""
    await _serve(socket, Kind.TERMINAL)


@router.websocket(channels.PATHS[Kind.VNC])
async def serve_vnc(socket: WebSocket) -> None:
    """Serve a VNC picture."""
    await _serve(socket, Kind.VNC)


async def _serve(socket: WebSocket, kind: Kind) -> None:
    await socket.accept()
    try:
        if guest_call.lease_of_peer_call(socket) is not None:
            await _for_peer(socket, kind)
        else:
            await _for_client(socket, kind)
    except WebSocketDisconnect:
        return
    except errors.Pve402Error as refusal:
        await _close(socket, _code_of(refusal), refusal.code)
    except Exception:
        logger.exception("console_failed")
        await _close(socket, 1011, "internal_error")


async def _for_client(socket: WebSocket, kind: Kind) -> None:
    work = context.of(socket).work
    if not _origin_is_ours(socket):
        await _close(socket, _ORIGIN, WrongOrigin.code)
        return
    hello = await _hello(socket)
    grant = await work.consoles.redeem(hello.ticket, kind)
    try:
        guard.hold(socket, visit.LONG_SECONDS, grant.lease.lease_id, grant.lease.owner)
        await context.of(socket).leases.note_use(grant.lease)
        async with (
            work.consoles.watched(grant) as console,
            channels.opened(work, grant.lease, kind, hello) as channel,
        ):
            await socket.send_text(await _ready(work, console))
            desk = _Desk(socket, context.of(socket), console)
            pace = work.rates.of(grant.lease)
            pump = Pump(socket, channel, window=hello.window, command=desk.command, pace=pace)
            await pump.run(beside=desk.tell())
            code, reason = await _ending(work, console, channel)
    except errors.Pve402Error as refusal:
        code, reason = _code_of(refusal), refusal.code
    await _say_goodbye(socket, work, grant, code, reason)


async def _for_peer(socket: WebSocket, kind: Kind) -> None:
    """Serve only the bytes, for a replica that does the rest."""
    app = context.of(socket)
    found = await app.leases.find(guest_call.lease_of_peer_call(socket) or "")
    hello = await _hello(socket)
    try:
        async with channels.here(app.work, found, kind, hello) as channel:
            await socket.send_text('{"ready":{}}')
            await Pump(socket, channel).run()
            code, reason = _ENDINGS.get(channel.close_reason, _LOST), channel.close_reason
    except hub_errors.Moved as moved:
        code, reason = channels.NOT_HERE, moved.code
    await _close(socket, code, reason)


class _Desk:
    """Answers the console client's commands, and reports changes of the lease."""

    _MOST_LINKS: Final = 50
    _MOST_LOOKS: Final = 1000

    def __init__(self, socket: WebSocket, app: context.Context, console: OpenConsole) -> None:
        self._socket = socket
        self._leases = app.leases
        self._ports = app.ports
        self._work = app.work
        self._console = console
        self._links = 0
        self._looks = 0

    async def command(self, asked: dict[str, Any]) -> None:
        """Issue the ticket for another link of the same kind, or list the published ports."""
        if asked.get("ports") is True and self._looks < self._MOST_LOOKS:
            self._looks += 1
            with contextlib.suppress(errors.Pve402Error):  # the console goes on without
                listed = await port_messages.of_lease(self._ports, self._console.grant.lease)
                await self._socket.send_text(listed.model_dump_json(by_alias=True))
        if asked.get("another") is True and self._links < self._MOST_LINKS:
            self._links += 1
            issued = await self._work.consoles.issue_again(self._console.grant, for_link=True)
            told = {"ticket": issued.ticket, "expiresAt": _time(issued.expires_at)}
            await self._socket.send_text(json.dumps({"another": told}))

    async def tell(self) -> None:
        """Report addresses and renewals; returns when the console must be closed."""
        addresses = asyncio.create_task(self._tell_addresses())
        try:
            while not self._console.end_reason:
                await self._console.changed()
                facts = {"expiresAt": _time(self._console.expires_at)}
                await self._socket.send_text(json.dumps({"lease": facts}))
        finally:
            addresses.cancel()
            await asyncio.gather(addresses, return_exceptions=True)

    async def _tell_addresses(self) -> None:
        """Tell the container's addresses once they are there."""
        row = self._console.grant.lease
        view = await self._leases.view(row, wait_seconds=_ADDRESS_SECONDS)
        found = lease_messages.addresses_of(view)
        if found:
            await self._socket.send_text(json.dumps({"addresses": found}))


async def _hello(socket: WebSocket) -> schemas.ConsoleHello:
    """Read the first message. Raises TicketRefused and what `body.parse` raises."""
    try:
        async with asyncio.timeout(HELLO_SECONDS):
            text = await socket.receive_text()
    except (TimeoutError, KeyError):
        raise consoles.TicketRefused from None
    if len(text) > MAX_HELLO_CHARACTERS:
        raise consoles.TicketRefused
    return body.parse(text.encode(), schemas.ConsoleHello)


def _origin_is_ours(socket: WebSocket) -> bool:
    """Whether the origin is ours or absent; browsers always send it, programs may not."""
    named = socket.headers.getlist("origin")
    return not named or named == [context.of(socket).gate.origin]


async def _ready(work: guest_work.GuestWork, console: OpenConsole) -> str:
    issued = await work.consoles.issue_again(console.grant)
    lease = console.grant.lease
    facts = {
        "kind": console.grant.kind.value,
        "leaseId": lease.lease_id,
        "ctid": lease.ctid,
        "hostname": lease.hostname,
        "expiresAt": _time(console.expires_at),
        "now": _time(datetime.now(UTC)),
        "resume": issued.ticket,
    }
    return json.dumps({"ready": facts})


async def _ending(
    work: guest_work.GuestWork, console: OpenConsole, channel: channels.Channel
) -> tuple[int, str]:
    """Find out why a console ended: its lease, its shell, its guest or the connection."""
    if console.end_reason:
        return _GONE, console.end_reason
    reason = channel.close_reason
    if reason in _ENDINGS:
        return _ENDINGS[reason], {"ended": "lease_ended"}.get(reason, reason)
    try:
        await work.open_vnc.check(guest_work.ref(console.grant.lease))
    except hub_errors.GuestNotRunning as stopped:
        return _GONE, stopped.code
    except hub_errors.HubError:
        return _LOST, "session_lost"
    return _LOST, "session_lost"


async def _say_goodbye(
    socket: WebSocket, work: guest_work.GuestWork, grant: Grant, code: int, reason: str
) -> None:
    """Send the reason for the end, with a ticket if a retry may help."""
    told: dict[str, Any] = {"exit": reason}
    if socket.application_state is not WebSocketState.CONNECTED:
        return
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):
        if code in _MAY_RETURN or reason == hub_errors.GuestNotRunning.code:
            told["resume"] = (await work.consoles.issue_again(grant)).ticket
        await socket.send_text(json.dumps(told))
    await _close(socket, code, reason)


async def _close(socket: WebSocket, code: int, reason: str) -> None:
    if socket.application_state is WebSocketState.CONNECTED:
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await socket.close(code, reason)


def _code_of(refusal: errors.Pve402Error) -> int:
    return next((_CODES[base] for base in type(refusal).__mro__ if base in _CODES), 1011)


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")
