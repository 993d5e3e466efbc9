"""A lease gets another size: its guest, what it burns, what it takes up, and what is refused."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest
from tests.support import size_changes as support
from tests.support.installation import Installation, World, running
from tests.support.snapshots import snapshot_proxmox, snapshot_world

from pve402.domain import errors, lease, meter, power, size_changes, snapshots
from pve402.domain.size_changes import Wish
from pve402.proxmox import tasks
from pve402.storage import tables
from pve402_devnet.pve.faults import FaultKind, TaskFault

__all__ = ["snapshot_proxmox", "snapshot_world"]

SMALL = lease.Size(cores=1, memory_mb=512, disk_gb=8)
LARGER = lease.Size(cores=2, memory_mb=1024, disk_gb=10)
GROW = Wish(cores=2, memory_mb=1024, disk_gb=10)
RESIZE = r"PUT .*/resize$"
LOG_OF_GROWTH = ("The filesystem on /dev/pve/disk is now 2621440 (4k) blocks long.", "", "TASK OK")
CONFIG = r"PUT .*/config$"


@pytest.fixture
async def shop(tmp_path: Path, world: World) -> Any:
    """An installation on a file, where only one database matters."""
    async with running(f"sqlite:///{tmp_path}/db.sqlite3", *world) as made:
        yield made


async def test_a_guest_becomes_larger_and_its_time_shorter(installation: Installation) -> None:
    row = (await installation.lease(minutes=600)).lease

    got = await support.change(installation, row, GROW)

    now = await support.standing(installation)
    assert got.change is not None
    assert got.change.state is size_changes.State.DONE
    assert now.size == got.lease.size == LARGER
    assert support.seen_size(installation, row.vmid) == LARGER
    assert support.told_size(installation, now) == LARGER
    assert now.burn == meter.burn_of(row.rates, LARGER)
    assert support.left(now) == pytest.approx(support.left(row) * row.burn / now.burn, abs=60)
    assert installation.runs(row.vmid)


async def test_a_guest_becomes_smaller_and_its_time_longer(installation: Installation) -> None:
    row = (await installation.lease(minutes=60, size=LARGER)).lease

    await support.change(installation, row, Wish(cores=1, memory_mb=512))

    now = await support.standing(installation)
    assert now.size == dataclasses.replace(SMALL, disk_gb=10)
    assert support.seen_size(installation, row.vmid) == now.size
    assert support.left(now) == pytest.approx(support.left(row) * row.burn / now.burn, abs=60)


async def test_a_renewal_is_of_the_new_size(shop: Installation) -> None:
    tenant = shop.tenant()
    row = (await shop.lease(tenant, minutes=60)).lease
    before = shop.leases.prices.of_renewal(row, 60)[0]
    await support.change(shop, row, GROW)
    now = await support.standing(shop)

    await shop.leases.renew(now, 60, shop.renewal(tenant, now, 60))

    assert shop.leases.prices.of_renewal(now, 60)[0] > before
    later = await support.standing(shop)
    assert support.left(later) == pytest.approx(support.left(now) + 3600, abs=1)


async def test_a_renewal_at_the_price_of_the_size_before_is_refused(shop: Installation) -> None:
    """The change may come about between the look at the price and the hold."""
    tenant = shop.tenant()
    row = (await shop.lease(tenant, minutes=60)).lease
    cheap = shop.renewal(tenant, row, 60)
    await support.change(shop, row, GROW)
    now, earned = await support.standing(shop), shop.earned

    with pytest.raises(errors.LeaseBusy):
        await shop.leases.renew(row, 60, cheap)

    assert await support.standing(shop) == now
    assert shop.earned == earned


async def test_a_quote_changes_nothing_and_says_what_would_be(shop: Installation) -> None:
    row = (await shop.lease(minutes=600)).lease
    asked = shop.record_proxmox_calls()

    plan = await shop.leases.size_changes.quote(row, GROW, by_key=True)

    assert plan.size == LARGER
    assert plan.before.ends_at == row.expires_at
    assert plan.after.burn == meter.burn_of(row.rates, LARGER) > plan.before.burn
    assert await support.standing(shop) == row
    assert [call for call in asked if not call.startswith("GET")] == []


async def test_a_request_that_is_repeated_changes_nothing_more(shop: Installation) -> None:
    row = (await shop.lease(minutes=600)).lease
    await support.change(shop, row, GROW)
    now, asked = await support.standing(shop), shop.record_proxmox_calls()

    again = await support.change(shop, row, GROW)

    assert again.lease == now
    assert [call for call in asked if not call.startswith("GET")] == []


async def test_a_stopped_guest_is_changed_and_stays_down(shop: Installation) -> None:
    row = (await shop.lease(minutes=600)).lease
    await shop.leases.stop(row)

    await support.change(shop, row, GROW)

    now = await support.standing(shop)
    assert (now.size, now.wanted) == (LARGER, power.Wanted.STOPPED)
    assert support.seen_size(shop, row.vmid) == LARGER
    assert not shop.runs(row.vmid)


@pytest.mark.parametrize("option", ["memory", "swap"])
async def test_a_size_that_a_running_guest_cannot_get_needs_a_restart(
    shop: Installation, option: str
) -> None:
    row = (await shop.lease(minutes=600)).lease
    before = support.options(shop, row.vmid)
    shop.proxmox.world.faults.refused_live.add(option)
    wish = dataclasses.replace(GROW, memory_mb=1024)
    if option == "swap":
        shop.proxmox.world.guests[row.vmid].config.put("swap", 7)
        before = support.options(shop, row.vmid)

    with pytest.raises(size_changes.NeedsRestart):
        await support.change(shop, row, wish)

    await shop.settled_down()
    now = await support.standing(shop)
    assert (now.size, now.burn, now.rates) == (SMALL, row.burn, row.rates)
    assert now.expires_at == row.expires_at
    assert support.options(shop, row.vmid) == before
    assert shop.proxmox.world.guests[row.vmid].config.pending == {}
    assert shop.runs(row.vmid)


async def test_a_guest_that_may_be_restarted_is(shop: Installation) -> None:
    row = (await shop.lease(minutes=600)).lease
    shop.proxmox.world.faults.refused_live.add("memory")
    pid = shop.proxmox.world.guests[row.vmid].pid

    got = await support.change(shop, row, dataclasses.replace(GROW, may_restart=True))

    await shop.settled_down()
    now = await support.standing(shop)
    assert (now.size, now.wanted) == (LARGER, power.Wanted.RUNNING)
    assert support.seen_size(shop, row.vmid) == LARGER
    assert shop.runs(row.vmid)
    assert shop.proxmox.world.guests[row.vmid].pid != pid
    assert got.lease.lease_id == row.lease_id


async def test_a_disk_that_does_not_grow_takes_everything_back(shop: Installation) -> None:
    row = (await shop.lease(minutes=600)).lease
    before = support.options(shop, row.vmid)
    shop.fail_call(RESIZE)

    with pytest.raises(size_changes.ChangeFailed):
        await support.change(shop, row, GROW)

    await shop.settled_down()
    now = await support.standing(shop)
    assert (now.size, now.burn, now.expires_at) == (SMALL, row.burn, row.expires_at)
    assert support.options(shop, row.vmid) == before
    assert (await support.latest(shop)).state is size_changes.State.FAILED


async def test_a_file_system_that_stays_as_it_was_is_not_sold(
    shop: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task ends well and the configuration shows the new size all the same."""
    row = (await shop.lease(minutes=600)).lease
    await seem_to_keep_its_file_system(shop, row, monkeypatch)

    with pytest.raises(size_changes.ChangeFailed):
        await support.change(shop, row, GROW)

    await shop.settled_down()
    now = await support.standing(shop)
    assert (now.size, now.burn, now.expires_at) == (SMALL, row.burn, row.expires_at)


