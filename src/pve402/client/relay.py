"""Connections to a container's own loopback: many over one stream, or one for each."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing, suppress
from typing import Final

from pve402.client.streams import Stream
from pve402.schemas import relay
from pve402.schemas.relay import Unreachable

_KEEP_OPEN_SECONDS: Final = 20.0

__all__ = ["Relay", "Unreachable", "carry_alone"]


class Relay:
    """Carries local connections over one stream to the service's relay in the container."""

    def __init__(self, stream: Stream) -> None:
        #: What the relay in the container complained about.
        self.complaint = ""
        self._stream = stream
        self._relay = relay.Relay(stream.write)

    @property
    def has_ended(self) -> bool:
        """Whether the stream has ended."""
        return self._relay.has_ended

    async def run(self, before_end: Callable[[], None]) -> None:
        """Take what comes until the stream ends; `before_end` runs before connections are told.

        Raises what `Stream.output` raises.
        """
        keeping = asyncio.create_task(self._keep_open())
        try:
            async with aclosing(self._stream.output()) as output:
                async for piece in output:
                    if piece.stream == "stderr":
                        self.complaint = piece.data.decode("utf-8", "replace").strip()
                    else:
                        self._relay.feed(piece.data)
        finally:
            before_end()
            self._relay.end()
            keeping.cancel()

    async def carry(
        self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Carry one local connection to a port of the container. Raises Unreachable."""
        connection = await self._relay.open(port)
        tasks = [
            asyncio.create_task(_up(connection, reader)),
            asyncio.create_task(_down(connection, writer)),
        ]
        try:
            await asyncio.gather(*tasks)
        except OSError:  # one side has gone
            return
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await connection.close()

    async def _keep_open(self) -> None:
        while True:
            await asyncio.sleep(_KEEP_OPEN_SECONDS)
            await self._relay.keep_open()


async def _up(connection: relay.Connection, reader: asyncio.StreamReader) -> None:
    while data := await reader.read(relay.PIECE_BYTES):
        await connection.write(data)
    await connection.end()


async def _down(connection: relay.Connection, writer: asyncio.StreamWriter) -> None:
    while data := await connection.read():
        writer.write(data)
        await writer.drain()
    with suppress(OSError):
        writer.write_eof()


async def carry_alone(
    stream: Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Carry one local connection over a stream that leads to one port."""

    async def up() -> None:
        while data := await reader.read(relay.PIECE_BYTES):
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
