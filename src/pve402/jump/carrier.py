"""One channel to a guest's SSH server: bytes both ways, at the pace of whoever is slower."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import asyncssh
import structlog
from typing_extensions import override

from pve402.domain import errors
from pve402.guests import pipes
from pve402.jump.connection import Connection

log = structlog.get_logger(__name__)

_MOST_WAITING_BYTES: Final = 128 * 1024


@dataclass(kw_only=True)
class Carried:
    """Bytes of one connection, to the guest and from it."""

    to_guest: int = 0
    from_guest: int = 0


class Carrier(asyncssh.SSHTCPSession[bytes]):
    """Carries a channel's bytes; `first` is what the guest's server has said already."""

    def __init__(
        self,
        pipe: pipes.Pipe,
        first: bytes,
        connection: Connection,
        carried: Carried,
        on_end: Callable[[], None],
    ) -> None:
        self._pipe = pipe
        self._first = first
        self._connection = connection
        self._carried = carried
        self._on_end = on_end
        self._channel: asyncssh.SSHTCPChannel[bytes]
        self._waiting = bytearray()
        self._is_input_over = False
        self._arrived = asyncio.Event()
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._running: asyncio.Task[None] | None = None
        self._is_ending = False

    @override
    def connection_made(self, chan: asyncssh.SSHTCPChannel[bytes]) -> None:
        self._channel = chan
        self._running = asyncio.create_task(self._run())

    @override
    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        self._waiting += data
        self._arrived.set()
        if len(self._waiting) >= _MOST_WAITING_BYTES:
            self._channel.pause_reading()

    @override
    def eof_received(self) -> bool:
        self._is_input_over = True
        self._arrived.set()
        return True

    @override
    def pause_writing(self) -> None:
        self._may_write.clear()

    @override
    def resume_writing(self) -> None:
        self._may_write.set()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self._running is not None and not self._is_ending:
            self._running.cancel()

    async def _run(self) -> None:
        sending = asyncio.create_task(self._send_to_guest())
        try:
            await self._send_to_client()
        except errors.Pve402Error as error:
            log.info("jump_stream_lost", reason=error.code)
        finally:
            self._is_ending = True  # letting go of the guest is not cut short
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            await self._pipe.close()
            self._channel.close()
            self._on_end()

    async def _send_to_client(self) -> None:
        data = self._first
        while data:
            await self._may_write.wait()
            await self._connection.writable()
            self._channel.write(data)
            self._carried.from_guest += len(data)
            data = await self._pipe.read()

    async def _send_to_guest(self) -> None:
        while not (self._is_input_over and not self._waiting):
            await self._arrived.wait()
            self._arrived.clear()
            data = bytes(self._waiting)
            self._waiting.clear()
            self._channel.resume_reading()
            self._carried.to_guest += len(data)
            await self._pipe.write(data)
        await self._pipe.end_input()
