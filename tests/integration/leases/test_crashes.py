"""A process that dies at any outside call: another one takes over, and everything comes out right.

A crash point hangs just before or just after one call, and the process is then killed without
handing anything over. A second process opens the same database and must bring it to an end.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.installation import (
    Installation,
    World,
    creation,
    running,
    simulated_proxmox,
)

from pve402.domain import lease, order
from pve402.leases import machine, options
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator
from pve402_devnet.pve.faults import FaultKind, TaskFault

CREATION = [
    ("guests", "next_vmid"),
    ("deals", "advance"),
    ("guests", "create"),
    ("tasks", "wait_until_finished"),
    ("guests", "start"),
    ("settler", "settle"),
    ("deals", "activate"),
]
RENEWAL = [("guests", "status"), ("guests", "start"), ("settler", "settle"), ("deals", "extend")]
ENDING = [
    ("guests", "status"),
    ("guests", "shutdown"),
    ("tasks", "wait_until_finished"),
    ("guests", "delete"),
]
FROM_POOL = [
    ("guests", "config"),
    ("guests", "update_config"),
    ("rekey", "check"),
    ("deals", "advance"),
    ("settler", "settle"),
    ("deals", "remember"),
    ("rekey", "rekey"),
    ("deals", "activate"),
]
FILLING = [
    ("guests", "next_vmid"),
    ("guests", "create"),
    ("tasks", "wait_until_finished"),
    ("guests", "start"),
    ("rekey", "check"),
    ("rekey", "leave"),
]
WHEN = ["before", "after"]
POOL = "standard-lxc:1:512:8=1"


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("point", CREATION, ids=".".join)
async def test_a_creation_survives_a_crash(
    tmp_path: Path, world: World, point: tuple[str, str], when: str
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    wish = creation()
    async with running(url, *world) as first:
        purchase = first.buy(first.tenant(), wish, wait_seconds=0.0)
        await died_at(first, point, when, first.leases.create(wish, purchase))

    async with running(url, *world) as second:
        await come_round(second)
        (row,), (paid,) = await second.leases_now(), await second.orders_now()
        again = await second.leases.create(wish, purchase)

        assert row.status is lease.LeaseStatus.ACTIVE
        assert paid.status is order.OrderStatus.SETTLED
        assert second.marked_guests == {row.vmid}
        assert second.runs(row.vmid)
        assert second.earned == second.price_of(wish)
        assert again.lease.lease_id == row.lease_id


ELSEWHERE = [("guests", "delete"), ("deals", "begin_try")]


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("point", ELSEWHERE, ids=".".join)
async def test_a_move_to_another_node_survives_a_crash(
    tmp_path: Path,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
    point: tuple[str, str],
    when: str,
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    wish = creation()
    async with contextlib.AsyncExitStack() as stack:
        proxmox = await stack.enter_async_context(simulated_proxmox("pve", "other"))
        world = (proxmox, chain, facilitator)
        fault = TaskFault(type="vzcreate", text="mkfs: I/O error", executed=True)
        proxmox.world.faults.order_for_task(fault)
        async with running(url, *world) as first:
            purchase = first.buy(first.tenant(), wish, wait_seconds=0.0)
            await died_at(first, point, when, first.leases.create(wish, purchase))

        second = await stack.enter_async_context(running(url, *world))
        await come_round(second)
        (row,), (paid,) = await second.leases_now(), await second.orders_now()

        assert (row.status, paid.status) == (lease.LeaseStatus.ACTIVE, order.OrderStatus.SETTLED)
        assert second.marked_guests == {row.vmid}
        assert second.earned == second.price_of(wish)


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("point", FROM_POOL, ids=".".join)
async def test_a_lease_out_of_the_pool_survives_a_crash(
    tmp_path: Path, world: World, point: tuple[str, str], when: str
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    wish = creation(hostname="mine", password="a good one")
    async with running(url, *world, pve402_pool=POOL) as first:
        await first.pool_of(1)
        await first.parts.filler.stop()
        purchase = first.buy(first.tenant(), wish)
        reached = hang_at(first, point, when)
        asking = asyncio.create_task(first.leases.create(wish, purchase))
        await asyncio.wait_for(reached.wait(), 60)
        await first.die()
        asking.cancel()

    async with running(url, *world) as second:
        await come_round(second)
        (row,), (paid,) = await second.leases_now(), await second.orders_now()
        told = [*first.rekey.told, *second.rekey.told]

        assert row.status is lease.LeaseStatus.ACTIVE
        assert paid.status is order.OrderStatus.SETTLED
        assert second.marked_guests == {row.vmid}
        assert second.earned == second.price_of(wish)
        assert {secrets.password for _, secrets in told} == {"a good one"}
        assert {of.lease_id for of, _ in told} == {row.lease_id}


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("point", FILLING, ids=".".join)
async def test_the_filling_of_the_pool_survives_a_crash(
    tmp_path: Path, world: World, point: tuple[str, str], when: str
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *world, pve402_pool=POOL) as first:
        reached = hang_at(first, point, when)
        await asyncio.wait_for(reached.wait(), 60)
        await first.die()

    async with running(url, *world, pve402_pool=POOL) as second:
        await come_round(second)
        (row,) = await second.pool_of(1)
        await second.settled_down()

        assert second.marked_guests == {row.vmid}
        assert second.runs(row.vmid)


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("point", RENEWAL, ids=".".join)
async def test_a_renewal_out_of_grace_survives_a_crash(
    tmp_path: Path, world: World, point: tuple[str, str], when: str
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *world) as first:
        tenant = first.tenant()
        await first.lease(tenant, minutes=10)
        first.pass_time(700)
        stopped = await first.until_status(lease.LeaseStatus.STOPPED)
        purchase = first.renewal(tenant, stopped, 30, wait_seconds=0.0)
        earned = first.earned
        reached = hang_at(first, point, when)
        await first.leases.renew(stopped, 30, purchase)
        await asyncio.wait_for(reached.wait(), 60)
        await first.die()

    async with running(url, *world) as second:
        await come_round(second, 700)
        (row,) = await second.leases_now()

        assert row.status is lease.LeaseStatus.ACTIVE
        assert row.hold_order_id is None
        assert second.runs(row.vmid)
        assert second.earned - earned == purchase.payment.amount_atomic


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("point", ENDING, ids=".".join)
async def test_an_ending_survives_a_crash(
    tmp_path: Path, world: World, point: tuple[str, str], when: str
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *world) as first:
        row = (await first.lease()).lease
        reached = hang_at(first, point, when)
        await first.leases.end(row)
        await asyncio.wait_for(reached.wait(), 60)
        await first.die()

    async with running(url, *world) as second:
        await come_round(second)
        (ended,) = await second.leases_now()

        assert ended.status is lease.LeaseStatus.ENDED
        assert second.marked_guests == set()


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("point", [("guests", "status"), ("guests", "delete")], ids=".".join)
async def test_an_unwinding_survives_a_crash(
    tmp_path: Path, world: World, point: tuple[str, str], when: str
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *world) as first:
        wish = creation()
        first.fail_call(r"POST .*/status/start$", times=100)
        reached = hang_at(first, point, when)
        await first.leases.create(wish, first.buy(first.tenant(), wish, wait_seconds=0.0))
        await asyncio.wait_for(reached.wait(), 60)
        await first.die()

    async with running(url, *world) as second:
        await come_round(second)
        (row,), (paid,) = await second.leases_now(), await second.orders_now()

        assert row.status is lease.LeaseStatus.FAILED
        assert paid.status is order.OrderStatus.REFUSED
        assert second.marked_guests == set()
        assert second.earned == 0


@pytest.mark.parametrize(
    "call",
    [r"POST /nodes/pve/lxc$", r"POST .*/status/start$", r"GET .*/tasks/"],
)
async def test_a_creation_whose_every_answer_is_lost_once_comes_out_right(
    installation: Installation, call: str
) -> None:
    installation.fail_call(call, FaultKind.DROP, executed=True)

    answer = await installation.lease()

    assert installation.marked_guests == {answer.lease.vmid}
    assert installation.earned == installation.price_of(creation())


async def come_round(second: Installation, already_passed: float = 0) -> None:
    """Let the dead process's time limits run out and the workflows come to their ends."""
    second.pass_time(already_passed + 20)
    await second.settled_down()
    second.pass_time(120)
    await second.settled_down()


