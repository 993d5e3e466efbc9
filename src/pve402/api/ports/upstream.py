"""HTTP/1.1 to a server in a guest: h11 does the framing, a connection carries the bytes."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import h11

from pve402.guests import connections

_MAX_HEAD_BYTES: Final = 64 * 1024
FIRST_BYTE_SECONDS: Final = 60.0
SILENCE_SECONDS: Final = 600.0


class Upstream:
    """One connection to a server in a guest, for one exchange after another."""

    def __init__(self, connection: connections.Connection, clock: Callable[[], float]) -> None:
        self.idle_since = clock()
        self._connection = connection
        self._clock = clock
        self._protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD_BYTES)
        self._has_begun = False
        self._is_over = False

    @property
    def is_reusable(self) -> bool:
        """Whether another exchange can follow."""
        states = {self._protocol.our_state, self._protocol.their_state}
        return states == {h11.IDLE} and not self._connection.has_ended

    @property
    def has_begun(self) -> bool:
        """Whether anything of the answer has arrived."""
        return self._has_begun

    async def send(self, event: Any) -> None:
        """Send a part of the request. Raises OSError, and h11's LocalProtocolError."""
        data = self._protocol.send(event)
        if data:
            await self._connection.write(data)

    async def head(self) -> h11.Response:
        """The head of the answer. Raises PortSilent, PortAnswerInvalid, PortBroken."""
        self._has_begun = False
        try:
            async with asyncio.timeout(FIRST_BYTE_SECONDS):
                while not isinstance(event := await self._next(), h11.Response):
                    if not isinstance(event, h11.InformationalResponse):
                        raise connections.PortBroken
        except TimeoutError:
            raise connections.PortSilent from None
        if event.status_code > 599:
            raise connections.PortAnswerInvalid
        return event

    async def body(self) -> bytes | None:
        """The next part of the answer's body; None at its end. Raises as `head`."""
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                event = await self._next()
        except TimeoutError:
            raise connections.PortSilent from None
        if isinstance(event, h11.Data):
            return bytes(event.data)
        if isinstance(event, h11.EndOfMessage):
            return None
        raise connections.PortBroken

    def start_anew(self) -> bool:
        """Get ready for the next exchange; False if none can follow."""
        states = {self._protocol.our_state, self._protocol.their_state}
        if states != {h11.DONE} or self._protocol.trailing_data != (b"", False):
            return False
        self._protocol.start_next_cycle()
        self.idle_since = self._clock()
        return True

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()

    async def _next(self) -> Any:
        while True:
            try:
                event = self._protocol.next_event()
            except h11.RemoteProtocolError as error:
                kind = connections.PortBroken if self._is_over else connections.PortAnswerInvalid
                raise kind from error
            if event is not h11.NEED_DATA:
                return event
            try:
                data = await self._connection.read()
            except OSError:
                data = b""
            self._has_begun, self._is_over = self._has_begun or bool(data), not data
            self._protocol.receive_data(data)
