"""Puts on every answer what every answer carries: security headers, and the receipt of a payment.

A receipt is attached to the request as soon as money moved, so that the answer carries it whatever
happens afterwards, an error included.
"""

from typing import Any, Final

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_RECEIPT: Final = "pve402.receipt"

Header = tuple[bytes, bytes]


def attach_receipt(request: Request, receipt: tuple[str, str]) -> None:
    """Have the answer to this request carry a receipt (name and value of the header)."""
    name, value = receipt
    request.scope[_RECEIPT] = (name.lower().encode(), value.encode())


class Headers:
    """ASGI middleware that completes the headers of answers."""

    def __init__(self, app: ASGIApp, *, public_url: str) -> None:
        self._app = app
        self._defaults: tuple[Header, ...] = _defaults(https=public_url.startswith("https://"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and complete the answer's headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def complete(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = self._completed(message["headers"], scope)
            await send(message)

        await self._app(scope, receive, complete)

    def _completed(self, headers: Any, scope: Scope) -> list[Header]:
        """Add what is missing; a page with a policy of its own keeps it."""
        present = {name for name, _value in headers}
        completed = [*headers, *(pair for pair in self._defaults if pair[0] not in present)]
        receipt = scope.get(_RECEIPT)
        if receipt and receipt[0] not in present:
            completed.append(receipt)
        return completed


def _defaults(*, https: bool) -> tuple[Header, ...]:
    headers = {
        b"cache-control": b"no-store",
        b"x-content-type-options": b"nosniff",
        b"referrer-policy": b"no-referrer",
        b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
    }
    if https:
        headers[b"strict-transport-security"] = b"max-age=31536000"
    return tuple(headers.items())
