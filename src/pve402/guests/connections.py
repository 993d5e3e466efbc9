"""Connections to servers on guests' own loopback, for published ports.

The guest dials, never we: the relay of `pve402 tunnel` runs in it, over one stream, and is kept for
a minute after its last use. Where there is no Perl, each connection has a stream of its own.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from pve402.domain import errors
from pve402.domain.lease import Lease
from pve402.guests import pipes
from pve402.guests.streams import Streams
from pve402.hub import errors as hub_errors
from pve402.hub import services
from pve402.hub import stream as hub_stream
from pve402.proxmox.guests import GuestRef
from pve402.schemas import relay

log = structlog.get_logger(__name__)

#: How long a relay stays open without use; connections are kept for another exchange before.
IDLE_SECONDS: Final = 45.0
#: Connections into one guest at a time, from this replica.
MOST_CONNECTIONS: Final = 64
_CHECK_SECONDS: Final = 5.0
#: How the relay ends in a guest without Perl, and how long we do not try again.
_NO_PERL: Final = 127
_FORGET_SECONDS: Final = 600.0


class PortRefused(errors.Pve402Error):
    """No server in the container takes the connection."""

    detail = "Nothing in the container takes connections at this port."
    code = "port_refused"


class PortBroken(PortRefused):
    """The connection ended before the answer did."""

    detail = "The server in the container closed the connection before its answer was whole."
    code = "port_broken"


class PortAnswerInvalid(PortRefused):
    """The server in the container does not speak HTTP/1.1."""

    detail = "The server in the container did not answer as HTTP/1.1 requires."
    code = "port_answer_invalid"


class PortSilent(errors.Pve402Error):
    """The server in the container has not begun its answer in time, or paused for too long."""

    detail = "The server in the container did not answer in time."
    code = "port_silent"


class PortBusy(errors.TooMany):
    """As many connections into the container are open as there may be."""

    detail = "Too many connections into this container are open; try again in a moment."
    code = "port_busy"
    retry_after_seconds = 2


class Connection(Protocol):
    """Bytes both ways."""

    @property
    def has_ended(self) -> bool:
        """Whether no more bytes come from the guest, except those that were not read yet."""
        ...

    async def read(self) -> bytes:
        """The next bytes from the guest; none at their end."""
        ...

    async def write(self, data: bytes) -> None:
        """Send bytes. Raises OSError if the connection is gone."""
        ...

    async def close(self) -> None:
        """Close it; never fails."""
        ...


class Connections:
    """Opens connections into the guests whose terminals this replica holds."""

    def __init__(self, streams: Streams, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._streams = streams
        self._clock = clock
        self._ways: dict[str, _Way] = {}
        self._tidying: asyncio.Task[None] | None = None

    async def open(self, guest: GuestRef, row: Lease, port: int) -> Connection:
        """Connect to a port of a lease's guest.

        Raises PortRefused, PortBusy, and what `Streams.open` raises.
        """
        way = self._ways.get(row.lease_id)
        if way is None:
            way = self._ways[row.lease_id] = _Way(self._streams, self._clock)
        if self._tidying is None:
            self._tidying = asyncio.create_task(self._tidy())
        return await way.open(guest, row, port)

    async def close(self) -> None:
        """Close every connection."""
        if self._tidying is not None:
            self._tidying.cancel()
            await asyncio.gather(self._tidying, return_exceptions=True)
            self._tidying = None
        ways, self._ways = self._ways, {}
        for way in ways.values():
            await way.close()

    async def tidy(self) -> None:
        """Close the relays that nobody has used for a while, and forget guests."""
        for lease_id, way in tuple(self._ways.items()):
            if not way.is_idle:
                continue
            if not way.is_without_perl:
                self._ways.pop(lease_id, None)  # first: who comes meanwhile begins anew
            await way.close()

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            try:
                await self.tidy()
            except Exception:  # a bug of ours must not keep relays open for ever
                log.exception("relays_not_tidied")


class _Way:
    """The way to one guest's loopback."""

    def __init__(self, streams: Streams, clock: Callable[[], float]) -> None:
        self._streams = streams
        self._clock = clock
        self._relay: _Relay | None = None
        self._opening = asyncio.Lock()
        self._open = 0
        self._used_at = clock()
        self._no_perl_at: float | None = None

    async def open(self, guest: GuestRef, row: Lease, port: int) -> Connection:
        if self._open >= MOST_CONNECTIONS:
            raise PortBusy
        self._open += 1
        self._used_at = self._clock()
        try:
            opened = await self._opened(guest, row, port)
        except BaseException:
            self._ended()
            raise
        return _Counted(opened, self._ended)

    @property
    def is_idle(self) -> bool:
        """Whether nobody has used it for a while."""
        return not self._open and self._clock() - self._used_at >= IDLE_SECONDS

    @property
    def is_without_perl(self) -> bool:
        """Whether the guest lacks Perl, as far as we know."""
        return self._no_perl_at is not None and self._clock() - self._no_perl_at < _FORGET_SECONDS

    async def close(self) -> None:
        old, self._relay = self._relay, None  # who comes meanwhile opens another one
        if old is not None:
            await old.close()

    async def _opened(self, guest: GuestRef, row: Lease, port: int) -> Connection:
        if not self.is_without_perl:
            shared = await self._shared(guest, row)
            try:
                return await shared.relay.open(port)
            except (relay.Unreachable, OSError):
                if shared.pipe.exit_code != _NO_PERL:
                    raise _lost_or_refused(shared) from None
                self._no_perl_at = self._clock()
        return _Alone(await self._streams.open(guest, row, services.port(port)))

    async def _shared(self, guest: GuestRef, row: Lease) -> "_Relay":
        async with self._opening:
            if self._relay is None or self._relay.relay.has_ended:
                await self.close()
                stream = await self._streams.open(guest, row, services.ports(idle_seconds=None))
                self._relay = _Relay(pipes.HerePipe(stream))
            return self._relay

    def _ended(self) -> None:
        self._open -= 1
        self._used_at = self._clock()


