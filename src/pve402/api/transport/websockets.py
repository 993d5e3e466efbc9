"""Websockets that end if their client does not read, and whose close reason always arrives."""

import asyncio
from typing import Final

from typing_extensions import override
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from pve402.api.transport import unread

LARGEST_MESSAGE_BYTES: Final = 1024 * 1024
_LINGER_SECONDS: Final = 5.0


class BoundedSocket(unread.Patient, WebSocketsSansIOProtocol):
    """A connection that keeps reading for a while after we close it.

    Closing with unread bytes resets the connection, and the client never gets the close frame, 1009
    with its reason.
    """

    _lingering: asyncio.TimerHandle | None = None

    @override
    def data_received(self, data: bytes) -> None:
        if self._lingering is None:
            super().data_received(data)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self._lingering is not None:
            self._lingering.cancel()
        super().connection_lost(exc)

    @override
    def handle_parser_exception(self) -> None:
        closed = self.conn.close_sent
        code, reason = (closed.code, closed.reason) if closed else (1002, "")
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.transport.resume_reading()
        self._lingering = self.loop.call_later(_LINGER_SECONDS, self.transport.close)
