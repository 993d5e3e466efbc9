"""Kills servers and starts them again at once: at crash points, and at random times."""

import asyncio
import collections
import contextlib
import dataclasses
import os
import random
import signal
import time

from tests.chaos import crash_points, plan, stage

_ARMED_AT_ONCE = 8
_RANDOM = "at a random time"
_STALL_SHARE = 0.25
_EARLY_SHARE = 0.15  # of lives that are counted from the start, and may end before serving


@dataclasses.dataclass(kw_only=True)
class Reaper:
    """Sees to it that no server lives long, and counts where each died."""

    where: stage.Stage
    dice: random.Random
    orders: plan.Plan
    stalls: int = 0
    kills: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    _start_seconds: float = 0.3
    unasked: list[str] = dataclasses.field(default_factory=list)
    _misses: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    async def haunt(self, replica: stage.Replica, ending: asyncio.Event) -> None:
        """Let a server live a short while and die, again and again; it runs at the end."""
        while not ending.is_set():
            await self._one_life(replica, ending)
        await replica.start()

    async def _one_life(self, replica: stage.Replica, ending: asyncio.Event) -> None:
        """Start a server and end it; most live for a while after they began to serve."""
        armed = self._choose()
        await replica.start(armed, armed_after_seconds=self._armed_after())
        asked_to_stop = self.orders.ending is not signal.SIGKILL
        if asked_to_stop or self.dice.random() > _EARLY_SHARE:
            await self._until_serving(replica)
        if self.orders.stall_seconds and self.dice.random() < _STALL_SHARE:
            await self._stall(replica)
        await self._until_dead(replica, ending)
        by_itself = not replica.is_alive()
        code = await replica.end(self.orders.ending)
        if not by_itself:
            self.kills[_RANDOM] += 1
            self._misses.update(armed)
        asked = code == -signal.SIGKILL or (code == 0 and not by_itself)
        if not asked:
            self.unasked.append(f"{replica.name} ended with {code}:\n{replica.last_words()}")
        self.count_hits()

    def _armed_after(self) -> float:
        """From a server's start: as long as they take to serve now, and some of their life."""
        return self._start_seconds + self.dice.uniform(0.0, 0.6) * self.orders.life_seconds

    async def _until_serving(self, replica: stage.Replica) -> None:
        began = time.monotonic()
        with contextlib.suppress(stage.StageFailed):  # it came to a crash point before
            await replica.until_ready(self.where.session)
            self._start_seconds = (self._start_seconds + time.monotonic() - began) / 2

    async def _until_dead(self, replica: stage.Replica, ending: asyncio.Event) -> None:
        give_up_at = time.monotonic() + self.orders.life_seconds * self.dice.uniform(0.6, 1.4)
        while replica.is_alive() and time.monotonic() < give_up_at:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ending.wait(), 0.02)
                return

    async def _stall(self, replica: stage.Replica) -> None:
        """Stop a server, unseen by itself, for so long that others take over what it works on."""
        await asyncio.sleep(self.dice.uniform(0.2, 0.5) * self.orders.life_seconds)
        with contextlib.suppress(ProcessLookupError):
            os.kill(replica.pid, signal.SIGSTOP)
            await asyncio.sleep(self.orders.stall_seconds * self.dice.uniform(0.8, 1.2))
            os.kill(replica.pid, signal.SIGCONT)
            self.stalls += 1

    def _choose(self) -> tuple[str, ...]:
        """The points that were hit least, those that are never come to later than others."""
        if self.orders.ending is not signal.SIGKILL:
            return ()
        weight = {
            point: (self.kills[point] + 0.2 * self._misses[point], self.dice.random())
            for point in crash_points.POINTS
        }
        return tuple(sorted(crash_points.POINTS, key=weight.__getitem__)[:_ARMED_AT_ONCE])

    def count_hits(self) -> None:
        """Read which points were come to."""
        hits = self.where.folder / "hits"
        if hits.exists():
            by_random = self.kills[_RANDOM]
            self.kills.clear()
            self.kills.update(hits.read_text().splitlines())
            self.kills[_RANDOM] = by_random
