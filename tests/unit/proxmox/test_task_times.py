"""How tasks are looked at, from how long the earlier ones took; all time is counted, not waited."""

import random

import pytest

from pve402.proxmox import task_times
from pve402.proxmox.task_times import PollPolicy, TaskTimes

POLICY = PollPolicy(first_seconds=0.04, factor=1.25, ceiling_seconds=1.0)
_ANSWER_SECONDS = 0.012


def looks_until(times: TaskTimes, end: float, *, node: str = "pve") -> tuple[int, float]:
    """Wait for a task that ends then: how many looks it took, and how late its end was seen."""
    pace = times.pace(node, "vzstart", POLICY)
    now = looked = pace.before_first()
    before, looks = 0.0, 1
    while looked < end:
        now = looked + _ANSWER_SECONDS
        before, looked = looked, now + pace.after(now)
        looks += 1
    times.learn(node, "vzstart", (before + looked) / 2)
    return looks, looked - end


def of_many(times: TaskTimes, ends: list[float]) -> tuple[float, float]:
    """Mean looks and mean lateness of tasks one after another."""
    seen = [looks_until(times, end) for end in ends]
    return sum(looks for looks, _ in seen) / len(seen), sum(late for _, late in seen) / len(seen)


class Forgetful(TaskTimes):
    """Looks at every task as if it were the first."""

    def learn(self, node: str, kind: str, seconds: float) -> None:
        """Learn nothing."""


@pytest.mark.parametrize("mean", [0.28, 0.5, 0.92, 1.5, 3.0, 10.0])
@pytest.mark.parametrize("spread", [0.02, 0.1, 0.3])
def test_ends_are_seen_sooner_with_no_more_looks(mean: float, spread: float) -> None:
    chance = random.Random(3)
    ends = [max(0.001, chance.gauss(mean, spread * mean)) for _ in range(300)]
    looks_before, late_before = of_many(Forgetful(), ends)

    looks, late = of_many(TaskTimes(), ends)

    assert looks <= looks_before
    assert late < late_before


def test_a_start_of_a_second_is_seen_within_a_thirtieth() -> None:
    chance = random.Random(3)
    ends = [chance.gauss(0.92, 0.05) for _ in range(300)]

    _, late = of_many(TaskTimes(), ends)

    assert late < 0.035


def test_one_task_that_hung_hides_no_later_one() -> None:
    times = TaskTimes()
    for end in [0.9] * 20 + [200.0]:
        looks_until(times, end)

    looks, late = looks_until(times, 0.9)

    assert looks <= 12
    assert late < 0.1


@pytest.mark.parametrize("learned", [0.2, 5.0, 60.0])
@pytest.mark.parametrize("end", [0.3, 0.9, 4.0])
def test_a_wrong_figure_costs_little(learned: float, end: float) -> None:
    times = TaskTimes()
    for _ in range(20):
        times.learn("pve", "vzstart", learned)

    looks, late = looks_until(times, end)

    assert looks <= looks_until(Forgetful(), end)[0] + 6
    assert late <= min(1.0, max(end, 0.16))


def test_a_figure_that_no_longer_holds_is_unlearned() -> None:
    times = TaskTimes()
    for end in [5.0] * 20 + [0.9] * 20:
        looks, late = looks_until(times, end)

    assert looks <= 9
    assert late < 0.1


def test_what_is_learned_on_one_node_is_not_expected_of_another() -> None:
    times = TaskTimes()
    for _ in range(10):
        looks_until(times, 3.0, node="slow")

    assert looks_until(times, 0.3, node="quick") == looks_until(Forgetful(), 0.3)


def test_only_so_many_kinds_are_remembered() -> None:
    times = TaskTimes()

    for number in range(task_times.KINDS_LIMIT + 1):
        times.learn(f"n{number}", "vzstart", 3.0)

    assert times.pace("n0", "vzstart", POLICY).before_first() == 0
    assert times.pace("n1", "vzstart", POLICY).before_first() > 0
