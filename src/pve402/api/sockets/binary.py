"""Binary messages, for websockets on which only the first message is text."""

import asyncio
from typing import Final

from starlette.websockets import WebSocket, WebSocketDisconnect

from pve402.api.transport import pace
from pve402.domain import errors

UNSUPPORTED: Final = 1003  # RFC 6455, 7.4.1


class TextRefused(errors.InvalidRequest):
    """A text message came where a binary one is required."""

    detail = "All messages after the first must be binary and begin with their channel."
    code = "text_message_refused"


async def send(socket: WebSocket, data: bytes | str) -> None:
    """Send a message. Raises WebSocketDisconnect if the client has left or does not read it."""
    try:
        async with asyncio.timeout(pace.SECONDS):
            if isinstance(data, str):
                await socket.send_text(data)
            else:
                await socket.send_bytes(data)
    except TimeoutError:
        raise WebSocketDisconnect(1006, "the client does not read") from None
    except RuntimeError:  # the server closed the socket when the client left
        raise WebSocketDisconnect(1006, "the client has left") from None


async def receive(socket: WebSocket) -> bytes:
    """Return the next message. Raises TextRefused, and WebSocketDisconnect at the end."""
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message["code"], message.get("reason"))
    data: bytes | None = message.get("bytes")
    if data is None:
        raise TextRefused
    return data
