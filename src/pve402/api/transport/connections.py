"""Connections with bounds: how many, how large a request's head, and how long it may take.

uvicorn bounds none of these with httptools: a client could feed one header for ever.
"""

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar, Final

import structlog
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pve402.api.transport import open_files

logger = structlog.get_logger(__name__)

MAX_HEAD_BYTES: Final = 32 * 1024
HEAD_LIMIT_SECONDS: Final = 15.0
FULL_TOLD_EVERY_SECONDS: Final = 60.0


class BoundedHttp(HttpToolsProtocol):
    """One connection of HTTP/1.1, refused or closed when it goes out of bounds."""

    full_told_at: ClassVar[float] = -FULL_TOLD_EVERY_SECONDS
    _head_open = True
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        most = open_files.most_connections()
        if len(self.connections) > most:
            self._tell_full(most)
            transport.close()
            return
        self._await_head()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._head_arrived()
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if not self._head_open or not self._is_open():
            return
        if self._head_bytes > MAX_HEAD_BYTES:
            self._close_with(self.send_400_response, "The head of the request is too large.")
        elif self._head_timer is None:  # most heads come in one piece, and need none
            self._await_head()

    @override
    def on_message_begin(self) -> None:
        self._head_open = True
        if self._head_timer is None:
            self._head_bytes = 0
        super().on_message_begin()

    @override
    def on_headers_complete(self) -> None:
        self._head_arrived()
        super().on_headers_complete()

    def _tell_full(self, most: int) -> None:
        now = self.loop.time()
        if now - BoundedHttp.full_told_at >= FULL_TOLD_EVERY_SECONDS:
            BoundedHttp.full_told_at = now
            logger.warning("connections_refused", most_connections=most)

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_LIMIT_SECONDS, self._head_too_slow)

    def _head_arrived(self) -> None:
        self._head_open, self._head_bytes = False, 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_too_slow(self) -> None:
        self._head_timer = None
        if self._is_open():
            self.transport.close()

    def _is_open(self) -> bool:
        return not self.transport.is_closing()

    def _close_with(self, send: Callable[[str], None], message: str) -> None:
        self._head_arrived()
        send(message)
