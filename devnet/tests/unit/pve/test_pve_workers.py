"""The daemon's workers: who waits behind whom."""

from __future__ import annotations

import asyncio

import pytest

from pve402_devnet.pve import clock, workers


class Daemon:
    """Calls of some length on three workers, and when each was done."""

    def __init__(self) -> None:
        self.clock = clock.TickClock()
        self.workers = workers.Workers(3)
        self.done_at: dict[str, float] = {}
        self._began = self.clock.now()

    def call(self, name: str, seconds: float) -> asyncio.Task[None]:
        return asyncio.create_task(self._work(name, seconds))

    async def _work(self, name: str, seconds: float) -> None:
        async with self.workers.turn():
            await self.clock.sleep(seconds)
        self.done_at[name] = self.clock.now() - self._began

    async def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            await self.clock.tick(1)


async def test_a_call_starves_behind_one_that_waits_while_other_workers_are_idle() -> None:
    daemon = Daemon()
    calls = [daemon.call(f"put {number}", 10) for number in (1, 2, 3)]
    calls += [daemon.call("put 4", 7), daemon.call("start of another", 0.1)]

    await daemon.pass_time(20)
    await asyncio.gather(*calls)

    assert [daemon.done_at[f"put {number}"] for number in (1, 2, 3)] == [10, 10, 10]
    assert daemon.done_at["put 4"] == 17
    assert daemon.done_at["start of another"] > 17


async def test_calls_that_come_when_a_worker_is_idle_are_served_at_once() -> None:
    daemon = Daemon()
    calls = [daemon.call("slow", 10), daemon.call("quick", 1)]
    await daemon.pass_time(3)

    calls.append(daemon.call("later", 1))
    await daemon.pass_time(10)
    await asyncio.gather(*calls)

    assert (daemon.done_at["quick"], daemon.done_at["later"]) == (1, 4)


@pytest.mark.parametrize("accepted", [False, True])
async def test_a_call_that_is_given_up_leaves_its_worker_to_the_next(accepted: bool) -> None:
    daemon = Daemon()
    calls = [daemon.call(f"long {number}", 10) for number in (1, 2, 3)]
    given_up = daemon.call("given up", 5)
    calls.append(daemon.call("next", 1))
    await daemon.pass_time(12 if accepted else 1)

    given_up.cancel()
    await daemon.pass_time(15)
    await asyncio.gather(*calls)

    assert given_up.cancelled()
    assert daemon.done_at["next"] == (13 if accepted else 11)
