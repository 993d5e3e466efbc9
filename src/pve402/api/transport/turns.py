"""Lets each address start only a few requests in one turn of the event loop.

Requests that arrive together would otherwise all run before anybody else is served, and a crowd of
cheap ones from one address would delay everybody by the sum of their times. A crowd queues; its
requests start one after another, and it pauses for as long as each turn took, so that at least half
of the time is left for others.
"""

import asyncio
import collections
import time
from typing import Final

PER_TURN: Final = 8
"""More of one address in one turn are a crowd."""
FROM_QUEUE: Final = 1
"""A crowd's requests that start at a time."""
LONGEST_PAUSE_SECONDS: Final = 0.02
_Queue = collections.deque[asyncio.Future[None]]


class Turns:
    """Counts the starts of each address in this turn of the loop; crowds wait in order."""

    def __init__(self, per_turn: int = PER_TURN, from_queue: int = FROM_QUEUE) -> None:
        self._per_turn = per_turn
        self._from_queue = from_queue
        self._started: dict[str, int] = {}
        self._waiting: dict[str, _Queue] = {}

    def starts_now(self, party: str) -> bool:
        """Whether a request of this party may start at once; it then counts as started."""
        if not self._started:
            asyncio.get_running_loop().call_soon(self._started.clear)
        started = self._started[party] = self._started.get(party, 0) + 1
        return started <= self._per_turn and party not in self._waiting

    async def wait(self, party: str) -> None:
        """Wait until a request of this party may start."""
        if not self.starts_now(party):
            await self.queue(party)

    async def queue(self, party: str) -> None:
        """Wait behind the requests of this party that may not start at once either."""
        loop = asyncio.get_running_loop()
        may_start = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._release)
        self._waiting.setdefault(party, collections.deque()).append(may_start)
        await may_start

    def _release(self) -> None:
        for party, queue in list(self._waiting.items()):
            self._start(queue)
            if not queue:
                del self._waiting[party]
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._pause, time.monotonic())

    def _pause(self, began: float) -> None:
        """Pause as long as the last turn took, since it began."""
        seconds = min(time.monotonic() - began, LONGEST_PAUSE_SECONDS)
        asyncio.get_running_loop().call_later(seconds, self._release)

    def _start(self, queue: _Queue) -> None:
        left = self._from_queue
        while queue and left:
            may_start = queue.popleft()
            if not may_start.done():  # its client is still there
                may_start.set_result(None)
                left -= 1
