"""A process that only passes bytes on: what one more process between two costs on this machine.

`python -m tests.bench.relay PORT` listens on loopback, prints its address, and joins each
connection to one of its own to PORT. It reads as much as there is and writes it as it is; where one
side takes no more, the other is not read.
"""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from typing import cast

import uvloop
from tests.support import programs


@contextlib.contextmanager
def before(url: str) -> Iterator[str]:
    """Run a relay before the server at `url`; yields its URL."""
    command = [sys.executable, "-m", "tests.bench.relay", url.rpartition(":")[2]]
    with programs.started(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()


class _Side(asyncio.Protocol):
    """One of two connections whose bytes go to the other."""

    def __init__(self, other: "_Side | None" = None) -> None:
        self.other = other
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


class _Entry(_Side):
    """The side that a client connects to; what it says first waits for the other side."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port
        self._joining: asyncio.Task[None] | None = None
        self._first = b""

    def data_received(self, data: bytes) -> None:
        if self.other is not None:
            super().data_received(data)
            return
        self._first += data
        assert self.transport is not None
        self.transport.pause_reading()
        self._joining = self._joining or asyncio.get_running_loop().create_task(self._join())

    async def _join(self) -> None:
        loop = asyncio.get_running_loop()
        transport, other = await loop.create_connection(
            lambda: _Side(self), "127.0.0.1", self._port
        )
        transport.write(self._first)
        self.other = other
        assert self.transport is not None
        self.transport.resume_reading()


async def serve(port: int) -> None:
    """Serve until the process is told to end."""
    server = await asyncio.get_running_loop().create_server(lambda: _Entry(port), "127.0.0.1", 0)
    sys.stdout.write(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
