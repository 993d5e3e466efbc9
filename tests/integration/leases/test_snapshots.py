"""Snapshots: taken, listed and deleted for tenants, within limits, and never an operator's."""

import asyncio
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.support import snapshots as support
from tests.support.installation import Installation, World, running
from tests.support.snapshots import either_shop, shop, snapshot_proxmox, snapshot_world

from pve402.domain import errors, lease, snapshots
from pve402.proxmox import errors as pve
from pve402.storage import tables
from pve402_devnet.pve.faults import FaultKind, TaskFault

__all__ = ["either_shop", "shop", "snapshot_proxmox", "snapshot_world"]

State = snapshots.State
TAKE = r"POST .*/snapshot$"
DELETE = r"DELETE .*/snapshot/"


async def test_a_snapshot_is_taken_of_a_running_guest_and_listed(either_shop: Installation) -> None:
    row = (await either_shop.lease()).lease

    taken = await either_shop.leases.snapshots.take(row, "before")
    listing = await either_shop.leases.snapshots.of_lease(row)

    assert (taken.name, taken.state) == ("before", State.THERE)
    assert [one.name for one in listing.snapshots] == ["before"]
    assert (listing.at_most, listing.are_possible) == (support.AT_MOST, True)
    assert list(support.on_proxmox(either_shop, row.vmid)) == [taken.pve_name]
    assert either_shop.runs(row.vmid)


async def test_a_deleted_snapshot_is_gone_on_proxmox_and_its_name_is_free(
    either_shop: Installation,
) -> None:
    row = (await either_shop.lease()).lease
    first = await either_shop.leases.snapshots.take(row, "before")

    left = await either_shop.leases.snapshots.delete(
        await either_shop.leases.find(row.lease_id), "before"
    )
    again = await either_shop.leases.snapshots.take(
        await either_shop.leases.find(row.lease_id), "before"
    )

    assert left.snapshots == []
    assert list(support.on_proxmox(either_shop, row.vmid)) == [again.pve_name]
    assert again.pve_name != first.pve_name


async def test_a_lease_has_only_so_many_snapshots(shop: Installation) -> None:
    row = (await shop.lease()).lease
    service = shop.leases.snapshots
    for number in range(support.AT_MOST):
        await service.take(row, f"s{number}")

    with pytest.raises(snapshots.TooManySnapshots):
        await service.check_take(row, "more")
    with pytest.raises(snapshots.TooManySnapshots):
        await service.take(row, "more")
    with pytest.raises(snapshots.SnapshotExists):
        await service.check_take(row, "s0")

    assert len(support.on_proxmox(shop, row.vmid)) == support.AT_MOST


async def test_of_many_at_once_one_is_taken_and_the_others_are_told(
    either_shop: Installation,
) -> None:
    row = (await either_shop.lease()).lease
    names = [f"s{number}" for number in range(8)]

    taking = [either_shop.leases.snapshots.take(row, name) for name in names]
    answers = await asyncio.gather(*taking, return_exceptions=True)

    taken = [one for one in answers if isinstance(one, snapshots.Snapshot)]
    refused = [one for one in answers if not isinstance(one, snapshots.Snapshot)]
    assert 1 <= len(taken) <= support.AT_MOST
    assert {type(one) for one in refused} <= {errors.LeaseBusy, snapshots.TooManySnapshots}
    assert await support.unaccounted(either_shop) == set()


async def test_an_operators_snapshot_is_not_the_tenants(shop: Installation) -> None:
    row = (await shop.lease()).lease
    held = support.on_proxmox(shop, row.vmid)
    held["nightly"] = {**support.options_of(shop, row.vmid), "snaptime": 1}
    service = shop.leases.snapshots

    for refused in (service.check_change, service.delete, service.roll_back):
        with pytest.raises(snapshots.SnapshotNotFound):
            await refused(row, "nightly")  # type: ignore[operator]
    taken = await service.take(row, "nightly")
    await service.delete(await shop.leases.find(row.lease_id), "nightly")

    assert taken.pve_name != "nightly"
    assert list(held) == ["nightly"]
    assert (await service.of_lease(row)).snapshots == []


async def test_a_name_that_cannot_be_is_refused_before_proxmox_is_asked(
    shop: Installation,
) -> None:
    row = (await shop.lease()).lease
    asked = shop.record_proxmox_calls()

    with pytest.raises(errors.InvalidRequest):
        await shop.leases.snapshots.check_take(row, "current")

    assert [call for call in asked if "snapshot" in call or "feature" in call] == []


