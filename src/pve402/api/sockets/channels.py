"""Opens a console's channel here, or at the replica that holds the guest's terminal."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

import aiohttp

from pve402 import schemas
from pve402.api.peers import forward
from pve402.domain.lease import Lease
from pve402.guests import guest_work, holder, peers
from pve402.guests.consoles import Kind
from pve402.hub import errors as hub_errors
from pve402.hub import vnc

PATHS: Final = {Kind.TERMINAL: "/console/terminal/ws", Kind.VNC: "/console/vnc/ws"}
NOT_HERE: Final = 4000 + forward.NOT_HERE

_READY_SECONDS: Final = 30.0
_REFUSALS: Final = {
    kind.code: kind
    for kind in (
        hub_errors.GuestNotRunning,
        hub_errors.NoShell,
        hub_errors.TerminalStuck,
        hub_errors.ConsoleBusy,
        hub_errors.TooManyCommands,
        hub_errors.TooManySessions,
    )
}


class Channel(Protocol):
    """A console's input and output bytes."""

    close_reason: str

    async def write(self, data: bytes) -> None: ...

    async def read(self) -> bytes | None: ...

    def resize(self, columns: int, rows: int) -> None: ...

    async def close(self) -> None: ...


@contextlib.asynccontextmanager
async def opened(
    work: guest_work.GuestWork, lease: Lease, kind: Kind, hello: schemas.ConsoleHello
) -> AsyncIterator[Channel]:
    """Open a console for the block, at whichever replica holds the guest's terminal.

    Raises what the hub raises for terminals, and Moved if no holder can be found.
    """
    async with contextlib.AsyncExitStack() as stack:
        try:
            channel = await stack.enter_async_context(here(work, lease, kind, hello))
        except hub_errors.Moved as moved:
            channel = await _at_holder(stack, work, lease, kind, hello, moved.owner_address)
        yield channel


def here(
    work: guest_work.GuestWork, lease: Lease, kind: Kind, hello: schemas.ConsoleHello
) -> AbstractAsyncContextManager[Channel]:
    """Open a console for the block on this replica. Raises as `opened`."""
    return _vnc(work, lease) if kind is Kind.VNC else _terminal(work, lease, hello)


@contextlib.asynccontextmanager
async def _terminal(
    work: guest_work.GuestWork, lease: Lease, hello: schemas.ConsoleHello
) -> AsyncIterator[Channel]:
    channel = await work.hub.open_console(guest_work.ref(lease), hello.columns, hello.rows)
    try:
        yield channel
    finally:
        await channel.close()


@contextlib.asynccontextmanager
async def _vnc(work: guest_work.GuestWork, lease: Lease) -> AsyncIterator[Channel]:
    async with work.hub.reserve_terminal(guest_work.ref(lease), "vnc"):
        channel = vnc.VncChannel(await work.open_vnc(guest_work.ref(lease)))
        try:
            yield channel
        finally:
            await channel.close()


async def _at_holder(
    stack: contextlib.AsyncExitStack,
    work: guest_work.GuestWork,
    lease: Lease,
    kind: Kind,
    hello: schemas.ConsoleHello,
    address: str,
) -> Channel:
    """Open the console at the replica that holds the terminal, or here if it has died."""

    async def attempt(caller: peers.Peers, address: str) -> Channel | None:
        return await _try(caller, address, lease, kind, hello)

    channel = await holder.at_holder(work, lease, address, attempt)
    if channel is None:
        return await stack.enter_async_context(here(work, lease, kind, hello))
    stack.push_async_callback(channel.close)
    return channel


async def _try(
    caller: peers.Peers, address: str, lease: Lease, kind: Kind, hello: schemas.ConsoleHello
) -> "PeerChannel | None":
    """Open the console at a peer; None if the peer is down or does not hold the terminal."""
    try:
        socket = await caller.connect(address, PATHS[kind], lease_id=lease.lease_id, headers={})
    except peers.PeerUnreachable:
        return None
    try:
        await socket.send_str(hello.model_dump_json(exclude={"ticket", "window"}))
        async with asyncio.timeout(_READY_SECONDS):
            first = await peers.receive(socket)
    except (aiohttp.ClientError, OSError, TimeoutError, peers.PeerLost):
        await socket.close()
        return None
    if first.type is aiohttp.WSMsgType.TEXT:
        return PeerChannel(socket)
    await socket.close()
    if first.type is aiohttp.WSMsgType.CLOSE and first.data != NOT_HERE:
        raise _REFUSALS.get(str(first.extra), hub_errors.TerminalUnreachable)
    return None


class PeerChannel:
    """A console that is open at a peer."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.close_reason = ""
        self._socket = socket
        self._resizing: asyncio.Task[None] | None = None

    async def write(self, data: bytes) -> None:
        """Type bytes; waits until the peer takes them."""
        with contextlib.suppress(aiohttp.ClientError, OSError, RuntimeError):
            await self._socket.send_bytes(data)

    async def read(self) -> bytes | None:
        """Return the next output; None once the console is closed."""
        while not self.close_reason:
            try:
                message = await peers.receive(self._socket)
            except peers.PeerLost:
                break
            if message.type is aiohttp.WSMsgType.BINARY:
                data: bytes = message.data
                return data
            if message.type is not aiohttp.WSMsgType.TEXT:
                extra = message.extra if message.type is aiohttp.WSMsgType.CLOSE else None
                self.close_reason = str(extra or "session_lost")
        self.close_reason = self.close_reason or "session_lost"
        return None

    def resize(self, columns: int, rows: int) -> None:
        """Set the size of the terminal."""
        size = json.dumps({"resize": {"columns": columns, "rows": rows}})
        self._resizing = asyncio.create_task(self._send(size))

    async def close(self) -> None:
        """Close the console at the peer."""
        self.close_reason = self.close_reason or "closed"
        await self._socket.close()

    async def _send(self, text: str) -> None:
        with contextlib.suppress(aiohttp.ClientError, OSError, RuntimeError):
            await self._socket.send_str(text)
