"""A connection of asyncssh that is bounded where the library is not.

The library queues what a client does not read, and reads on whatever comes. Here a client that does
not read is not read from, and a stranger can send only so much: keys exchanged again and again, or
methods that we do not offer, cost more than they weigh.
"""

import asyncio
from typing import TYPE_CHECKING, Any

import asyncssh
from typing_extensions import override

if TYPE_CHECKING:
    from pve402.jump.visit import Visit


class Connection(asyncssh.SSHServerConnection):
    """One client's connection."""

    visit: "Visit"
    _wire: asyncio.Transport

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: asyncssh.SSHServerConnectionOptions,
        login_bytes: int,
    ) -> None:
        super().__init__(loop, options)
        self._allowance = login_bytes
        self._may_write = asyncio.Event()
        self._may_write.set()

    async def writable(self) -> None:
        """Wait until the client has read most of what we wrote."""
        await self._may_write.wait()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._wire = transport
        super().connection_made(transport)

    @override
    def data_received(self, data: bytes, datatype: Any = None) -> None:
        if not self.visit.is_proven:
            self._allowance -= len(data)
            if self._allowance < 0:
                self.visit.end("too much was sent before the login")
                return
        super().data_received(data, datatype)

    @override
    def pause_writing(self) -> None:
        self._may_write.clear()
        self._wire.pause_reading()  # what it sends may ask for answers

    @override
    def resume_writing(self) -> None:
        self._may_write.set()
        self._wire.resume_reading()

    @override
    def connection_lost(self, exc: Exception | None = None) -> None:
        self._may_write.set()
        super().connection_lost(exc)

    @override
    async def reload_config(self) -> None:
        """Do nothing: we read no configuration, so none depends on the user's name."""
