"""A guest's terminal over VNC: RFB from vncproxy, without asking the viewer for its password.

We authenticate to Proxmox VE with the password and offer the viewer the security type None, so
that no host credential leaves us. Everything after the handshake passes through unread. For a
container, VNC shows the same terminal that the hub's programs use, so it must be reserved.
"""

import asyncio
from contextlib import suppress

import structlog

from pve402.hub import errors
from pve402.hub.terminal_socket import WebSocketTerminal
from pve402.proxmox import errors as proxmox_errors
from pve402.proxmox import vnc
from pve402.proxmox.guests import GuestRef, Guests

_log = structlog.get_logger(__name__)

#: vncterm answers within milliseconds.
HANDSHAKE_SECONDS = 5.0
#: The most a viewer may send in its handshake: 13 bytes, plus some that follow immediately.
_LARGEST_HANDSHAKE_BYTES = 4096


class VncStream:
    """An RFB connection after its handshake; ClientInit comes next."""

    def __init__(self, socket: WebSocketTerminal, ahead: bytes = b"") -> None:
        self._socket = socket
        self._ahead = ahead

    async def send(self, data: bytes) -> None:
        """Send bytes. Raises OSError when the socket is gone."""
        await self._socket.send(data)

    async def receive(self) -> bytes | None:
        """The next bytes; None at the end."""
        if self._ahead:
            data, self._ahead = self._ahead, b""
            return data
        return await self._socket.receive()

    async def close(self) -> None:
        """Close the socket."""
        await self._socket.close()


class VncConnector:
    """Opens VNC as the API token, or as the console user if the token is refused."""

    def __init__(self, guests: Guests, console_guests: Guests | None = None) -> None:
        self._ways = (guests,) if console_guests is None else (guests, console_guests)

    async def __call__(self, guest: GuestRef) -> VncStream:
        """Open a guest's terminal over VNC. Raises GuestNotRunning, TerminalUnreachable."""
        for way in self._ways:
            opened = await _open(way, guest)
            if opened is not None:
                return opened
        _log.warning("hub.vnc_refused", node=guest.node, vmid=guest.vmid)
        raise errors.TerminalUnreachable


class VncChannel:
    """The viewer's side of one VNC connection, with the interface of a console window."""

    def __init__(self, stream: VncStream) -> None:
        #: Why it was closed: session_lost, refused, or closed; empty while open.
        self.close_reason = ""
        self._stream = stream
        self._handshake = vnc.server_handshake()
        self._handshake_bytes = 0
        self._changed = asyncio.Event()

    async def write(self, data: bytes) -> None:
        """Pass on bytes from the viewer; waits until the server takes them."""
        if not self._handshake.is_done and not self.close_reason:
            data = self._shake_hands(data)
        if data and not self.close_reason:
            with suppress(OSError):  # the next read finds the end
                await self._stream.send(data)

    async def read(self) -> bytes | None:
        """The next bytes for the viewer; None once the connection is over."""
        while not self.close_reason:
            if data := self._handshake.bytes_to_send():
                return data
            if self._handshake.is_done:
                return await self._receive()
            await self._changed.wait()
            self._changed.clear()
        return None

    def resize(self, columns: int, rows: int) -> None:
        """Do nothing: a VNC screen keeps its size."""

    async def close(self) -> None:
        """End the connection."""
        self._end("closed")
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(1.0):
                await self._stream.close()

    def _shake_hands(self, data: bytes) -> bytes:
        """Take handshake bytes; returns any that follow the handshake."""
        self._handshake_bytes += len(data)
        try:
            if self._handshake_bytes > _LARGEST_HANDSHAKE_BYTES:
                raise vnc.VncFailed("the viewer's handshake does not end")
            self._handshake.receive(data)
        except vnc.VncFailed:
            self._end("refused")
            return b""
        self._changed.set()
        return self._handshake.rest() if self._handshake.is_done else b""

    async def _receive(self) -> bytes | None:
        data = None
        with suppress(OSError):
            data = await self._stream.receive()
        if data is None:
            self._end("session_lost")
        return data

    def _end(self, reason: str) -> None:
        self.close_reason = self.close_reason or reason
        self._changed.set()


async def _open(guests: Guests, guest: GuestRef) -> VncStream | None:
    try:
        ticket = await guests.open_vnc(guest)
        socket = WebSocketTerminal(await guests.connect(guest, ticket))
    except (proxmox_errors.GuestMissing, proxmox_errors.GuestNotRunning) as error:
        raise errors.GuestNotRunning from error
    except proxmox_errors.PermissionDenied:
        return None
    except proxmox_errors.ProxmoxError as error:
        raise errors.TerminalUnreachable from error
    stream = None
    try:
        with suppress(vnc.VncFailed, TimeoutError, OSError):
            stream = await _authenticated(socket, ticket.password)
    finally:
        if stream is None:
            with suppress(OSError):
                await socket.close()
    return stream


async def _authenticated(socket: WebSocketTerminal, password: str) -> VncStream:
    """Authenticate with the password. Raises VncFailed, OSError, TimeoutError."""
    handshake = vnc.client_handshake(password)
    async with asyncio.timeout(HANDSHAKE_SECONDS):
        while not handshake.is_done:
            data = await socket.receive()
            if data is None:
                raise vnc.VncFailed("the VNC server left")
            handshake.receive(data)
            if reply := handshake.bytes_to_send():
                await socket.send(reply)
    return VncStream(socket, handshake.rest())
