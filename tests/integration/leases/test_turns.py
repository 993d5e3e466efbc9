"""Turns to write on a node: what was true before the wait is checked again after it."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.integration.storage.test_queue import new_lease
from tests.support.installation import Installation, World, running

from pve402.domain import errors, lease, order, private_images
from pve402.leases import confirmation, machine, making_turns, metrics, options, workflow
from pve402.proxmox import errors as pve
from pve402.proxmox.upid import Upid
from pve402.storage import lease_rows, queue, tables, transaction
from pve402_devnet.pve.faults import FaultKind

SHUTDOWN = r"POST .*/status/shutdown$"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "STALE_SECONDS", 0.1)


async def test_a_renewal_does_not_start_a_foreign_guest(installation: Installation) -> None:
    tenant = installation.tenant()
    await installation.lease(tenant, minutes=10)
    installation.pass_time(601)
    stopped = await installation.until_status(lease.LeaseStatus.STOPPED)
    paid = installation.earned
    purchase = installation.renewal(tenant, stopped, 30)

    async with busy(installation):
        renewing = asyncio.create_task(installation.leases.renew(stopped, 30, purchase))
        await until_starting(installation)
        retag(installation, stopped)
    await asyncio.gather(renewing, return_exceptions=True)
    await installation.settled_down()

    assert not installation.runs(stopped.vmid)
    assert installation.earned == paid


async def test_a_creation_does_not_start_a_foreign_guest(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines = installation.parts.machines
    honest, turns = machines.wait_until_created, contextlib.AsyncExitStack()

    async def then_busy(row: lease.Lease, upid: str) -> None:
        await honest(row, upid)
        await turns.enter_async_context(busy(installation))

    monkeypatch.setattr(machines, "wait_until_created", then_busy)
    creating = asyncio.create_task(installation.lease())
    row = await until_starting(installation)
    retag(installation, row)
    await turns.aclose()
    await asyncio.gather(creating, return_exceptions=True)

    assert not installation.runs(row.vmid)
    assert installation.earned == 0


@pytest.mark.parametrize("step", ["ensure_stopped", "ensure_gone", "ensure_running"])
async def test_a_lease_that_others_took_over_meanwhile_is_left_to_them(
    installation: Installation, step: str
) -> None:
    row = (await installation.lease()).lease
    asked = installation.record_proxmox_calls()

    async with busy(installation):
        waiting = asyncio.create_task(getattr(installation.parts.machines, step)(row))
        await asyncio.sleep(0.2)
        await take_over(installation, row)
    with pytest.raises(queue.FenceLostError):
        await waiting

    assert [call for call in asked if "/lxc/" in call] == []


async def test_a_foreign_guest_is_not_stopped_hard(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = (await installation.lease()).lease
    machines = installation.parts.machines
    asked = installation.record_proxmox_calls()

    async def refused(*_: Any, **__: Any) -> Any:
        retag(installation, row)
        raise pve.ProxmoxFault("the shutdown failed")

    monkeypatch.setattr(machines._guests, "shutdown", refused)

    assert await machines.ensure_stopped(row) is machine.Sight.FOREIGN
    assert {call.partition(" ")[0] for call in asked} == {"GET"}


async def test_a_guest_that_will_not_shut_down_is_stopped_hard(installation: Installation) -> None:
    row = (await installation.lease()).lease
    installation.fail_call(SHUTDOWN, FaultKind.ERROR)

    assert await installation.parts.machines.ensure_stopped(row) is machine.Sight.STOPPED


async def test_a_guest_that_goes_down_slowly_holds_no_turn(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = (await installation.lease()).lease
    tasks = installation.parts.machines._tasks
    honest, waits, goes_on = tasks.wait_until_finished, asyncio.Event(), asyncio.Event()

    async def slow(*arguments: Any, **options: Any) -> Any:
        waits.set()
        await goes_on.wait()
        return await honest(*arguments, **options)

    monkeypatch.setattr(tasks, "wait_until_finished", slow)
    stopping = asyncio.create_task(installation.parts.machines.ensure_stopped(row))
    async with asyncio.timeout(20):
        await waits.wait()
        async with busy(installation):
            goes_on.set()
            assert await stopping is machine.Sight.STOPPED


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_shutdown_that_goes_on_is_asked_for_once_and_ended_by_a_stop(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    row = (await installation.lease()).lease
    machines = installation.parts.machines
    honest, awaited, waits = machines._tasks.wait_until_finished, list[str](), asyncio.Event()

    async def noting(upid: Upid, **how: Any) -> Any:
        awaited.append(upid.text)
        waits.set()
        return await honest(upid, **how)

    monkeypatch.setattr(machines._tasks, "wait_until_finished", noting)
    locked = installation.proxmox.world.locks.hold(row.vmid)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group, locked:
        stops = [group.create_task(machines.ensure_stopped(row))]
        await waits.wait()
        waits.clear()
        stops += [group.create_task(machines.ensure_stopped(row, at_once=at_once))]
        await waits.wait()

    asked = [Upid.parse(text) for text in dict.fromkeys(awaited)]
    shutdown = installation.proxmox.world.tasks.find(asked[0].text)
    assert [stop.result() for stop in stops] == [machine.Sight.STOPPED] * 2
    assert [upid.type for upid in asked[:2]] == ["vzshutdown", "vzstop"][: 1 + at_once]
    assert shutdown is not None
    assert (shutdown.exit_status == "OK") is not at_once


async def test_a_guest_that_comes_up_slowly_holds_no_turn(
    database_url: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    starting, all_start = 0, asyncio.Event()
    async with running(database_url, *world, pve402_node_writes=1) as made:
        tasks = made.parts.machines._tasks
        honest = tasks.wait_until_finished

        async def together(upid: Upid, **how: Any) -> Any:
            nonlocal starting
            starting += upid.type == "vzstart"
            if starting == 3:
                all_start.set()
            if upid.type == "vzstart":
                await all_start.wait()  # none comes up before all were asked to
            return await honest(upid, **how)

        monkeypatch.setattr(tasks, "wait_until_finished", together)
        answers = await asyncio.gather(*(made.lease() for _ in range(3)))

        assert all(made.runs(answer.lease.vmid) for answer in answers)


@pytest.mark.parametrize("step", ["ensure_stopped", "ensure_gone"])
async def test_an_end_that_finds_no_turn_makes_room(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    row = (await installation.lease()).lease
    monkeypatch.setattr(machine, "TURN_LIMIT_SECONDS", 0.05)

    async with busy(installation):
        with pytest.raises(workflow.RetryLater, match="busy"):
            await getattr(installation.parts.machines, step)(row)


@pytest.fixture
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that ends one lease at a time."""
    slow = functools.partial(options.WorkerOptions, leases_at_once=1)
    monkeypatch.setattr(options, "WorkerOptions", slow)


