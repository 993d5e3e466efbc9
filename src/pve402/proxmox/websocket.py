"""The websocket of a console: aiohttp's, and the kernel may keep for a moment what comes in.

A console's flood arrives in segments of some 4 KiB, and each that is read at once costs a turn of
the loop and a call of the kernel. Left alone for a millisecond, they come in one read.
"""

import asyncio
from typing import Any, Literal

import aiohttp


class WebSocket(aiohttp.ClientWebSocketResponse[Literal[True]]):
    """A websocket whose reading can be paused; made by `aiohttp.ClientSession`."""

    def __init__(
        self,
        reader: Any,
        writer: Any,
        protocol: str | None,
        response: aiohttp.ClientResponse,
        *others: Any,
        **options: Any,
    ) -> None:
        super().__init__(reader, writer, protocol, response, *others, **options)
        connection = response.connection
        self._wire = connection.transport if connection is not None else None

    def pause_reading(self, seconds: float) -> None:
        """Read nothing from the network for so long; what was read before is still received.

        For who receives all the time: with this pause ends one that aiohttp makes for a full queue.
        """
        # A transport of TLS that was closed knows neither of the two calls any more.
        if self._wire is not None and not self._wire.is_closing():
            self._wire.pause_reading()
            asyncio.get_running_loop().call_later(seconds, self._resume_reading)

    def _resume_reading(self) -> None:
        if self._wire is not None and not self._wire.is_closing():
            self._wire.resume_reading()
