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


class Left:
    """A websocket that the server has closed, because its client left."""

    async def send_bytes(self, data: bytes) -> None:
        """Raise what the server raises."""
        raise RuntimeError("Unexpected ASGI message 'websocket.send'")

    async def send_text(self, data: str) -> None:
        """Raise what the server raises."""
        raise RuntimeError("Unexpected ASGI message 'websocket.send'")


@pytest.mark.parametrize("data", [b"x", "x"])
async def test_a_client_that_has_left_is_no_failure_of_ours(data: bytes | str) -> None:
    socket: WebSocket = Left()  # type: ignore[assignment]

    with pytest.raises(WebSocketDisconnect):
        await binary.send(socket, data)