@pytest.mark.usefixtures("one_at_a_time")
async def test_those_who_pay_wait_for_no_end(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines = installation.parts.machines
    for _ in range(2):
        await installation.lease(minutes=10)
    honest, goes_on = machines.ensure_stopped, asyncio.Event()

    async def slow(row: lease.Lease) -> machine.Sight:
        await goes_on.wait()
        return await honest(row)

    monkeypatch.setattr(machines, "ensure_stopped", slow)
    installation.pass_time(601)
    await until(installation, lease.LeaseStatus.STOPPING, 1)
    paying = (await installation.lease()).lease
    goes_on.set()
    await until(installation, lease.LeaseStatus.STOPPED, 2)
    await installation.settled_down()

    assert installation.runs(paying.vmid)
    assert metrics.BUSY._value.get() == 0


@pytest.fixture
def one_order_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that takes one order at a time."""
    few = functools.partial(options.WorkerOptions, orders_at_once=1)
    monkeypatch.setattr(options, "WorkerOptions", few)


@pytest.mark.usefixtures("one_order_at_a_time")
async def test_a_worker_that_fills_up_while_it_waits_to_write_takes_nothing(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = [(await installation.lease()).order for _ in range(3)]
    lease_worker, honest = installation.parts.lease_worker, installation.parts.db.single
    looked, goes_on = asyncio.Event(), asyncio.Event()

    async def held(_: confirmation.Confirmation, _row: order.Order) -> None:
        await goes_on.wait()

    @contextlib.asynccontextmanager
    async def late() -> AsyncIterator[transaction.Transaction]:
        async with honest() as tx:
            while begun:  # others write before
                lease_worker.begin(begun.pop())
            yield tx
        looked.set()

    monkeypatch.setattr(confirmation.Confirmation, "run", held)
    monkeypatch.setattr(installation.parts.db, "single", late)
    installation.pass_time(60)  # the transfers of all are looked at again
    lease_worker.wake()
    await looked.wait()
    busy_with = lease_worker.busy
    left = await installation.orders_now()
    goes_on.set()

    assert busy_with == 3
    assert [one.fence for one in left] == [None] * 3


async def test_a_guest_that_changed_meanwhile_is_not_described(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = (await installation.lease()).lease
    guests = installation.parts.machines._guests
    honest = guests.update_config
    before = installation.proxmox.world.guests[row.vmid].config.text("description")

    async def late(*arguments: Any, **options: Any) -> None:
        retag(installation, row)
        await honest(*arguments, **options)

    monkeypatch.setattr(guests, "update_config", late)

    with pytest.raises(pve.ConfigChanged):
        await installation.parts.machines.write_description(row)
    assert installation.proxmox.world.guests[row.vmid].config.text("description") == before


@contextlib.asynccontextmanager
async def busy(installation: Installation, node: str = "pve") -> AsyncIterator[None]:
    """Every turn of the node is somebody else's."""
    async with contextlib.AsyncExitStack() as turns:
        for _ in range(installation.parts.lease_options.writes_on(None)):
            await turns.enter_async_context(installation.parts.machines.turn_to_write(node))
        yield


def retag(installation: Installation, row: lease.Lease) -> None:
    """Put a guest of somebody else on the lease's vmid."""
    installation.proxmox.world.guests[row.vmid].config.options["tags"] = "somebody-else"


async def take_over(installation: Installation, row: lease.Lease) -> None:
    """Change the row as another process does that takes it."""
    async with installation.parts.db.begin() as tx:
        await queue.update_fenced(
            tx, tables.leases, row.lease_id, row.fence, fence=queue.new_fence()
        )


async def until_starting(installation: Installation) -> lease.Lease:
    """The lease, once it waits for its turn to start its guest."""
    row = await installation.until_status(lease.LeaseStatus.STARTING)
    await asyncio.sleep(0.3)
    return row


async def until(installation: Installation, status: lease.LeaseStatus, count: int) -> None:
    """Wait until so many leases are in a state."""
    async with asyncio.timeout(20):
        while sum(row.status is status for row in await installation.leases_now()) < count:
            installation.parts.lease_worker.wake()
            await asyncio.sleep(0.05)


async def test_a_node_creates_only_so_many_at_once(
    database_url: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    replicas = 1 if database_url.startswith("sqlite") else 2
    making: set[str] = set()
    seen: list[int] = []
    pair = asyncio.Barrier(2)

    async with contextlib.AsyncExitStack() as stack:
        made = [
            await stack.enter_async_context(running(database_url, *world, pve402_node_creates=2))
            for _ in range(replicas)
        ]
        for one in made:
            honest = one.parts.machines.wait_until_created

            async def slowly(row: lease.Lease, upid: str, honest: Any = honest) -> None:
                making.add(row.lease_id)
                seen.append(len(making))
                await pair.wait()  # each waits for another one beside it
                await honest(row, upid)
                making.discard(row.lease_id)

            monkeypatch.setattr(one.parts.machines, "wait_until_created", slowly)
        answers = await asyncio.gather(*(made[n % replicas].lease() for n in range(6)))

    assert max(seen) == 2
    assert len({answer.lease.vmid for answer in answers}) == 6


async def test_one_wallets_copies_leave_turns_to_those_of_others(
    installation: Installation,
) -> None:
    db, settings = installation.parts.db, installation.parts.lease_options
    copy = new_lease(1).evolve(template=private_images.template_of("l1"))
    async with db.begin() as tx:
        for number in (2, 3):
            one = copy.evolve(lease_id=f"l{number}", vmid=copy.vmid + number)
            await lease_rows.insert(db, tx, one, due=False)
        await tx.execute(tables.leases.update().values(create_sent_at=db.now()))

    with pytest.raises(workflow.RetryLater, match="of its owner"):
        await making_turns.check(db, copy, settings)
    await making_turns.check(db, copy.evolve(owner=f"eip155:1:0x{'cd' * 20}"), settings)


async def test_a_creation_that_gets_no_turn_in_time_is_refused_and_charged_nothing(
    tmp_path: Path, world: World
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *world, pve402_node_creates=1) as made:
        goes_on = asyncio.Event()
        made.parts.machines.wait_until_created = _waiting_for(goes_on)  # type: ignore[method-assign]
        first = asyncio.create_task(made.lease())
        await made.until_status(lease.LeaseStatus.CREATING)
        second = asyncio.create_task(made.lease())
        await made.until_status(lease.LeaseStatus.RESERVED)
        made.pass_time(made.parts.lease_options.creation_limit_seconds + 1)

        with pytest.raises(errors.ProvisioningFailed):
            await second
        goes_on.set()
        await asyncio.gather(first, return_exceptions=True)

    assert made.earned == 0


def _waiting_for(goes_on: asyncio.Event) -> Callable[[lease.Lease, str], Awaitable[None]]:
    """What a creation that takes for ever does instead of `wait_until_created`."""

    async def wait(row: lease.Lease, upid: str) -> None:
        del row, upid
        await goes_on.wait()

    return wait
