"""Adds the common headers to every answer: CORS, security headers, payment receipts.

A receipt is attached to the request as soon as money has moved, so the answer carries it even if an
error follows.
"""

from collections.abc import Collection
from typing import Any, Final

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_RECEIPT: Final = "pve402.receipt"

Header = tuple[bytes, bytes]

_VARY: Final[tuple[Header, ...]] = ((b"vary", b"Origin"),)


def attach_receipt(request: Request, receipt: tuple[str, str]) -> None:
    """Attach a receipt (header name and value) to the answer to this request."""
    name, value = receipt
    request.scope[_RECEIPT] = (name.lower().encode(), value.encode())


class Headers:
    """ASGI middleware that completes the headers of answers.

    Only requests with an Origin, which browsers send, go through CORS; for others it would only
    make caches vary on the Origin for nothing.
    """

    def __init__(
        self, app: ASGIApp, *, public_url: str, origins: Collection[str], exposed: Collection[str]
    ) -> None:
        """Let pages from `origins` call the service and read the `exposed` headers."""
        self._app = app
        self._defaults = _defaults(https=public_url.startswith("https://"))
        self._for_pages = CORSMiddleware(
            self._secured,
            allow_origins=list(origins),
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["*"],
            expose_headers=exposed,
            max_age=600,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward the request and complete the answer's headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif _names_origin(scope):
            await self._for_pages(scope, receive, send)
        else:
            await self._app(scope, receive, _completing(scope, send, self._defaults, _VARY))

    async def _secured(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, _completing(scope, send, self._defaults, ()))


def _names_origin(scope: Scope) -> bool:
    return any(name == b"origin" for name, _value in scope["headers"])


def _completing(
    scope: Scope, send: Send, defaults: tuple[Header, ...], always: tuple[Header, ...]
) -> Send:
    """Wrap `send` to add missing headers; a page that has its own policy keeps it."""

    async def complete(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = _completed(message["headers"], scope, defaults, always)
        await send(message)

    return complete


def _completed(
    headers: Any, scope: Scope, defaults: tuple[Header, ...], always: tuple[Header, ...]
) -> list[Header]:
    present = {name for name, _value in headers}
    completed = [*headers, *(pair for pair in defaults if pair[0] not in present), *always]
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