async def died_at(shop: Installation, point: tuple[str, str], when: str, then: Any) -> None:
    """Let things go on until a crash point is reached, and die there."""
    reached = hang_at(shop, point, when)
    asking = asyncio.ensure_future(then)
    await asyncio.wait_for(reached.wait(), 20)
    await shop.die()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


def hang_at(installation: Installation, point: tuple[str, str], when: str) -> asyncio.Event:
    """Hang for ever at the next such call; the event tells that it was reached."""
    owner, name = seam(installation, point[0]), point[1]
    honest: Callable[..., Awaitable[Any]] = getattr(owner, name)
    reached = asyncio.Event()

    async def hanging(*arguments: Any, **named: Any) -> Any:
        if when == "after":
            with contextlib.suppress(Exception):
                await honest(*arguments, **named)
        reached.set()
        await asyncio.Event().wait()

    setattr(owner, name, hanging)
    return reached


def seam(installation: Installation, name: str) -> Any:
    """The object behind a crash point."""
    parts = installation.parts
    return {
        "guests": parts.machines._guests,
        "tasks": parts.machines._tasks,
        "settler": parts.settler,
        "rekey": installation.rekey,
        "guest_network": parts.guest_network,
        "deals": parts.lease_worker._workflows.creation._deals,
        "debts": parts.lease_worker._workflows.creation._debts,
    }[name]


async def test_a_restart_on_sqlite_goes_on_at_once(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = functools.partial(options.WorkerOptions, hold_seconds=1000.0)
    monkeypatch.setattr(options, "WorkerOptions", long)
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    wish = creation()
    async with running(url, *world) as first:
        reached = hang_at(first, ("guests", "start"), "before")
        await first.leases.create(wish, first.buy(first.tenant(), wish, wait_seconds=0.0))
        await asyncio.wait_for(reached.wait(), 60)
        await first.die()

    async with running(url, *world) as second:  # no time passes
        row = await second.until_status(lease.LeaseStatus.ACTIVE)

        assert second.runs(row.vmid)


async def test_a_creation_that_ends_between_two_looks_keeps_its_vmid(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    wish = creation()
    async with running(url, *world) as first:
        reached = hang_at(first, ("guests", "create"), "after")
        await first.leases.create(wish, first.buy(first.tenant(), wish, wait_seconds=0.0))
        await asyncio.wait_for(reached.wait(), 60)
        await first.die()

    honest, looks = machine.Machines.look, 0

    async def making_at_first(machines: machine.Machines, row: lease.Lease) -> machine.Sight:
        nonlocal looks
        looks += 1
        return machine.Sight.IN_MAKING if looks == 1 else await honest(machines, row)

    monkeypatch.setattr(machine.Machines, "look", making_at_first)  # the start takes rows already
    async with running(url, *world) as second:
        await come_round(second)
        (row,) = await second.leases_now()

        assert looks > 1
        assert row.status is lease.LeaseStatus.ACTIVE
        assert second.marked_guests == {row.vmid}
