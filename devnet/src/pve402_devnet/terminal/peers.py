"""One websocket client of a console port, as the worker behind the port sees it."""

import asyncio
import contextlib
from collections.abc import Callable

import aiohttp
from aiohttp import web

FRAME_LIMIT_BYTES = 128 * 1024
_ROOM_BYTES = 64 * 1024
_FRAME_BYTES = 64 * 1024
_FLUSH_SECONDS = 1.0


class Peer:
    """Sends without waiting, receives when asked, and is dropped without a closing handshake."""

    def __init__(self, socket: web.WebSocketResponse, request: web.Request) -> None:
        self._socket = socket
        self._request = request
        self._outgoing = bytearray()
        self._wake = asyncio.Event()
        self._writer = asyncio.create_task(self._write_frames())
        self._closed = asyncio.Event()
        self._dropping = False
        self.on_room: Callable[[], None] = lambda: None
        self.address = _address(request)

    async def receive(self) -> bytes:
        """Wait for the client's next message; empty bytes are skipped, b"" means that it left."""
        while not self._dropping:
            message = await self._socket.receive()
            if message.type is aiohttp.WSMsgType.BINARY:
                data: bytes = message.data
            elif message.type is aiohttp.WSMsgType.TEXT:
                data = message.data.encode()
            else:
                break
            if data:
                return data
        self.drop()
        return b""

    def send(self, data: bytes) -> None:
        """Queue output as part of the next frame."""
        self._outgoing += data
        self._wake.set()

    def has_room(self) -> bool:
        """Return whether the queue is short."""
        return len(self._outgoing) < _ROOM_BYTES

    def is_open(self) -> bool:
        """Return whether the connection is still open, without reading from it."""
        transport = self._request.transport
        return not self._dropping and transport is not None and not transport.is_closing()

    def drop(self) -> None:
        """Send what is queued, then close the TCP connection silently. Safe to call twice."""
        if not self._dropping:
            self._dropping = True
            self._wake.set()
            asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self._abort)

    async def wait_closed(self) -> None:
        """Wait until `drop` has done its work."""
        await self._closed.wait()

    def _abort(self) -> None:
        """Give up on a client that does not read the rest either."""
        if not self._closed.is_set() and self._request.transport:
            self._request.transport.abort()

    async def _write_frames(self) -> None:
        with contextlib.suppress(ConnectionError):
            while self._outgoing or not self._dropping:
                await self._wake.wait()
                self._wake.clear()
                await self._write_queue()
        if self._request.transport:
            self._request.transport.close()
        self._dropping = True
        self._closed.set()

    async def _write_queue(self) -> None:
        while self._outgoing:
            frame = bytes(self._outgoing[:_FRAME_BYTES])
            del self._outgoing[: len(frame)]
            await self._socket.send_bytes(frame)
            self.on_room()


def _address(request: web.Request) -> str:
    peer = request.transport.get_extra_info("peername") if request.transport else None
    return f"{peer[0]}:{peer[1]}" if peer else "127.0.0.1:0"
