"""Trying again while a guest is locked."""

import pytest

from pve402.proxmox import errors
from pve402.proxmox.patience import LockPatience, LockRetry

LOCKED = errors.GuestLocked("CT is locked (create)", subject="create")
UNKNOWN = errors.OutcomeUnknown()
TASK_LOCKED = errors.TaskFailed(upid="UPID", exitstatus="CT is locked (backup)", cause=LOCKED)
TASK_FAILED = errors.TaskFailed(upid="UPID", exitstatus="broken", cause=errors.ProxmoxFault())


class Action:
    """Fails with each error in turn, then gives "done"."""

    def __init__(self, *failures: errors.ProxmoxError) -> None:
        self.failures = list(failures)
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return "done"


class Waiter:
    """A retry whose clock moves only by its own pauses."""

    def __init__(self, draw: float = 0.0) -> None:
        self.slept: list[float] = []
        self.retry = LockRetry(
            LockPatience(), clock=lambda: sum(self.slept), sleep=self.sleep, draw=lambda: draw
        )

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


async def test_a_lock_is_waited_for_with_growing_pauses() -> None:
    waiter, action = Waiter(), Action(*[LOCKED] * 5)

    assert await waiter.retry.until_unlocked(action) == "done"
    assert waiter.slept == [2, 4, 8, 15, 15]


async def test_pauses_are_shortened_at_random_but_never_to_nothing() -> None:
    waiter, action = Waiter(draw=1.0), Action(*[LOCKED] * 3)

    await waiter.retry.until_unlocked(action)

    assert waiter.slept == [1, 2, 4]


async def test_patience_ends() -> None:
    waiter, action = Waiter(), Action(*[LOCKED] * 100)

    with pytest.raises(errors.GuestLocked):
        await waiter.retry.until_unlocked(action)
    assert sum(waiter.slept) <= 90
    assert action.calls < 10


async def test_a_task_that_failed_for_a_lock_is_tried_again() -> None:
    waiter, action = Waiter(), Action(TASK_LOCKED)

    assert await waiter.retry.until_unlocked(action) == "done"


@pytest.mark.parametrize("error", [UNKNOWN, TASK_FAILED, errors.GuestMissing()])
async def test_everything_else_is_raised_at_once(error: errors.ProxmoxError) -> None:
    waiter, action = Waiter(), Action(error)

    with pytest.raises(type(error)):
        await waiter.retry.until_unlocked(action)
    assert (action.calls, waiter.slept) == (1, [])
