"""A process that dies at any call or write of a change of size: another one brings it to its end.

The guest, its lease and its price then agree, whether the change came about or not.
"""

from __future__ import annotations

import pytest
from tests.integration.leases.test_snapshot_crashes import come_round, hang_at
from tests.support import size_changes as support
from tests.support.dying import either_database
from tests.support.installation import Installation, World, running

from pve402.domain import lease, meter, power, size_changes
from pve402.domain.size_changes import Wish
from pve402.storage import size_change_rows
from pve402_devnet.pve.faults import TaskFault

WISH = Wish(cores=2, memory_mb=1024, disk_gb=10, may_restart=True)
BEFORE = lease.Size(cores=1, memory_mb=512, disk_gb=8)
AFTER = lease.Size(cores=2, memory_mb=1024, disk_gb=10)
WHEN = ["before", "after"]
LIVE = [
    *(rf"GET .*/config$ {number}" for number in range(1, 7)),
    *(r"GET .*/status/current$ 1", r"GET .*/status/current$ 2"),
    *(r"PUT .*/config$ 1", r"PUT .*/resize$ 1", r"GET .*/tasks/.*resize.* 1"),
    *(f"update {number}" for number in range(1, 7)),
]
RESTARTING = [
    *(r"PUT .*/config$ 1", r"POST .*/status/shutdown$ 1", r"PUT .*/config$ 2"),
    *(r"PUT .*/resize$ 1", r"POST .*/status/start$ 1", "update 4", "update 8"),
]
FAILING = [
    *(r"PUT .*/resize$ 1", r"GET .*/tasks/.*resize.* 1", r"PUT .*/config$ 2"),
    *("update 5", "update 6", "update 7"),
]


@pytest.mark.parametrize("when", WHEN)
@either_database(LIVE)
async def test_a_change_survives_a_crash(
    database_url: str, world: World, monkeypatch: pytest.MonkeyPatch, point: str, when: str
) -> None:
    async with running(database_url, *world) as first:
        row = (await first.lease(minutes=600)).lease
        await die_at(first, monkeypatch, point, when, row)

    async with running(database_url, *world) as second:
        await come_round(second)

        await check_agrees(second, row, AFTER)


@pytest.mark.parametrize("when", WHEN)
@either_database(RESTARTING)
async def test_a_change_with_a_restart_survives_a_crash(
    database_url: str, world: World, monkeypatch: pytest.MonkeyPatch, point: str, when: str
) -> None:
    async with running(database_url, *world) as first:
        row = (await first.lease(minutes=600)).lease
        first.proxmox.world.faults.refused_live.add("memory")
        await die_at(first, monkeypatch, point, when, row)

    async with running(database_url, *world) as second:
        await come_round(second)

        await check_agrees(second, row, AFTER)


@pytest.mark.parametrize("when", WHEN)
@either_database(FAILING)
async def test_a_change_that_fails_costs_nothing_after_a_crash(
    database_url: str, world: World, monkeypatch: pytest.MonkeyPatch, point: str, when: str
) -> None:
    async with running(database_url, *world) as first:
        row = (await first.lease(minutes=600)).lease
        for _ in range(2):
            fail_growth(first)
        await die_at(first, monkeypatch, point, when, row)

    async with running(database_url, *world) as second:
        fail_growth(second)
        await come_round(second)

        await check_agrees(second, row, BEFORE)
        now = await support.standing(second)
        assert now.expires_at == row.expires_at


def fail_growth(shop: Installation) -> None:
    """Have the next task that would grow a disk fail."""
    shop.proxmox.world.faults.order_for_task(TaskFault(type="resize", text="no space left"))


async def die_at(
    shop: Installation, monkeypatch: pytest.MonkeyPatch, point: str, when: str, row: lease.Lease
) -> None:
    """Change the size until a crash point is reached, and die there."""
    pattern, _, number = point.rpartition(" ")
    with monkeypatch.context() as patch:
        if pattern == "update":
            reached = support.hang_at_write(patch, size_change_rows, int(number), when)
        else:
            reached = hang_at(shop, pattern, int(number), when)
        await support.until_dead(shop, reached, support.change(shop, row, WISH))


async def check_agrees(shop: Installation, row: lease.Lease, size: lease.Size) -> None:
    """Compare the guest, its lease, its meter and the change with one size."""
    now, change = await support.standing(shop), await support.latest(shop)
    done = size == AFTER
    assert change.state is (size_changes.State.DONE if done else size_changes.State.FAILED)
    assert (now.status, now.wanted) == (lease.LeaseStatus.ACTIVE, power.Wanted.RUNNING)
    assert now.size == support.seen_size(shop, row.vmid) == support.told_size(shop, now) == size
    assert now.burn == meter.burn_of(row.rates, size)
    assert shop.proxmox.world.guests[row.vmid].config.pending == {}
    assert shop.runs(row.vmid)
