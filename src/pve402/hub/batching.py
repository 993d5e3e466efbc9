"""Hands on what a terminal's socket holds in one piece, however many messages it came in.

The terminal's output comes in messages of some 4 KiB. A socket whose messages are already there
returns them without giving way, so what is put behind the loop's next turn sees all of them
together, and costs once what it would cost for each. In a flood the network is not read for a
while behind each piece, so that the next is a large one, and comes in one read.

Whoever takes a piece may need several turns of the loop for it. Until it is done nothing more is
read, and between its turns it rests for as long as it has worked: a guest that sends as much
work as it can keeps the loop busy for half of the time at most.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Protocol

#: After so much, others have their turn; more is not held here.
LARGEST_PIECE_BYTES = 256 * 1024
#: Behind a piece of this size it is a flood.
_FLOOD_BYTES = 4000
#: Enough for a piece of 50 KiB or so. With twice as much, what runs in the guest waits for us.
_PAUSE_SECONDS = 0.001
#: A rest is never longer, however slow this machine is.
_LONGEST_REST_SECONDS = 0.05


class Source(Protocol):
    """Where messages come from."""

    def receive(self) -> Awaitable[bytes | None]: ...

    def pause_reading(self, seconds: float) -> None: ...


Take = Callable[[bytes], Iterator[None] | None]


class BatchedReader:
    """Reads a socket and passes on its bytes, joined, in order.

    `take` may return an iterator: each of its items is the end of one turn of work.
    """

    def __init__(self, source: Source, take: Take) -> None:
        self._source = source
        self._take = take
        self._pieces: list[bytes] = []
        self._size = 0
        self._is_flood = False
        self._work: Iterator[None] = iter(())
        self._idle = asyncio.Event()
        self._idle.set()

    async def run(self) -> None:
        """Read until the socket ends; all of it has been passed on then."""
        loop = asyncio.get_running_loop()
        with suppress(OSError):
            while (data := await self._source.receive()) is not None:
                if not self._idle.is_set():
                    await self._idle.wait()
                if not self._pieces:
                    if self._is_flood:
                        self._source.pause_reading(_PAUSE_SECONDS)
                    loop.call_soon(self._pass_on)
                self._pieces.append(data)
                self._size += len(data)
                if self._size >= LARGEST_PIECE_BYTES:
                    await asyncio.sleep(0)
        await self._idle.wait()
        self._pass_on()
        await self._idle.wait()

    def _pass_on(self) -> None:
        self._is_flood = self._size >= _FLOOD_BYTES
        pieces, self._pieces, self._size = self._pieces, [], 0
        if pieces:
            work = self._take(pieces[0] if len(pieces) == 1 else b"".join(pieces))
            if work is not None:
                self._idle.clear()
                self._work = work
                self._work_on()

    def _work_on(self) -> None:
        began = time.monotonic()
        for _ in self._work:
            rest = min(time.monotonic() - began, _LONGEST_REST_SECONDS)
            asyncio.get_running_loop().call_later(rest, self._work_on)
            return
        self._idle.set()
