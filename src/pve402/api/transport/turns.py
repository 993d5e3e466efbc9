"""Lets each address start only a few requests in one turn of the event loop.

Requests that arrive together would otherwise all run before anybody else is served, and a crowd of
cheap ones from one address would delay everybody by the sum of their times.
"""

import asyncio
import collections
from typing import Final

PER_TURN: Final = 8
"""More than these, and the address is a crowd: they queue."""
FROM_QUEUE: Final = 2
"""A crowd's requests that start in each turn."""
_Queue = collections.deque[asyncio.Future[None]]


class Turns:
    """Counts the starts of each address in this turn of the loop; the others wait in order."""

    def __init__(self, per_turn: int = PER_TURN, from_queue: int = FROM_QUEUE) -> None:
        self._per_turn = per_turn
        self._from_queue = from_queue
        self._started: collections.Counter[str] = collections.Counter()
        self._waiting: dict[str, _Queue] = {}
        self._is_scheduled = False

    async def wait(self, party: str) -> None:
        """Wait until a request of this party may start."""
        self._schedule()
        if self._started[party] < self._per_turn and party not in self._waiting:
            self._started[party] += 1
            return
        may_start = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(party, collections.deque()).append(may_start)
        await may_start

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._started.clear()
        self._is_scheduled = False
        for party, queue in list(self._waiting.items()):
            self._start(party, queue)
            if not queue:
                del self._waiting[party]
        if self._started:
            self._schedule()

    def _start(self, party: str, queue: _Queue) -> None:
        while queue and self._started[party] < self._from_queue:
            may_start = queue.popleft()
            if not may_start.done():  # its client is still there
                may_start.set_result(None)
                self._started[party] += 1