async def test_a_storage_without_snapshots_is_told_beforehand(tmp_path: Path, world: World) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *world, pve402_snapshots=3) as made:
        row = (await made.lease()).lease

        with pytest.raises(snapshots.SnapshotsNotPossible):
            await made.leases.snapshots.check_take(row, "before")

        assert not (await made.leases.snapshots.of_lease(row)).are_possible
        assert not any("snapshot" in str(task.upid) for task in made.proxmox.world.tasks)


async def test_an_operator_who_allows_none_sells_none(
    tmp_path: Path, snapshot_world: World
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *snapshot_world) as made:
        row = (await made.lease()).lease
        asked = made.record_proxmox_calls()

        with pytest.raises(snapshots.SnapshotsOff):
            await made.leases.snapshots.check_take(row, "before")
        listing = await made.leases.snapshots.of_lease(row)

        assert (listing.at_most, listing.are_possible) == (0, False)
        assert [call for call in asked if "feature" in call] == []


async def test_a_locked_guest_is_told_before_anything_is_asked(shop: Installation) -> None:
    row = (await shop.lease()).lease
    service = shop.leases.snapshots
    await service.take(row, "before")
    row = await shop.leases.find(row.lease_id)
    support.edit(shop, row.vmid, lock="backup")

    for check in (service.check_take, service.check_change, service.check_roll_back):
        name = "more" if check == service.check_take else "before"
        with pytest.raises(snapshots.ContainerLocked):
            await check(row, name)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("CT is locked (backup)", snapshots.ContainerLocked),
        ("snapshot feature is not available", snapshots.SnapshotsNotPossible),
        ("lvcreate: no room in the thin pool", snapshots.SnapshotFailed),
    ],
)
async def test_a_task_that_fails_is_told_and_leaves_nothing(
    shop: Installation, text: str, error: type[errors.Pve402Error]
) -> None:
    row = (await shop.lease()).lease
    shop.proxmox.world.faults.order_for_task(TaskFault(type="vzsnapshot", text=text))

    with pytest.raises(error):
        await shop.leases.snapshots.take(row, "before")
    failed = (await shop.leases.snapshots.of_lease(row)).snapshots
    again = await shop.leases.snapshots.take(await shop.leases.find(row.lease_id), "before")

    assert [one.state for one in failed] == [State.FAILED]
    assert again.state is State.THERE
    assert await support.unaccounted(shop) == set()


async def test_of_those_that_failed_the_newest_alone_is_kept(either_shop: Installation) -> None:
    row = (await either_shop.lease()).lease
    await either_shop.leases.snapshots.take(row, "good")
    fault = TaskFault(type="vzsnapshot", text="lvcreate: no room in the thin pool")

    for name in ("bad1", "bad2", "bad3"):
        either_shop.proxmox.world.faults.order_for_task(fault)
        row = await either_shop.leases.find(row.lease_id)
        with pytest.raises(snapshots.SnapshotFailed):
            await either_shop.leases.snapshots.take(row, name)

    kept = {one.name: one.state for one in await support.rows(either_shop)}
    assert kept == {"good": State.THERE, "bad3": State.FAILED}


async def test_a_task_that_failed_too_late_is_a_snapshot(shop: Installation) -> None:
    row = (await shop.lease()).lease
    fault = TaskFault(type="vzsnapshot", text="interrupted by signal", executed=True)
    shop.proxmox.world.faults.order_for_task(fault)

    taken = await shop.leases.snapshots.take(row, "before")

    assert taken.state is State.THERE
    assert await support.unaccounted(shop) == set()


@pytest.mark.parametrize("executed", [False, True])
async def test_a_lost_answer_is_resolved_and_nothing_is_taken_twice(
    shop: Installation, executed: bool
) -> None:
    row = (await shop.lease()).lease
    shop.fail_call(TAKE, FaultKind.DROP, executed=executed)
    taking = asyncio.create_task(shop.leases.snapshots.take(row, "before"))
    await support.postponed(shop)
    shop.pass_time(100)
    (answer,) = await asyncio.gather(taking, return_exceptions=True)

    (one,) = await support.rows(shop)
    assert one.state is (State.THERE if executed else State.FAILED)
    assert isinstance(answer, snapshots.Snapshot if executed else snapshots.SnapshotFailed)
    assert len(support.on_proxmox(shop, row.vmid)) == int(executed)
    assert await support.unaccounted(shop) == set()


