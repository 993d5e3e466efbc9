"""Workers: how they end, how they are interrupted, and which lists they stand in."""

import asyncio

import pytest

from pve402_devnet.pve import clock, errors, faults, locks, tasks, upid


@pytest.fixture
def time() -> clock.TickClock:
    return clock.TickClock()


@pytest.fixture
def orders() -> faults.Faults:
    return faults.Faults()


@pytest.fixture
def registry(time: clock.TickClock, orders: faults.Faults) -> tasks.TaskRegistry:
    return tasks.TaskRegistry(time, orders)


async def run(registry: tasks.TaskRegistry, work: tasks.Work, kind: str = "vzstart") -> tasks.Task:
    task = registry.require(registry.fork("pve", kind, "100", "a@pve!t", work))
    await asyncio.wait_for(task.ended.wait(), 5)
    return task


async def succeed(task: tasks.Task) -> None:
    task.log("working")


async def warn(task: tasks.Task) -> None:
    task.warn("careful")


async def fail(_: tasks.Task) -> None:
    raise errors.Failure("it broke")


async def runtime_failure(_: tasks.Task) -> None:
    raise RuntimeError("no namespaces")


async def die(task: tasks.Task) -> None:
    task.log("half way")
    raise tasks.Killed


@pytest.mark.parametrize(
    ("work", "status", "lines"),
    [
        (succeed, "OK", ["working", "TASK OK"]),
        (warn, "WARNINGS: 1", ["WARN: careful", "TASK WARNINGS: 1"]),
        (fail, "it broke", ["TASK ERROR: it broke"]),
        (runtime_failure, "no namespaces", ["TASK ERROR: no namespaces"]),
        (die, "unexpected status", ["half way"]),
    ],
)
async def test_the_end_of_a_worker(
    registry: tasks.TaskRegistry, work: tasks.Work, status: str, lines: list[str]
) -> None:
    task = await run(registry, work)

    assert (task.exit_status, task.lines) == (status, lines)


async def test_an_interrupt_ends_a_worker(
    registry: tasks.TaskRegistry, time: clock.TickClock
) -> None:
    task = registry.require(registry.fork("pve", "x", "1", "a@pve", lambda _: time.sleep(1e6)))
    await asyncio.sleep(0)

    await registry.interrupt(task)

    assert task.exit_status == "received interrupt"


async def test_a_worker_interrupted_before_it_began_has_ended_too(
    registry: tasks.TaskRegistry,
) -> None:
    task = registry.require(registry.fork("pve", "x", "1", "a@pve", succeed))

    await registry.interrupt(task)

    assert not task.running
    assert task.exit_status == "unexpected status"


async def test_ended_tasks_move_to_the_archive_newest_first(
    registry: tasks.TaskRegistry,
) -> None:
    first, second = await run(registry, succeed), await run(registry, fail)

    assert registry.archived() == [second, first]
    assert first in registry.active()


@pytest.mark.parametrize("executed", [False, True])
async def test_a_task_fails_on_order_before_or_after_its_work(
    registry: tasks.TaskRegistry, orders: faults.Faults, executed: bool
) -> None:
    orders.order_for_task(faults.TaskFault(type="vzstart", text="on order", executed=executed))

    task = await run(registry, succeed)

    assert task.exit_status == "on order"
    assert ("working" in task.lines) is executed
    assert (await run(registry, succeed)).exit_status == "OK"


async def test_a_lock_that_stays_taken_is_given_up_after_ten_seconds(
    registry: tasks.TaskRegistry, time: clock.TickClock
) -> None:
    held = locks.ConfigLocks(time)

    async def work(_: tasks.Task) -> None:
        async with held.hold(100):
            pass

    async with held.hold(100):
        task = registry.require(registry.fork("pve", "x", "100", "a@pve", work))
        await time.tick(0)
        assert task.lines == ["trying to acquire lock..."]
        await time.tick(10)

    assert task.exit_status == ("can't lock file '/run/lock/lxc/pve-config-100.lock' - got timeout")


async def test_a_lock_goes_to_the_next_in_line(
    registry: tasks.TaskRegistry, time: clock.TickClock
) -> None:
    held = locks.ConfigLocks(time)

    async def work(_: tasks.Task) -> None:
        async with held.hold(100):
            await time.sleep(1)

    ended = [registry.require(registry.fork("pve", "x", "1", "a@pve", work)) for _ in range(3)]
    await time.tick(5)

    assert [task.exit_status for task in ended] == ["OK"] * 3
    assert ended[2].lines[:2] == ["trying to acquire lock...", " OK"]


def test_a_upid_survives_parsing() -> None:
    text = "UPID:pve:0000016F:0008BD78:6B01E77B:vzcreate:101:svc@pve!test:"

    parsed = upid.parse(text)

    assert parsed is not None
    assert str(parsed) == text
    assert parsed.user_and_token == ("svc@pve", "test")


@pytest.mark.parametrize("text", ["", "nonsense", "UPID:pve:1:2:3:x:1:a@pve:", "UPID::0::"])
def test_what_is_no_upid(text: str) -> None:
    assert upid.parse(text) is None
