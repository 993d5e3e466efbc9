"""A websocket whose client does not read is as good as closed."""

import asyncio

import pytest
from starlette.websockets import WebSocket, WebSocketDisconnect

from pve402.api.sockets import binary
from pve402.api.transport import pace


class Unread:
    """A websocket that takes nothing."""

    async def send_bytes(self, data: bytes) -> None:
        """Wait for a reader that does not come."""
        await asyncio.Event().wait()


async def test_a_message_that_is_not_read_ends_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "SECONDS", 0.01)
    socket: WebSocket = Unread()  # type: ignore[assignment]

    with pytest.raises(WebSocketDisconnect):
        await binary.send(socket, b"x")
