"""A console's websocket: aiohttp's, but able to leave incoming data in the kernel for a moment.

A flood of console output arrives in segments of about 4 KiB. Reading each one immediately costs
a turn of the loop and a system call; after a pause of a millisecond one read gets them all.
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
        """Stop reading from the network for this long; data already read is still received.

        Only for callers that keep receiving: the end of this pause also ends any pause that
        aiohttp made because its queue was full.
        """
        # A closed TLS transport no longer supports these two calls.
        if self._wire is not None and not self._wire.is_closing():
            self._wire.pause_reading()
            asyncio.get_running_loop().call_later(seconds, self._resume_reading)

    def _resume_reading(self) -> None:
        if self._wire is not None and not self._wire.is_closing():
            self._wire.resume_reading()
