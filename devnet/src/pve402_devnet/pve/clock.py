"""Time inside the simulation: the machine's own, or a clock that only moves on request."""

import asyncio
import contextvars
import heapq
import itertools
import time
from dataclasses import dataclass, field
from typing import Protocol

answering_a_request: contextvars.ContextVar[bool] = contextvars.ContextVar(
    "answering_a_request", default=False
)
"""True inside a request handler, false inside the workers it started."""

_TURNS_AFTER_A_WAKE = 25  # enough for the woken work to reach its next pause


class Clock(Protocol):
    """Simulated time: the current time in seconds since the epoch, and pauses."""

    def now(self) -> float:
        """Read the simulated time."""

    async def sleep(self, seconds: float) -> None:
        """Pause; zero or less still lets others run."""


class RealClock:
    """The machine's own time."""

    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


@dataclass(order=True)
class _Sleeper:
    wake_at: float
    order: int
    foreground: bool = field(compare=False)
    woken: "asyncio.Future[None]" = field(compare=False)


class TickClock:
    """Time that stands still between calls of `tick`, so that tests control what has ended."""

    def __init__(self, start: float = 1_795_286_780.0) -> None:
        self._now = start
        self._sleepers: list[_Sleeper] = []
        self._order = itertools.count()

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        sleeper = _Sleeper(self._now + seconds, next(self._order), answering_a_request.get(), woken)
        heapq.heappush(self._sleepers, sleeper)
        await woken

    async def tick(self, seconds: float) -> None:
        """Move the time forward, waking sleepers in their order."""
        await self._settle()
        end = self._now + seconds
        while (sleeper := self._next()) is not None and sleeper.wake_at <= end:
            heapq.heappop(self._sleepers)
            self._now = max(self._now, sleeper.wake_at)
            sleeper.woken.set_result(None)
            await self._settle()
        self._now = end
        await self._settle()

    def seconds_to_next(self, *, foreground_only: bool = False) -> float | None:
        """Tell how far off the next wake is, where asked only of requests waiting for an answer."""
        self._next()
        pending = [s for s in self._sleepers if not s.woken.done()]
        if foreground_only and not any(s.foreground for s in pending):
            return None
        if not pending:
            return None
        return max(0.0, min(s.wake_at for s in pending) - self._now)

    def _next(self) -> _Sleeper | None:
        while self._sleepers and self._sleepers[0].woken.done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0] if self._sleepers else None

    async def _settle(self) -> None:
        for _ in range(_TURNS_AFTER_A_WAKE):
            await asyncio.sleep(0)
