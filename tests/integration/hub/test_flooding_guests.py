"""A guest that floods its terminal waits while we are busy with what it sent."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
from aiohttp import web

from pve402.hub.batching import BatchedReader
from pve402.hub.terminal_socket import WebSocketTerminal

FLOOD_BYTES = 64 * 1024 * 1024
#: What the kernel's buffers on both sides and aiohttp's queue may hold, and much less than a flood.
BUFFERED_BYTES = 24 * 1024 * 1024


class Flood:
    """A terminal that prints as fast as it is read."""

    def __init__(self, line: bytes) -> None:
        self.line = line
        self.sent_bytes = 0

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        while self.sent_bytes < FLOOD_BYTES:
            await socket.send_bytes(self.line)
            self.sent_bytes += len(self.line)
        return socket

    async def has_stopped(self) -> None:
        """Return once nothing more is read, or everything was."""
        before = -1
        while before != self.sent_bytes < FLOOD_BYTES:
            before = self.sent_bytes
            await asyncio.sleep(0.3)


@pytest.fixture(params=[60, 4096], ids=["lines", "blocks"])
async def flood(request: pytest.FixtureRequest) -> Flood:
    return Flood(b"y" * (request.param - 1) + b"\n")


@pytest.fixture
async def terminal(flood: Flood) -> AsyncIterator[WebSocketTerminal]:
    application = web.Application()
    application.router.add_get("/", flood.serve)
    runner = web.AppRunner(application, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        yield WebSocketTerminal(await session.ws_connect(url))
    await runner.cleanup()


async def test_nothing_is_read_while_what_came_is_handled(
    flood: Flood, terminal: WebSocketTerminal
) -> None:
    pieces, is_handling = 0, asyncio.Event()

    def take(_data: bytes) -> Iterator[None]:
        nonlocal pieces
        time.sleep(0.05)  # as on a busy machine, so that more waits than aiohttp's queue takes
        pieces += 1
        while pieces > 10:
            is_handling.set()
            yield

    reading = asyncio.create_task(BatchedReader(terminal, take).run())
    await is_handling.wait()
    before = flood.sent_bytes
    await flood.has_stopped()
    reading.cancel()

    assert flood.sent_bytes - before < BUFFERED_BYTES
