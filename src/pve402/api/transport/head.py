"""HEAD: the headers of the answer to GET, without paying, or sending or awaiting a body."""

import asyncio
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PAYMENTS: Final = frozenset({b"x-payment", b"payment-signature"})


async def serve(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer HEAD by running GET, and cancel it as soon as its answer begins."""
    headers = [pair for pair in scope["headers"] if pair[0] not in _PAYMENTS]
    as_get = {**scope, "method": "GET", "headers": headers}
    begun = asyncio.Event()

    async def send_head(message: Message) -> None:
        if message["type"] != "http.response.start" or begun.is_set():
            return
        scope.update({name: value for name, value in as_get.items() if name not in scope})
        await send(message)
        await send({"type": "http.response.body", "body": b""})
        begun.set()

    answering = asyncio.ensure_future(app(as_get, receive, send_head))
    waiting = asyncio.ensure_future(begun.wait())
    try:
        await asyncio.wait([answering, waiting], return_when=asyncio.FIRST_COMPLETED)
        if not begun.is_set():
            await answering
    finally:
        for task in (answering, waiting):
            task.cancel()
        await asyncio.gather(answering, waiting, return_exceptions=True)
