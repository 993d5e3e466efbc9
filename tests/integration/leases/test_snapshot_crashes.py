"""A process that dies at any call about snapshots: another one brings everything to its end.

No guest ever starts with another size, card, tags or mark than its lease has, and each snapshot on
Proxmox has its row.
"""

import asyncio
import contextlib
import re
from pathlib import Path
from typing import Any

import pytest
from tests.support import snapshots as support
from tests.support.installation import Installation, World, running
from tests.support.snapshots import snapshot_proxmox, snapshot_world

from pve402.domain import lease, power, snapshots

__all__ = ["snapshot_proxmox", "snapshot_world"]

NOTES = ("note", "note_task")
WHEN = ["before", "after"]
TAKING = [
    *(rf"GET .*/status/current$ {number}" for number in (1, 2)),
    *(r"POST .*/snapshot$ 1", r"GET .*/tasks/.* 1", r"GET .*/snapshot$ 1"),
    *("note 1", "note_task 1", "note 2"),
]
DELETING = [
    *(r"GET .*/snapshot$ 1", r"DELETE .*/snapshot/ 1", r"GET .*/tasks/.* 1", r"GET .*/snapshot$ 2"),
    *("note 1", "note_task 1"),
]
ROLLING_BACK = [
    *(r"GET .*/status/current$ 2", r"POST .*/status/stop$ 1", r"GET .*/config$ 2"),
    *(r"POST .*/rollback$ 1", r"GET .*/tasks/.*vzrollback.* 1"),
    *(r"PUT .*/resize$ 1", r"PUT .*/config$ 1", r"POST .*/status/start$ 1"),
    *("note 1", "note 2", "note_task 1"),
]


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("point", TAKING)
async def test_taking_survives_a_crash(
    tmp_path: Path, snapshot_world: World, point: str, when: str
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *snapshot_world, pve402_snapshots=3) as first:
        row = (await first.lease()).lease
        await die_at(first, point, when, first.leases.snapshots.take(row, "before"))

    async with running(url, *snapshot_world, pve402_snapshots=3) as second:
        await come_round(second)

        assert await support.unaccounted(second) == set()
        assert not any(one.is_unfinished for one in await support.rows(second))
        assert second.runs(row.vmid)
        again = await second.leases.snapshots.take(
            await second.leases.find(row.lease_id), "another"
        )
        assert again.state is snapshots.State.THERE


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("point", DELETING)
async def test_deleting_survives_a_crash(
    tmp_path: Path, snapshot_world: World, point: str, when: str
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *snapshot_world, pve402_snapshots=3) as first:
        row = (await first.lease()).lease
        await first.leases.snapshots.take(row, "before")
        row = await first.leases.find(row.lease_id)
        await die_at(first, point, when, first.leases.snapshots.delete(row, "before"))

    async with running(url, *snapshot_world, pve402_snapshots=3) as second:
        await come_round(second)

        assert await support.rows(second) == []
        assert support.on_proxmox(second, row.vmid) == {}


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("point", ROLLING_BACK)
async def test_a_rollback_survives_a_crash(
    tmp_path: Path, snapshot_world: World, point: str, when: str
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *snapshot_world, pve402_snapshots=3) as first:
        row = (await first.lease()).lease
        await first.leases.snapshots.take(row, "before")
        await first.parts.machines.write_description(row)
        before = support.options_of(first, row.vmid)
        spoil(first, row.vmid)
        row = await first.leases.find(row.lease_id)
        started = support.starts(first, row.vmid)
        await die_at(first, point, when, first.leases.snapshots.roll_back(row, "before"))

    async with running(url, *snapshot_world, pve402_snapshots=3) as second:
        started_later = support.starts(second, row.vmid)
        await come_round(second)
        now = await second.leases.find(row.lease_id)
        (one,) = await support.rows(second)

        assert second.runs(row.vmid)
        assert support.options_of(second, row.vmid) == before
        assert all(options == before for options in [*started, *started_later])
        assert (one.state, one.kept, one.problem) == (snapshots.State.THERE, {}, None)
        assert (now.status, now.wanted) == (lease.LeaseStatus.ACTIVE, power.Wanted.RUNNING)
        assert await support.unaccounted(second) == set()


@pytest.mark.parametrize("point", [r"POST .*/rollback$ 1", r"PUT .*/config$ 1"])
async def test_a_lease_that_ends_while_nobody_rolls_back_is_gone(
    tmp_path: Path, snapshot_world: World, point: str
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *snapshot_world, pve402_snapshots=3) as first:
        row = (await first.lease()).lease
        await first.leases.snapshots.take(row, "before")
        spoil(first, row.vmid)
        row = await first.leases.find(row.lease_id)
        await die_at(first, point, "after", first.leases.snapshots.roll_back(row, "before"))

    async with running(url, *snapshot_world, pve402_snapshots=3) as second:
        started = support.starts(second, row.vmid)
        await second.leases.end(await second.leases.find(row.lease_id))
        await come_round(second)
        (ended,) = await second.leases_now()

        assert ended.status is lease.LeaseStatus.ENDED
        assert started == []
        assert await support.rows(second) == []
        assert row.vmid not in second.proxmox.world.guests


def spoil(shop: Installation, vmid: int) -> None:
    """Have the snapshot be of a guest with less memory, a smaller disk and another card."""
    (then,) = support.on_proxmox(shop, vmid).values()
    then["memory"] = 128
    then["rootfs"] = str(then["rootfs"]).replace("size=8G", "size=4G")
    then["net0"] = str(then["net0"]).replace("hwaddr=BC", "hwaddr=02")


async def come_round(second: Installation) -> None:
    """Let the dead process's time limits run out, and a call that it may have sent arrive."""
    for seconds in (20, 100, 20):
        second.pass_time(seconds)
        await second.settled_down()


async def die_at(shop: Installation, point: str, when: str, then: Any) -> None:
    """Let things go on until a crash point is reached, and die there."""
    pattern, _, number = point.rpartition(" ")
    reached = hang_at(shop, pattern, int(number), when)
    asking = asyncio.ensure_future(then)
    await asyncio.wait_for(reached.wait(), 20)
    await shop.die()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


def hang_at(shop: Installation, pattern: str, number: int, when: str) -> asyncio.Event:
    """Hang for ever at the n-th call of Proxmox that matches, or at the n-th note."""
    owner: Any = shop.parts.snapshot_calls if pattern in NOTES else shop.parts.proxmox
    name = pattern if pattern in NOTES else "request"
    honest, seen, reached = getattr(owner, name), 0, asyncio.Event()

    async def counting(*arguments: Any, **named: Any) -> Any:
        nonlocal seen
        called = " ".join(map(str, arguments[:2]))
        seen += pattern in NOTES or re.search(pattern, called) is not None
        if seen != number or reached.is_set():
            return await honest(*arguments, **named)
        if when == "after":
            with contextlib.suppress(Exception):
                await honest(*arguments, **named)
        reached.set()
        await asyncio.Event().wait()
        return None

    setattr(owner, name, counting)
    return reached