class _Relay:
    """The relay in a guest, and its stream."""

    def __init__(self, pipe: pipes.Pipe) -> None:
        self.pipe = pipe
        self.relay = relay.Relay(self._write)
        self._writing = asyncio.Lock()
        self._running = asyncio.create_task(self._run())

    async def close(self) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        await self.pipe.close()

    async def _write(self, frame: bytes) -> None:
        """Write a frame; none is mixed with another one."""
        async with self._writing:
            await self.pipe.write(frame)

    async def _run(self) -> None:
        try:
            while data := await self.pipe.read():
                self.relay.feed(data)
        except hub_errors.HubError as lost:
            log.info("relay_lost", code=lost.code)
        finally:
            self.relay.end()


class _Alone:
    """A connection with a stream of its own."""

    def __init__(self, stream: hub_stream.Stream) -> None:
        self._stream = stream
        self._pipe = pipes.HerePipe(stream)

    @property
    def has_ended(self) -> bool:
        return self._stream.is_over

    async def read(self) -> bytes:
        try:
            return await self._pipe.read()
        except hub_errors.HubError:
            return b""

    async def write(self, data: bytes) -> None:
        await self._pipe.write(data)

    async def close(self) -> None:
        await self._pipe.close()


def _lost_or_refused(shared: _Relay) -> errors.Pve402Error:
    return hub_errors.SessionLost() if shared.relay.has_ended else PortRefused()


class _Counted:
    """A connection that is counted until it is closed."""

    def __init__(self, connection: Connection, on_close: Callable[[], None]) -> None:
        self._connection = connection
        self._on_close: Callable[[], None] | None = on_close

    @property
    def has_ended(self) -> bool:
        return self._connection.has_ended

    async def read(self) -> bytes:
        return await self._connection.read()

    async def write(self, data: bytes) -> None:
        await self._connection.write(data)

    async def close(self) -> None:
        on_close, self._on_close = self._on_close, None
        if on_close is None:
            return
        try:
            await self._connection.close()
        except OSError:
            return
        finally:
            on_close()
