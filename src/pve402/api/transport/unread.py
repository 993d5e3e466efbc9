"""Ends connections whose clients do not read what we send, even while we close them."""

import asyncio
import socket
from typing import Any, Final

from typing_extensions import override

from pve402.api.transport import pace

#: Added to the time for one piece, so that a client that only stopped is told so first.
MORE_SECONDS: Final = 5.0
#: How long the kernel keeps bytes that the client does not take (tcp(7), TCP_USER_TIMEOUT).
KERNEL_SECONDS: Final = 120.0
_NETWORKS: Final = (socket.AF_INET, socket.AF_INET6)


class Patience:
    """Waits for one client to read; `pause` and `resume` are the transport's signals."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._timer: asyncio.TimerHandle | None = None

    def pause(self) -> None:
        """Start to wait because the write buffer is full; abort the connection if it stays full."""
        if self._timer is None:
            seconds = pace.SECONDS + MORE_SECONDS
            self._timer = asyncio.get_running_loop().call_later(seconds, self._transport.abort)

    def resume(self) -> None:
        """Stop waiting: the client has read, or has left."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Patient(asyncio.Protocol):
    """A connection that ends if its client does not read."""

    _patience: Patience

    @override
    def connection_made(self, transport: Any) -> None:
        self._patience = Patience(transport)
        super().connection_made(transport)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._patience.resume()
        super().connection_lost(exc)

    @override
    def pause_writing(self) -> None:
        self._patience.pause()
        super().pause_writing()

    @override
    def resume_writing(self) -> None:
        self._patience.resume()
        super().resume_writing()


def bound(transport: asyncio.Transport) -> None:
    """Have the kernel close a connection whose client no longer takes bytes."""
    connection: Any = transport.get_extra_info("socket")
    option = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux has it
    if option is not None and connection is not None and connection.family in _NETWORKS:
        connection.setsockopt(socket.IPPROTO_TCP, option, int(KERNEL_SECONDS * 1000))
