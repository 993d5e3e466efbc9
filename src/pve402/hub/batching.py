"""Joins the messages waiting on a terminal's socket and passes them on as one piece.

Terminal output arrives in messages of about 4 KiB. A socket returns messages that have already
arrived without yielding to the event loop, so work deferred to the loop's next turn sees all of
them at once and pays its fixed cost once instead of per message. During a flood we take nothing
for a moment after each piece, so that the next piece is large.

Handling a piece may take several turns of the loop. We take nothing more until it is done, and
rest between turns for as long as each turn took, so a guest that sends as much as it can keeps
the loop busy at most half the time.

Only aiohttp pauses and resumes the transport. What arrives while its queue is full waits there
unparsed and without a bound, so nobody else may let it arrive.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Protocol

#: Yield to other tasks after this much; also the most we hold here.
LARGEST_PIECE_BYTES = 256 * 1024
#: A piece of at least this size means a flood.
_FLOOD_BYTES = 4000
#: Long enough to collect about 50 KiB. At twice this, programs in the guest have to wait for us.
_PAUSE_SECONDS = 0.001
#: The longest rest, however slow this machine is.
_LONGEST_REST_SECONDS = 0.05


class Source(Protocol):
    """Where messages come from."""

    def receive(self) -> Awaitable[bytes | None]: ...


Take = Callable[[bytes], Iterator[None] | None]


class BatchedReader:
    """Reads a socket and passes on its bytes, joined, in order.

    `take` may return an iterator; each item it yields ends one turn of work.
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
        """Read until the socket ends; by then everything has been passed on."""
        loop = asyncio.get_running_loop()
        with suppress(OSError):
            while (data := await self._source.receive()) is not None:
                if not self._idle.is_set():
                    await self._idle.wait()
                if not self._pieces:
                    if self._is_flood:
                        await asyncio.sleep(_PAUSE_SECONDS)
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
