"""Connections to a container's own loopback: many over one stream, or one for each.

The frames are those of the relay that the service runs in the container: type, 4 bytes connection,
2 bytes length, data. `O` opens a port, `D` carries data, `W` gives credit for more, `E` ends one
direction, `C` closes, `P` keeps an idle stream open.
"""

import asyncio
import struct
from collections.abc import Callable
from contextlib import aclosing, suppress
from typing import Final

from pve402.client.streams import Stream

_HEAD: Final = struct.Struct(">cIH")
_WINDOW: Final = 64 * 1024
_PIECE_BYTES: Final = 32 * 1024
_OPEN_SECONDS: Final = 30.0
_KEEP_OPEN_SECONDS: Final = 20.0


class Unreachable(Exception):
    """Nothing in the container takes the connection; says why."""


class _Connection:
    """One connection through the relay."""

    def __init__(self) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.credit = _WINDOW
        self.more_credit = asyncio.Event()
        #: Data from the container; None at its end.
        self.incoming: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.closed = asyncio.Event()

    def close(self, why: str) -> None:
        if not self.opened.done():
            self.opened.set_exception(Unreachable(why))
        self.incoming.put_nowait(None)
        self.closed.set()
        self.more_credit.set()


class Relay:
    """Carries local connections over one stream to the service's relay in the container."""

    def __init__(self, stream: Stream) -> None:
        #: What the relay in the container complained about.
        self.complaint = ""
        self.has_ended = False
        self._stream = stream
        self._connections: dict[int, _Connection] = {}
        self._next = 1

    @property
    def is_idle(self) -> bool:
        """Whether no connection is open."""
        return not self._connections

    async def run(self, before_end: Callable[[], None]) -> None:
        """Take what comes until the stream ends; `before_end` runs before connections are told.

        Raises what `Stream.output` raises.
        """
        pending = b""
        keeping = asyncio.create_task(self._keep_open())
        try:
            async with aclosing(self._stream.output()) as output:
                async for piece in output:
                    if piece.stream == "stderr":
                        self.complaint = piece.data.decode("utf-8", "replace").strip()
                        continue
                    pending = self._take(pending + piece.data)
        finally:
            before_end()
            self.has_ended = True
            keeping.cancel()
            for connection in self._connections.values():
                connection.close("the connection to the container has ended")

    async def carry(
        self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Carry one local connection to a port of the container. Raises Unreachable."""
        number, connection = self._next, _Connection()
        self._next += 1
        self._connections[number] = connection
        if self.has_ended:
            connection.close("the connection to the container has ended")
        else:
            await self._send(b"O", number, struct.pack(">H", port))
        tasks: list[asyncio.Task[None]] = []
        try:
            async with asyncio.timeout(_OPEN_SECONDS):
                await connection.opened
            tasks.append(asyncio.create_task(self._up(number, connection, reader)))
            tasks.append(asyncio.create_task(self._down(number, connection, writer)))
            await asyncio.gather(*tasks)
        except TimeoutError:
            raise Unreachable("the container does not answer") from None
        except OSError:  # the local side has gone
            return
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            del self._connections[number]
            if not connection.closed.is_set():
                await self._send(b"C", number)

    async def _up(self, number: int, connection: _Connection, reader: asyncio.StreamReader) -> None:
        while not connection.closed.is_set():
            while connection.credit <= 0 and not connection.closed.is_set():
                connection.more_credit.clear()
                await connection.more_credit.wait()
            data = await reader.read(min(_PIECE_BYTES, max(connection.credit, 1)))
            if not data:
                await self._send(b"E", number)
                return
            connection.credit -= len(data)
            await self._send(b"D", number, data)

    async def _down(
        self, number: int, connection: _Connection, writer: asyncio.StreamWriter
    ) -> None:
        taken = 0
        while (data := await connection.incoming.get()) is not None:
            writer.write(data)
            await writer.drain()
            taken += len(data)
            if taken >= _WINDOW // 2:
                await self._send(b"W", number, struct.pack(">I", taken))
                taken = 0
        with suppress(OSError):
            writer.write_eof()

    async def _send(self, kind: bytes, number: int, data: bytes = b"") -> None:
        if not self.has_ended:
            await self._stream.write(_HEAD.pack(kind, number, len(data)) + data)

    def _take(self, pending: bytes) -> bytes:
        """Take whole frames; returns the rest."""
        while len(pending) >= _HEAD.size:
            kind, number, size = _HEAD.unpack_from(pending)
            if len(pending) < _HEAD.size + size:
                break
            data = pending[_HEAD.size : _HEAD.size + size]
            pending = pending[_HEAD.size + size :]
            connection = self._connections.get(number)
            if connection is not None:
                _obey(connection, kind, data)
        return pending

    async def _keep_open(self) -> None:
        while True:
            await asyncio.sleep(_KEEP_OPEN_SECONDS)
            if self._connections:
                await self._send(b"P", 0)


def _obey(connection: _Connection, kind: bytes, data: bytes) -> None:
    match kind:
        case b"O" if not connection.opened.done():
            connection.opened.set_result(None)
        case b"D":
            connection.incoming.put_nowait(data)
        case b"W" if len(data) == 4:
            connection.credit += int.from_bytes(data, "big")
            connection.more_credit.set()
        case b"E":
            connection.incoming.put_nowait(None)
        case b"C":
            connection.close(data.decode("utf-8", "replace"))


async def carry_alone(
    stream: Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Carry one local connection over a stream that leads to one port."""

    async def up() -> None:
        while data := await reader.read(_PIECE_BYTES):
            await stream.write(data)
        await stream.end_input()

    going_up = asyncio.create_task(up())
    try:
        async with aclosing(stream.output()) as output:
            async for piece in output:
                if piece.stream == "stdout":
                    writer.write(piece.data)
                    await writer.drain()
    except OSError:
        return
    finally:
        going_up.cancel()
        await asyncio.gather(going_up, return_exceptions=True)
