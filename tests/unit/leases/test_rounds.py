import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from pve402.domain import errors
from pve402.leases import rounds

NEVER = 1000.0


class Counted:
    """An action whose rounds a test ends, each as it likes."""

    def __init__(self) -> None:
        self.begun = asyncio.Semaphore(0)
        self.ends: asyncio.Queue[Exception | None] = asyncio.Queue()

    async def __call__(self) -> None:
        self.begun.release()
        if (error := await self.ends.get()) is not None:
            raise error

    async def ended(self, error: Exception | None = None) -> None:
        """Wait for a round to begin, and end it."""
        await asyncio.wait_for(self.begun.acquire(), 20)
        self.ends.put_nowait(error)

    async def begins_no_other(self) -> bool:
        """Whether it rests though all others had their turns."""
        for _ in range(20):
            await asyncio.sleep(0)
        return self.begun.locked()


@pytest.fixture
def action() -> Counted:
    return Counted()


@contextlib.asynccontextmanager
async def going_on(action: Counted, pause_seconds: float) -> AsyncIterator[rounds.Rounds]:
    made = rounds.Rounds("counting", action, pause_seconds)
    made.start()
    try:
        yield made
    finally:
        await made.stop()


async def test_it_begins_again_after_the_pause(action: Counted) -> None:
    async with going_on(action, 0.001):
        for _ in range(3):
            await action.ended()


async def test_who_wakes_it_shortens_the_pause_once(action: Counted) -> None:
    async with going_on(action, NEVER) as made:
        await action.ended()
        made.wake()
        await action.ended()

        assert await action.begins_no_other()


async def test_who_wakes_it_during_a_round_gets_another(action: Counted) -> None:
    async with going_on(action, NEVER) as made:
        await asyncio.wait_for(action.begun.acquire(), 20)
        made.wake()
        action.ends.put_nowait(None)

        await action.ended()


async def test_without_a_pause_it_rests_until_it_is_woken(action: Counted) -> None:
    async with going_on(action, 0.001) as made:
        made.pause_seconds = None
        await action.ended()
        assert await action.begins_no_other()
        made.wake()
        await action.ended()


@pytest.mark.parametrize(
    ("error", "event"),
    [(errors.DatabaseUnavailable(), "round_missed"), (ValueError("odd"), "round_failed")],
)
async def test_an_error_ends_its_round_alone(action: Counted, error: Exception, event: str) -> None:
    with capture_logs() as logged:
        async with going_on(action, 0.001):
            await action.ended(error)
            await action.ended()

    assert [(line["event"], line["of"]) for line in logged] == [(event, "counting")]


async def test_a_first_round_that_takes_long_keeps_no_start_waiting(action: Counted) -> None:
    made = rounds.Rounds("counting", action, 0.001)

    await made.start_after_one(0.01)

    await action.ended()  # the one that was cut off
    await action.ended()
    await made.stop()


async def test_it_is_stopped_in_the_middle_of_a_round(action: Counted) -> None:
    async with going_on(action, 0.001) as made:
        await asyncio.wait_for(action.begun.acquire(), 20)
        await made.stop()

        assert await action.begins_no_other()
