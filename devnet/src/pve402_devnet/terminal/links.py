"""The TCP connection between pveproxy and termproxy: Nagle at both ends, late acknowledgements.

A small segment is held while an earlier one is unacknowledged (RFC 896). The receiver acknowledges
with its own next data, or 40 ms later, or at once when more than 536 bytes came together (the
smallest segment size Linux assumes). Sans-I/O: timers and sending are given.
"""

from collections.abc import Callable
from typing import Protocol

_SEGMENT_BYTES = 65_483
_AT_ONCE_BYTES = 536


class Timer(Protocol):
    """What `loop.call_later` returns."""

    def cancel(self) -> None:
        """Do not call any more."""


class Link:
    """One direction of a connection. With `stall_seconds` 0 everything passes at once."""

    def __init__(
        self,
        *,
        stall_seconds: float,
        call_later: Callable[[float, Callable[[], None]], Timer],
        send: Callable[[bytes], None],
    ) -> None:
        self._stall_seconds = stall_seconds
        self._call_later = call_later
        self._send = send
        self._held = bytearray()
        self._acknowledgement: Timer | None = None
        self.reverse: Link | None = None

    def write(self, data: bytes) -> None:
        """Send now or hold, as Nagle's rule says."""
        if not self._stall_seconds:
            self._send(data)
        elif self._acknowledgement and len(self._held) + len(data) < _SEGMENT_BYTES:
            self._held += data
        else:
            self._transmit(bytes(self._held) + data)

    def acknowledge(self) -> None:
        """All that was sent has been acknowledged: what was held goes out."""
        self._forget_timer()
        if self._held:
            self._transmit(bytes(self._held))

    def close(self, *, flush: bool) -> None:
        """End the direction; what was held goes out, as a closing kernel sends it, or is lost."""
        self._forget_timer()
        if flush and self._held:
            self._send(bytes(self._held))
        self._held.clear()

    def _transmit(self, data: bytes) -> None:
        self._held.clear()
        self._forget_timer()
        if len(data) <= _AT_ONCE_BYTES:
            self._acknowledgement = self._call_later(self._stall_seconds, self.acknowledge)
        self._send(data)
        if self.reverse:
            self.reverse.acknowledge()

    def _forget_timer(self) -> None:
        if self._acknowledgement:
            self._acknowledgement.cancel()
            self._acknowledgement = None


def join(first: Link, second: Link) -> None:
    """Make two links the directions of one connection: data of one acknowledges the other."""
    first.reverse = second
    second.reverse = first