async def test_a_lost_answer_delays_no_stop(shop: Installation) -> None:
    row = (await shop.lease()).lease
    shop.fail_call(TAKE, FaultKind.DROP, times=1)
    taking = asyncio.create_task(shop.leases.snapshots.take(row, "before"))
    await support.postponed(shop)

    stopping = asyncio.create_task(shop.leases.stop(await shop.leases.find(row.lease_id)))
    for _ in range(500):
        if not shop.runs(row.vmid):
            break
        await asyncio.sleep(0.01)

    assert not shop.runs(row.vmid)
    for task in (taking, stopping):
        task.cancel()
    await asyncio.gather(taking, stopping, return_exceptions=True)


async def test_a_delete_under_a_backup_is_done_once_that_is_over(shop: Installation) -> None:
    row = (await shop.lease()).lease
    await shop.leases.snapshots.take(row, "before")
    fault = TaskFault(type="vzdelsnapshot", text="CT is locked (backup)")
    shop.proxmox.world.faults.order_for_task(fault)
    row = await shop.leases.find(row.lease_id)

    deleting = asyncio.create_task(shop.leases.snapshots.delete(row, "before"))
    await support.postponed(shop)
    still = await support.rows(shop)
    shop.pass_time(11)
    await deleting

    assert [one.state for one in still] == [State.DELETING]
    assert await support.rows(shop) == []
    assert support.on_proxmox(shop, row.vmid) == {}


@pytest.mark.parametrize("kind", [FaultKind.ERROR, FaultKind.UNREACHABLE, FaultKind.DROP])
async def test_a_deletion_is_answered_even_if_proxmox_is_away_then(
    shop: Installation, kind: FaultKind
) -> None:
    row = (await shop.lease()).lease
    for name in ("before", "other"):
        await shop.leases.snapshots.take(await shop.leases.find(row.lease_id), name)
    row = await shop.leases.find(row.lease_id)
    shop.fail_call(r"GET .*/feature", kind, times=9)

    left = await shop.leases.snapshots.delete(row, "before")
    with pytest.raises(pve.ProxmoxError):
        await shop.leases.snapshots.of_lease(row)

    assert [one.name for one in left.snapshots] == ["other"]
    assert left.are_possible is None


async def test_snapshots_end_with_their_lease(shop: Installation) -> None:
    row = (await shop.lease()).lease
    await shop.leases.snapshots.take(row, "before")

    await shop.leases.end(await shop.leases.find(row.lease_id))
    await shop.until_status(lease.LeaseStatus.ENDED)

    assert await support.rows(shop) == []
    assert row.vmid not in shop.proxmox.world.guests


async def test_a_lease_in_grace_has_no_snapshots_taken(shop: Installation) -> None:
    await shop.lease(minutes=60)
    shop.pass_time(3601)
    row = await shop.until_status(lease.LeaseStatus.STOPPED)

    with pytest.raises(errors.LeaseNotReady):
        await shop.leases.snapshots.check_take(row, "before")
    with pytest.raises(errors.LeaseNotReady):
        await shop.leases.snapshots.take(row, "before")

    assert await support.rows(shop) == []


async def test_a_guest_that_is_not_the_leases_is_left_alone(shop: Installation) -> None:
    row = (await shop.lease()).lease
    support.edit(shop, row.vmid, tags="somebody-elses")

    taking = asyncio.create_task(shop.leases.snapshots.take(row, "before"))
    await support.postponed(shop)
    taking.cancel()
    await asyncio.gather(taking, return_exceptions=True)

    assert support.on_proxmox(shop, row.vmid) == {}


async def test_the_table_cannot_name_two_snapshots_of_a_lease_alike(
    either_shop: Installation,
) -> None:
    row = (await either_shop.lease()).lease
    await either_shop.leases.snapshots.take(row, "before")
    (one,) = await either_shop.rows(tables.snapshots)

    with pytest.raises(sa.exc.IntegrityError):
        async with either_shop.parts.db.begin() as tx:
            await tx.execute(tables.snapshots.insert().values({**one, "pve_name": "other"}))
