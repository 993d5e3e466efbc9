"""Handshakes of websockets with servers in guests that do not keep to the protocol."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from typing import Any, cast

import pytest

from pve402.api.ports import exchange, websocket
from pve402.guests import connections

_ACCEPTED = b"HTTP/1.1 101 .\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"


class Server:
    """A server that says this, and closes the connection."""

    has_ended = False

    def __init__(self, said: bytes) -> None:
        self._said = [said]
        self.readings_after_end = 0

    async def read(self) -> bytes:
        if self._said:
            return self._said.pop()
        self.readings_after_end += 1
        assert self.readings_after_end < 100, "the end of the connection is not noticed"
        return b""

    async def write(self, data: bytes) -> None:
        pass

    async def close(self) -> None:
        pass


class Deaf(Server):
    """A server that accepts a websocket, and then neither reads nor speaks."""

    def __init__(self) -> None:
        super().__init__(b"")

    async def write(self, data: bytes) -> None:
        key = re.search(rb"Sec-WebSocket-Key: (\S+)", data)
        if key is None:
            await asyncio.Event().wait()
            return
        digest = hashlib.sha1(key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        accept = b"Sec-WebSocket-Accept: " + base64.b64encode(digest)
        self._said = [_ACCEPTED + accept + b"\r\n\r\n"]

    async def read(self) -> bytes:
        if not self._said:
            await asyncio.Event().wait()
        return self._said.pop()


async def visit(server: Server, *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """Ask for a websocket, and send messages over it; returns what the visitor gets."""
    goal = exchange.Goal(
        lease=cast("Any", None),
        port=8080,
        target=b"/",
        request_headers=[(b"host", b"a.example")],
        rewrite=lambda headers: [*headers],
    )
    sent: list[dict[str, Any]] = []
    coming = [{"type": "websocket.connect"}, *messages]

    async def receive() -> dict[str, Any]:
        return coming.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await websocket.carry(server, goal, {"subprotocols": []}, receive, send)
    return sent


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 101 Half an ans",
        b"garbage\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n",
        _ACCEPTED + b"Sec-WebSocket-Accept: of-another-key\r\n\r\n",
    ],
)
async def test_no_handshake_is_refused(said: bytes) -> None:
    with pytest.raises(connections.PortAnswerInvalid):
        await visit(Server(said))


async def test_a_refusal_may_end_with_the_connection() -> None:
    start, body = await visit(Server(b"HTTP/1.1 404 Not Found\r\n\r\nnothing here"))

    assert (start["status"], body["body"]) == (404, b"nothing here")


@pytest.mark.parametrize("kind", ["websocket.receive", "websocket.disconnect"])
async def test_a_server_that_reads_nothing_keeps_no_visitor(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(websocket, "MESSAGE_SECONDS", 0.05)

    async with asyncio.timeout(20):
        with pytest.raises(connections.PortSilent):
            await visit(Deaf(), {"type": kind, "text": "hello"})
