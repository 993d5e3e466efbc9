"""Connections to servers in guests: their number, their frames, and when the relay is closed."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from tests.support import fake_leases

from pve402.guests import connections
from pve402.guests.connections import Connections, PortBusy
from pve402.hub import stream as hub_stream
from pve402.hub.request import EventKind
from pve402.proxmox.guests import GuestRef

ROW = fake_leases.make_lease("eip155:84532:0x" + "1" * 40)
GUEST = GuestRef(node="pve1", vmid=10000)
_HEAD = struct.Struct(">cIH")


class Stream:
    """The relay in a guest: it opens whatever it is asked for, and keeps what is written to it."""

    is_over = False
    exit_code: int | None = None
    error = None

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.written = bytearray()
        self.taken = 0
        self.is_left = False
        self._said = b""
        self._parsed = 0

    @property
    def received(self) -> int:
        return len(self.written)

    def attach(self, _position: int) -> int:
        return 1

    def write(self, data: bytes) -> None:
        self.written += data
        for kind, number, _ in self.frames()[self._parsed :]:
            self._parsed += 1
            if kind == b"O":
                self._said += _HEAD.pack(b"O", number, 0)
                self.wake()

    def frames(self) -> list[tuple[bytes, int, bytes]]:
        """The whole frames that were written."""
        found, rest = [], bytes(self.written)
        while len(rest) >= _HEAD.size:
            kind, number, size = _HEAD.unpack_from(rest)
            found.append((kind, number, rest[_HEAD.size : _HEAD.size + size]))
            rest = rest[_HEAD.size + size :]
        return found

    def wake(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def read(self, position: int) -> tuple[EventKind, bytes] | None:
        data = self._said[position:]
        return (EventKind.STDOUT, data) if data else None

    async def pace(self, _size: int) -> None:
        pass

    def confirm(self, _position: int) -> None:
        pass

    def leave(self) -> None:
        self.is_left = True

    def detach(self, _client: int) -> None:
        pass


class Streams:
    """Opens relays, in a clock that a test moves."""

    def __init__(self) -> None:
        self.opened: list[Stream] = []
        self.now = 0.0

    async def open(self, *_: Any) -> Stream:
        self.opened.append(Stream())
        return self.opened[-1]


@pytest.fixture
def streams() -> Streams:
    return Streams()


@pytest.fixture
async def opener(streams: Streams) -> AsyncIterator[Connections]:
    made = Connections(cast("Any", streams), clock=lambda: streams.now)
    yield made
    await made.close()


async def test_a_guest_has_64_connections_and_gets_places_back(opener: Connections) -> None:
    held = [await opener.open(GUEST, ROW, 8080) for _ in range(connections.MOST_CONNECTIONS)]
    with pytest.raises(PortBusy):
        await opener.open(GUEST, ROW, 8080)
    await held[0].close()
    await held[0].close()  # counts once

    await opener.open(GUEST, ROW, 8080)
    with pytest.raises(PortBusy):
        await opener.open(GUEST, ROW, 8080)


async def test_a_relay_is_closed_some_time_after_its_last_use(
    opener: Connections, streams: Streams
) -> None:
    connection = await opener.open(GUEST, ROW, 8080)
    streams.now = 1000.0
    await opener.tidy()
    assert not streams.opened[0].is_left
    await connection.close()
    streams.now += connections.IDLE_SECONDS - 1
    await opener.tidy()
    assert not streams.opened[0].is_left

    streams.now += 1
    await opener.tidy()

    assert streams.opened[0].is_left
    await opener.open(GUEST, ROW, 8080)
    assert len(streams.opened) == 2


async def test_who_comes_while_a_relay_is_closed_gets_one_that_is_closed_later(
    opener: Connections, streams: Streams
) -> None:
    await (await opener.open(GUEST, ROW, 8080)).close()
    streams.now = 1000.0
    closing = asyncio.create_task(opener.tidy())
    await asyncio.sleep(0)
    connection = await opener.open(GUEST, ROW, 8080)
    await closing
    await connection.close()
    streams.now = 2000.0

    await opener.tidy()

    assert [stream.is_left for stream in streams.opened] == [True, True]


async def test_a_visitor_who_leaves_cuts_no_frame_off(
    opener: Connections, streams: Streams
) -> None:
    one = await opener.open(GUEST, ROW, 8080)
    other = await opener.open(GUEST, ROW, 8080)
    relay = streams.opened[0]
    relay.taken = relay.received + hub_stream.PIECE_BYTES - hub_stream.INPUT_WINDOW
    writing = asyncio.create_task(one.write(bytes(60_000)))
    for _ in range(10):
        await asyncio.sleep(0)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    relay.taken = relay.received
    relay.wake()

    await other.write(b"another visitor's request")
    await one.close()

    assert relay.frames()[-2:] == [(b"D", 2, b"another visitor's request"), (b"C", 1, b"")]
