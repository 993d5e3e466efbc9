"""Connections to a container's own loopback, many over one stream of bytes, from our side.

The relay that the service runs in the container speaks in frames: type, 4 bytes connection, 2 bytes
length, data. `O` opens a port, `D` carries data, `W` gives credit for more, `E` ends one direction,
`C` closes, `P` keeps an idle stream open. The client and the service both use it, so neither trusts
the other side: a relay that ignores its credit loses the connection.
"""

import asyncio
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

_HEAD: Final = struct.Struct(">cIH")
WINDOW: Final = 64 * 1024
#: A whole frame is 32 KiB, the piece of a stream, which is written at once or not at all: a frame
#: cut off would have the container take the next one, of somebody else's connection, for its rest.
PIECE_BYTES: Final = 32 * 1024 - _HEAD.size
_OPEN_SECONDS: Final = 30.0
_ENDED: Final = "the connection to the container has ended"

Send = Callable[[bytes], Awaitable[None]]


class Unreachable(Exception):
    """Nothing in the container takes the connection; says why."""


class Connection:
    """One connection through the relay."""

    def __init__(self, number: int, relay: "Relay") -> None:
        self.number = number
        #: Whether the container has ended it, or its direction of it.
        self.has_ended = False
        self._relay = relay
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._incoming: deque[bytes] = deque()
        self._waiting = 0
        self._credit = WINDOW
        self._taken = 0
        self._is_closed = False
        self._changed = asyncio.Event()

    async def read(self) -> bytes:
        """The next bytes from the container; none at their end."""
        while not self._incoming and not self.has_ended:
            self._changed.clear()
            await self._changed.wait()
        if not self._incoming:
            return b""
        data = self._incoming.popleft()
        self._waiting -= len(data)
        self._taken += len(data)
        if self._taken >= WINDOW // 2 and not self.has_ended:
            taken, self._taken = self._taken, 0
            await self._relay.send(b"W", self.number, struct.pack(">I", taken))
        return data

    async def write(self, data: bytes) -> None:
        """Send bytes, as fast as the container takes them. Raises ConnectionResetError."""
        for start in range(0, len(data), PIECE_BYTES):
            piece = data[start : start + PIECE_BYTES]
            while piece:
                room = await self._room()
                part, piece = piece[:room], piece[room:]
                self._credit -= len(part)
                await self._relay.send(b"D", self.number, part)

    async def end(self) -> None:
        """Say that nothing more comes from this side."""
        if not self._is_closed:
            await self._relay.send(b"E", self.number)

    async def close(self) -> None:
        """Close it in both directions."""
        if self._relay.forget(self) and not self._is_closed:
            await self._relay.send(b"C", self.number)
        self.break_off(_ENDED)

    async def wait_opened(self) -> None:
        """Wait until the container has taken the connection. Raises Unreachable."""
        try:
            async with asyncio.timeout(_OPEN_SECONDS):
                await asyncio.shield(self._opened)
        except TimeoutError:
            raise Unreachable("the container does not answer") from None

    def break_off(self, why: str) -> None:
        """Note that the container has closed it, or that the way there is gone."""
        if not self._opened.done():
            self._opened.set_exception(Unreachable(why))
            self._opened.exception()  # nobody may be waiting
        self.has_ended = self._is_closed = True
        self._changed.set()

    def obey(self, kind: bytes, data: bytes) -> None:
        """Take one frame of the container."""
        match kind:
            case b"O" if not self._opened.done():
                self._opened.set_result(None)
            case b"D" if self._waiting + len(data) > WINDOW:
                self.break_off("the container sent more than it may")
            case b"D" if data:
                self._waiting += len(data)
                self._incoming.append(data)
            case b"W" if len(data) == 4:
                self._credit = min(self._credit + int.from_bytes(data, "big"), WINDOW)
            case b"E":
                self.has_ended = True
            case b"C":
                self.break_off(data.decode("utf-8", "replace"))
        self._changed.set()

    async def _room(self) -> int:
        while self._credit <= 0 and not self._is_closed:
            self._changed.clear()
            await self._changed.wait()
        if self._is_closed:
            raise ConnectionResetError(_ENDED)
        return self._credit


class Relay:
    """All connections over one stream; `send_bytes` sends on it, and `feed` takes what comes."""

    def __init__(self, send_bytes: Send) -> None:
        self.has_ended = False
        self._send_bytes = send_bytes
        self._connections: dict[int, Connection] = {}
        self._next = 1
        self._pending = bytearray()

    @property
    def is_idle(self) -> bool:
        """Whether no connection is open."""
        return not self._connections

    async def open(self, port: int) -> Connection:
        """Connect to a port of the container's loopback. Raises Unreachable."""
        connection = Connection(self._next, self)
        self._next = self._next % 0xFFFFFFFF + 1
        if self.has_ended:
            raise Unreachable(_ENDED)
        self._connections[connection.number] = connection
        try:
            await self.send(b"O", connection.number, struct.pack(">H", port))
            await connection.wait_opened()
        except BaseException:
            await connection.close()
            raise
        return connection

    async def keep_open(self) -> None:
        """Keep the stream from counting as idle, if a connection is open."""
        if self._connections:
            await self.send(b"P", 0)

    def feed(self, data: bytes) -> None:
        """Take bytes of the stream."""
        pending = self._pending
        pending += data
        while len(pending) >= _HEAD.size:
            kind, number, size = _HEAD.unpack_from(pending)
            if len(pending) < _HEAD.size + size:
                break
            content = bytes(pending[_HEAD.size : _HEAD.size + size])
            del pending[: _HEAD.size + size]
            connection = self._connections.get(number)
            if connection is not None:
                connection.obey(kind, content)

    def end(self) -> None:
        """Note that the stream has ended, and every connection with it."""
        self.has_ended = True
        for connection in self._connections.values():
            connection.break_off(_ENDED)

    def forget(self, connection: Connection) -> bool:
        """Forget a connection; False if it was forgotten before."""
        return self._connections.pop(connection.number, None) is not None

    async def send(self, kind: bytes, number: int, data: bytes = b"") -> None:
        """Send one frame, unless the stream has ended."""
        if not self.has_ended:
            await self._send_bytes(_HEAD.pack(kind, number, len(data)) + data)
