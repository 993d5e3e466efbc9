"""Limits on connections: their number, and the size and duration of a request's head.

uvicorn limits none of these with httptools: a client could keep sending one header for ever.
"""

import asyncio
import collections
import json
import re
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import structlog
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pve402.api.transport import address, lanes, open_files, unread

logger = structlog.get_logger(__name__)

MAX_HEAD_BYTES: Final = 32 * 1024
HEAD_LIMIT_SECONDS: Final = 15.0
FULL_TOLD_EVERY_SECONDS: Final = 60.0


def _refusal(status: bytes, code: str, detail: str) -> bytes:
    """Return a whole answer to a request that never reaches the application."""
    content = json.dumps({"detail": detail, "code": code}).encode()
    return (
        b"HTTP/1.1 %b\r\n"
        b"content-type: application/json\r\ncache-control: no-store\r\nconnection: close\r\n"
        b"content-length: %d\r\n\r\n%b" % (status, len(content), content)
    )


_TOO_LARGE: Final = _refusal(
    b"431 Request Header Fields Too Large",
    "head_too_large",
    f"The request line and headers must be at most {MAX_HEAD_BYTES:,} bytes.",
)
_MALFORMED: Final = _refusal(
    b"400 Bad Request", "invalid_request", "This is not a valid HTTP/1.1 request."
)
_AUTHORITY_END: Final = re.compile(rb"[/?#]")
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})
_open_from: Final[collections.Counter[str]] = collections.Counter()


def behind(proxies: Sequence[str]) -> type["BoundedHttp"]:
    """Return the connections of a server that trusts these proxies."""
    return type("BoundedHttp", (BoundedHttp,), {"clients": address.ClientAddresses(proxies)})


class BoundedHttp(unread.Patient, HttpToolsProtocol):
    """One HTTP/1.1 connection, refused or closed if it exceeds a limit."""

    clients: ClassVar[address.ClientAddresses] = address.ClientAddresses(())
    full_told_at: ClassVar[float] = -FULL_TOLD_EVERY_SECONDS
    _counted: tuple[str, ...] = ()
    _head_open = True
    _head_bytes = 0  # as received, while a head is incomplete
    _parsed_bytes = 0  # of this head only, as it may arrive together with what follows
    _head_timer: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        unread.bound(transport)
        self._counted = self._parties()
        _open_from.update(self._counted)
        most = open_files.most_connections()
        if len(self.connections) > most or self._has_too_many(most):
            self._tell_full(most)
            transport.close()
            return
        self._await_head()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._head_arrived()
        self._uncount()
        super().connection_lost(exc)

    @override
    def handle_websocket_upgrade(self) -> None:
        self._uncount()  # another protocol takes over the connection
        self._patience.resume()
        super().handle_websocket_upgrade()

    @override
    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if not self._head_open or not self._is_open():
            return
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse_head()
        elif self._head_timer is None:  # most heads arrive in one piece and need no timer
            self._await_head()

    @override
    def on_message_begin(self) -> None:
        self._head_open = True
        self._parsed_bytes = 0
        if self._head_timer is None:
            self._head_bytes = 0
        super().on_message_begin()

    @override
    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        if self._head_open:  # else it is a trailer, which must not pass for a header
            super().on_header(name, value)

    @override
    def send_400_response(self, msg: str) -> None:
        """Refuse a malformed request with 400, or one with too large a head with 431."""
        self._refuse_head(_MALFORMED if self._parsed_bytes <= MAX_HEAD_BYTES else _TOO_LARGE)

    @override
    def on_headers_complete(self) -> None:
        self._head_arrived()
        if self._is_for_another_host() or self._is_socket_with_body():
            raise ValueError("the head of the request contradicts itself")
        super().on_headers_complete()

    def _is_for_another_host(self) -> bool:
        """Whether the request line names a host (RFC 9112, 3.2.2) that the Host header does not.

        Who is in front of us may have gone by the one, and we go by the other.
        """
        if self.url[:1] in {b"/", b"*"}:
            return False
        _, _, rest = self.url.partition(b"://")
        named = _AUTHORITY_END.split(rest, maxsplit=1)[0].lower()
        hosts = [value.lower() for name, value in self.headers if name == b"host"]
        return hosts != [named]

    def _is_socket_with_body(self) -> bool:
        """Whether it asks for a websocket and has a body, so that neither would begin."""
        if not (self.parser.should_upgrade() and self._should_upgrade()):
            return False
        framing = {(name, value) for name, value in self.headers if name in _FRAMING}
        return bool(framing - {(b"content-length", b"0")})

    def _parties(self) -> tuple[str, ...]:
        """Whom this connection counts for: nobody if it is a trusted proxy's.

        A proxy uses one connection for many clients. The guard counts their requests and sockets.
        """
        peer = self.client[0] if self.client else None
        is_proxy = peer is not None and self.clients.is_trusted(peer)
        return () if is_proxy else lanes.parties_of(peer)

    def _has_too_many(self, most: int) -> bool:
        """Whether one address has more than half of all connections."""
        return any(_open_from[party] > max(most // 2, 1) for party in self._counted)

    def _uncount(self) -> None:
        for party in self._counted:
            _open_from[party] -= 1
            if _open_from[party] <= 0:
                del _open_from[party]
        self._counted = ()

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

    def _count(self, more: int) -> None:
        """Count the head's bytes as parsed. Raises ValueError, which stops the parser."""
        self._parsed_bytes += more
        if self._parsed_bytes > MAX_HEAD_BYTES:
            raise ValueError("the head of the request is too large")

    def _refuse_head(self, answer: bytes = _TOO_LARGE) -> None:
        self._head_arrived()
        if self._is_open():
            self.transport.write(answer)
            self.transport.close()
