"""Sends an answer no faster than its client reads, and gives up on one that stops."""

import asyncio

from starlette.types import Message, Send

#: A client that takes longer than this for one piece has stopped reading.
SECONDS = 30.0
PIECE_BYTES = 64 * 1024


class NotRead(Exception):
    """The client does not read its answer."""


async def send_paced(send: Send, message: Message) -> None:
    """Send a message, a large body in pieces. Raises NotRead if the client stops reading."""
    body = message.get("body", b"")
    while len(body) > PIECE_BYTES:
        piece, body = body[:PIECE_BYTES], body[PIECE_BYTES:]
        await _send(send, {"type": message["type"], "body": piece, "more_body": True})
    await _send(send, {**message, "body": body} if "body" in message else message)


async def _send(send: Send, message: Message) -> None:
    try:
        async with asyncio.timeout(SECONDS) as limit:
            await send(message)
    except TimeoutError:
        if limit.expired():
            raise NotRead from None
        raise