async def test_a_disk_that_has_grown_is_paid_whatever_the_guest_tells(
    shop: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tenant may put another file system in the place of the guest's own."""
    row = (await shop.lease(minutes=600)).lease
    await seem_to_keep_its_file_system(shop, row, monkeypatch)
    monkeypatch.setattr(tasks.Tasks, "tail", AsyncMock(return_value=LOG_OF_GROWTH))

    await support.change(shop, row, GROW)

    now = await support.standing(shop)
    assert now.size == support.seen_size(shop, row.vmid) == LARGER
    assert now.burn == meter.burn_of(row.rates, LARGER)


async def test_a_stopped_guest_whose_file_system_stayed_as_it_was_is_not_charged(
    shop: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = (await shop.lease(minutes=600)).lease
    await shop.leases.stop(row)
    failed = ("Failed to update the container's filesystem: exit code 8", "", "TASK OK")
    monkeypatch.setattr(tasks.Tasks, "tail", AsyncMock(return_value=failed))

    with pytest.raises(size_changes.ChangeFailed):
        await support.change(shop, row, GROW)

    await shop.settled_down()
    now = await support.standing(shop)
    assert (now.size, now.burn, now.expires_at) == (SMALL, row.burn, row.expires_at)


async def seem_to_keep_its_file_system(
    shop: Installation, row: lease.Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Have a guest tell the size that its file system has now for ever."""
    honest = shop.parts.guests.status
    first = await honest(support.ref(row))

    async def as_before(ref: Any) -> Any:
        return dataclasses.replace(await honest(ref), disk_total=first.disk_total)

    monkeypatch.setattr(shop.parts.guests, "status", as_before)


async def test_a_guest_that_is_locked_keeps_its_size_for_now(shop: Installation) -> None:
    row = (await shop.lease(minutes=600)).lease
    support.lock(shop, row.vmid)
    changing = await support.begun(shop, row, GROW)
    await shop.settled_down()
    assert (await support.latest(shop)).state is size_changes.State.CHANGING

    for _ in range(3):
        shop.pass_time(45)
        await shop.settled_down()

    with pytest.raises(snapshots.ContainerLocked):
        await changing
    now = await support.standing(shop)
    assert (await support.latest(shop)).state is size_changes.State.FAILED
    assert (now.size, now.burn, now.expires_at) == (SMALL, row.burn, row.expires_at)


async def test_a_size_without_room_is_refused(shop: Installation) -> None:
    row = (await shop.lease(minutes=600)).lease

    with pytest.raises(errors.NoCapacity, match="no room"):
        await support.change(shop, row, Wish(cores=8))

    assert await support.standing(shop) == row
    assert await shop.rows(tables.size_changes) == []


async def test_a_wallet_is_held_to_its_limits(tmp_path: Path, world: World) -> None:
    url, limits = f"sqlite:///{tmp_path}/db.sqlite3", "leases=1,memoryMB=1000"
    async with running(url, *world, pve402_wallet_limits=limits) as shop:
        row = (await shop.lease(minutes=600)).lease

        with pytest.raises(errors.LimitReached):
            await support.change(shop, row, GROW)
        await support.change(shop, row, Wish(cores=2))

        assert (await support.standing(shop)).size.cores == 2


async def test_time_paid_ahead_keeps_its_cap(tmp_path: Path, world: World) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *world, pve402_max_paid_ahead_days=1) as shop:
        row = (await shop.lease(minutes=1400, size=LARGER)).lease

        with pytest.raises(errors.PaidTooFarAhead):
            await support.change(shop, row, Wish(cores=1))

        assert await support.standing(shop) == row


async def test_a_lease_is_not_changed_to_end_at_once(shop: Installation) -> None:
    row = (await shop.lease(minutes=6)).lease

    with pytest.raises(size_changes.TooLittleTimeLeft):
        await support.change(shop, row, GROW)

    assert await support.standing(shop) == row


async def test_nothing_else_is_changed_meanwhile(tmp_path: Path, snapshot_world: World) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *snapshot_world, pve402_snapshots=2) as shop:
        tenant = shop.tenant()
        row = (await shop.lease(tenant, minutes=600)).lease
        async with shop.holding(RESIZE):
            changing = await support.begun(shop, row, GROW)
            now = await support.standing(shop)
            assert now.size == LARGER  # what becomes more is taken

            with pytest.raises(errors.LeaseBusy):
                await support.change(shop, row, Wish(cores=1))
            with pytest.raises(errors.LeaseBusy):
                await shop.leases.snapshots.take(now, "before")
            with pytest.raises(errors.LeaseBusy):
                await shop.leases.renew(now, 60, shop.renewal(tenant, now, 60))

        await changing
        assert (await support.standing(shop)).size == LARGER


async def test_a_rollback_leaves_the_new_size(tmp_path: Path, snapshot_world: World) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *snapshot_world, pve402_snapshots=2) as shop:
        row = (await shop.lease(minutes=600)).lease
        await shop.leases.snapshots.take(row, "small")
        await support.change(shop, row, GROW)

        await shop.leases.snapshots.roll_back(await support.standing(shop), "small")

        await shop.settled_down()
        assert support.seen_size(shop, row.vmid) == (await support.standing(shop)).size == LARGER


async def test_a_suspension_stops_the_change_and_holds_its_time(shop: Installation) -> None:
    row = (await shop.lease(minutes=600)).lease
    shop.fail_call(RESIZE, FaultKind.UNREACHABLE)
    changing = await support.begun(shop, row, GROW)
    await shop.settled_down()
    await support.suspend(shop, row)
    shop.pass_time(3600)
    assert (await support.standing(shop)).size == LARGER
    shop.fail_call(RESIZE)

    await support.resume(shop, row)
    with pytest.raises(size_changes.ChangeFailed):
        await changing
    await shop.settled_down()

    now = await support.standing(shop)
    assert (now.size, now.burn) == (SMALL, row.burn)
    assert now.expires_at is not None
    assert row.expires_at is not None
    assert now.expires_at - row.expires_at == pytest.approx(
        timedelta(hours=1), abs=timedelta(seconds=20)
    )


async def test_a_lease_whose_time_runs_out_meanwhile_gets_it_back_first(
    shop: Installation,
) -> None:
    row = (await shop.lease(minutes=20)).lease
    support.lock(shop, row.vmid)
    await support.begun(shop, row, Wish(cores=2))
    larger = await support.standing(shop)
    assert larger.expires_at is not None

    await shop.parts.lease_worker.stop()
    shop.pass_time((larger.expires_at - await shop.parts.db.time()).total_seconds() + 1)
    await shop.parts.lease_worker.start()
    await shop.settled_down()

    now = await support.standing(shop)
    assert (now.status, now.size) == (lease.LeaseStatus.ACTIVE, SMALL)
    assert now.expires_at == row.expires_at


async def test_a_task_that_fails_is_told(shop: Installation) -> None:
    row = (await shop.lease(minutes=600)).lease
    shop.proxmox.world.faults.order_for_task(TaskFault(type="resize", text="no space left"))

    with pytest.raises(size_changes.ChangeFailed):
        await support.change(shop, row, Wish(disk_gb=20))

    assert (await support.standing(shop)).size == SMALL
