"""Time that stands still until it is told to pass."""

import asyncio

from pve402_devnet.pve import clock


async def test_sleepers_wake_in_their_order() -> None:
    time, woken = clock.TickClock(start=0), []

    async def sleep(name: str, seconds: float) -> None:
        await time.sleep(seconds)
        woken.append((name, time.now()))

    jobs = [asyncio.create_task(sleep("late", 2)), asyncio.create_task(sleep("soon", 1))]
    await asyncio.sleep(0)
    await time.tick(3)
    await asyncio.gather(*jobs)

    assert woken == [("soon", 1), ("late", 2)]
    assert time.now() == 3


async def test_nobody_wakes_early() -> None:
    time = clock.TickClock()
    job = asyncio.create_task(time.sleep(5))
    await asyncio.sleep(0)
    await time.tick(4.9)

    assert not job.done()
    await time.tick(0.1)
    await job


async def test_the_next_wake_can_be_asked_for() -> None:
    time = clock.TickClock()
    assert time.seconds_to_next() is None

    async def answer() -> None:
        clock.answering_a_request.set(True)
        await time.sleep(3)

    background = asyncio.create_task(time.sleep(2))
    await asyncio.sleep(0)
    assert time.seconds_to_next(foreground_only=True) is None
    request = asyncio.create_task(answer())
    await asyncio.sleep(0)

    assert time.seconds_to_next(foreground_only=True) == 2
    await time.tick(3)
    await asyncio.gather(background, request)


async def test_a_cancelled_sleeper_is_forgotten() -> None:
    time = clock.TickClock()
    job = asyncio.create_task(time.sleep(5))
    await asyncio.sleep(0)
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)

    assert time.seconds_to_next() is None
