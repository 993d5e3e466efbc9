"""Connections whose clients do not read end, also while they are being closed."""

import asyncio
import contextlib
import functools
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from pve402.api.transport import connections, pace, unread, websockets

MUCH = b"x" * (16 * 1024 * 1024)
ASK = b"GET / HTTP/1.1\r\nHost: x\r\n"
UPGRADE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


async def send_much(_scope: Any, _receive: Any, send: Any) -> None:
    """Send more than anything buffers; uvicorn waits before the next message."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": MUCH})


async def close_with_much(_scope: Any, _receive: Any, send: Any) -> None:
    """Send as much on a websocket and close it."""
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "bytes": MUCH})
    with contextlib.suppress(OSError):
        await send({"type": "websocket.close", "code": 1000})


@contextlib.asynccontextmanager
async def connected(make: Callable[[], asyncio.BaseProtocol]) -> AsyncIterator[socket.socket]:
    """A client of a server of such connections; it reads nothing by itself."""
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    async with server:
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            yield client


@pytest.mark.parametrize(("app", "head"), [(send_much, ASK), (close_with_much, ASK + UPGRADE)])
async def test_a_client_that_does_not_read_loses_its_connection(
    app: Callable[..., Any], head: bytes, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pace, "SECONDS", 0.05)
    monkeypatch.setattr(unread, "MORE_SECONDS", 0.05)
    lost, served = asyncio.Event(), asyncio.Event()

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        try:
            await app(scope, receive, send)
        finally:
            served.set()

    class Http(connections.BoundedHttp):
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            lost.set()

    class Socket(websockets.BoundedSocket):
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            lost.set()

    config = uvicorn.Config(watched, http=Http, ws=Socket, log_config=None)
    config.load()
    async with connected(functools.partial(Http, config, ServerState(), {})) as client:
        client.sendall(head + b"\r\n")
        await asyncio.wait_for(lost.wait(), 10)
        await asyncio.wait_for(served.wait(), 10)


async def test_the_kernel_gives_up_on_bytes_that_nobody_takes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(unread, "KERNEL_SECONDS", 0.3)
    lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    class Sender(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            unread.bound(transport)
            transport.write(MUCH)
            transport.close()

        def connection_lost(self, exc: Exception | None) -> None:
            lost.set_result(exc)

    async with connected(Sender):
        assert isinstance(await asyncio.wait_for(lost, 20), TimeoutError)
