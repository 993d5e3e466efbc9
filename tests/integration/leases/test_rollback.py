"""A rollback gives a guest its disk of then, and all else as its lease says."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.support import snapshots as support
from tests.support.installation import Installation
from tests.support.snapshots import either_shop, shop, snapshot_proxmox, snapshot_world

from pve402.domain import errors, lease, networks, power, snapshots
from pve402.leases import moves
from pve402_devnet.pve.faults import TaskFault

__all__ = ["either_shop", "shop", "snapshot_proxmox", "snapshot_world"]

State = snapshots.State
ROLLBACK = r"POST .*/rollback$"


async def test_a_rolled_back_guest_is_what_its_lease_says_and_runs(
    either_shop: Installation,
) -> None:
    row = await with_snapshot(either_shop)
    vmid, before = row.vmid, support.options_of(either_shop, row.vmid)
    pid = either_shop.proxmox.world.guests[vmid].pid

    done = await either_shop.leases.snapshots.roll_back(row, "before")
    await either_shop.settled_down()

    now = await either_shop.leases.find(row.lease_id)
    assert done.state is State.THERE
    assert either_shop.runs(vmid)
    assert either_shop.proxmox.world.guests[vmid].pid != pid
    assert support.options_of(either_shop, vmid) == before
    assert (now.wanted, now.expires_at) == (power.Wanted.RUNNING, row.expires_at)
    assert tasks_of(either_shop)[-2:] == ["vzrollback", "vzstart"]


async def test_size_card_tags_and_mark_are_those_of_now_not_of_then(shop: Installation) -> None:
    row = await with_snapshot(shop)
    before = support.options_of(shop, row.vmid)
    (then,) = support.on_proxmox(shop, row.vmid).values()
    card = str(before["net0"]).replace("hwaddr=BC", "hwaddr=02") + ",link_down=1"
    changed = {"memory": 128, "cores": 4, "swap": 64, "net0": card, "cpulimit": "0.1"}
    changed |= {"net1": card.replace("eth0", "eth1"), "hostname": "other", "onboot": 1}
    changed |= {"tags": then["tags"] + ";old"}
    then |= changed
    started = support.starts(shop, row.vmid)

    await shop.leases.snapshots.roll_back(row, "before")
    await shop.settled_down()

    assert support.options_of(shop, row.vmid) == before
    assert started == [before]


async def test_the_disk_has_the_size_that_is_paid_for(shop: Installation) -> None:
    row = await with_snapshot(shop)
    before = support.options_of(shop, row.vmid)
    (then,) = support.on_proxmox(shop, row.vmid).values()
    then["rootfs"] = str(then["rootfs"]).replace("size=8G", "size=4G")

    await shop.leases.snapshots.roll_back(row, "before")
    await shop.settled_down()

    assert support.options_of(shop, row.vmid)["rootfs"] == before["rootfs"]
    assert shop.runs(row.vmid)
    assert tasks_of(shop)[-3:] == ["vzrollback", "resize", "vzstart"]


async def test_a_renewal_meanwhile_is_in_the_mark_and_starts_nothing(shop: Installation) -> None:
    tenant = shop.tenant()
    row = await with_snapshot(shop, tenant)
    reached, go_on = pause(shop, "roll_back")
    rolling = asyncio.create_task(shop.leases.snapshots.roll_back(row, "before"))
    await asyncio.wait_for(reached.wait(), 10)
    started = support.starts(shop, row.vmid)

    now = await shop.leases.find(row.lease_id)
    await shop.leases.renew(now, 30, shop.renewal(tenant, now, 30))
    ran_meanwhile = list(started)
    go_on.set()
    for _ in range(3):
        await shop.settled_down()
        shop.pass_time(100)
    await shop.settled_down()
    await asyncio.gather(rolling, return_exceptions=True)

    after = await shop.leases.find(row.lease_id)
    marked = shop.parts.machines.read_description(
        str(support.options_of(shop, row.vmid)["description"])
    )
    assert ran_meanwhile == []
    assert shop.runs(row.vmid)
    assert marked is not None
    assert after.expires_at is not None
    assert marked.expires_at == after.expires_at.replace(microsecond=0)


async def test_a_stopped_guest_stays_down(shop: Installation) -> None:
    row = await shop.leases.stop(await with_snapshot(shop))

    await shop.leases.snapshots.roll_back(row, "before")
    await shop.settled_down()

    now = await shop.leases.find(row.lease_id)
    assert now.wanted is power.Wanted.STOPPED
    assert not shop.runs(row.vmid)
    assert tasks_of(shop)[-1] == "vzrollback"


@pytest.mark.parametrize("act", ["start", "stop", "reboot"])
async def test_its_power_is_nobodys_meanwhile(shop: Installation, act: str) -> None:
    row = await with_snapshot(shop)
    reached, go_on = pause(shop, "roll_back")
    rolling = asyncio.create_task(shop.leases.snapshots.roll_back(row, "before"))
    await asyncio.wait_for(reached.wait(), 10)
    now = await shop.leases.find(row.lease_id)

    for stale in (now, row):
        with pytest.raises(errors.LeaseBusy):
            await getattr(shop.leases, act)(stale)
        with pytest.raises(errors.LeaseBusy):
            await shop.leases.check_switch(stale)
    await shop.parts.lease_reconciler.run_once()
    was_up = shop.runs(row.vmid)
    go_on.set()
    await rolling

    assert not was_up
    assert shop.runs(row.vmid)


@pytest.mark.parametrize("by", ["owner", "operator", "time"])
async def test_the_end_of_the_lease_wins(shop: Installation, by: str) -> None:
    row = await with_snapshot(shop)
    reached, go_on = pause(shop, "roll_back")
    rolling = asyncio.create_task(shop.leases.snapshots.roll_back(row, "before"))
    await asyncio.wait_for(reached.wait(), 10)
    started = support.starts(shop, row.vmid)
    now = await shop.leases.find(row.lease_id)

    if by == "owner":
        await shop.leases.end(now)
    elif by == "operator":
        async with shop.parts.db.begin() as tx:
            await moves.end_by_operator(shop.parts.db, tx, now)
    else:
        shop.pass_time(3601)
    go_on.set()
    ended = lease.LeaseStatus.STOPPED if by == "time" else lease.LeaseStatus.ENDED
    await shop.until_status(ended)
    rolling.cancel()
    await asyncio.gather(rolling, return_exceptions=True)

    assert started == []
    assert await support.unaccounted(shop) == set()


async def test_a_suspension_wins_and_the_rollback_goes_on_after_it(shop: Installation) -> None:
    row = await with_snapshot(shop)
    before = support.options_of(shop, row.vmid)
    (then,) = support.on_proxmox(shop, row.vmid).values()
    then["memory"] = 128
    reached, go_on = pause(shop, "update_config")
    rolling = asyncio.create_task(shop.leases.snapshots.roll_back(row, "before"))
    await asyncio.wait_for(reached.wait(), 10)
    started = support.starts(shop, row.vmid)

    now = await shop.leases.find(row.lease_id)
    async with shop.parts.db.begin() as tx:
        await moves.suspend(shop.parts.db, tx, now, "abuse", time_held=False)
    go_on.set()
    await shop.settled_down()
    while_suspended = [one.state for one in await support.rows(shop)]
    up_while_suspended = shop.runs(row.vmid)
    async with shop.parts.db.begin() as tx:
        await moves.resume(shop.parts.db, tx, await shop.leases.find(row.lease_id))
    await shop.settled_down()
    await asyncio.gather(rolling, return_exceptions=True)

    assert while_suspended == [State.ROLLING_BACK]
    assert not up_while_suspended
    assert started == [before]
    assert [one.state for one in await support.rows(shop)] == [State.THERE]


async def test_a_lease_renewed_out_of_grace_is_rolled_back_before_it_runs(
    either_shop: Installation,
) -> None:
    tenant = either_shop.tenant()
    row = await with_snapshot(either_shop, tenant)
    before = support.options_of(either_shop, row.vmid)
    (then,) = support.on_proxmox(either_shop, row.vmid).values()
    then["memory"] = 128
    reached, go_on = pause(either_shop, "update_config")
    rolling = asyncio.create_task(either_shop.leases.snapshots.roll_back(row, "before"))
    await asyncio.wait_for(reached.wait(), 10)
    started = support.starts(either_shop, row.vmid)
    either_shop.pass_time(3601)
    in_grace = await either_shop.until_status(lease.LeaseStatus.STOPPED)
    go_on.set()

    await either_shop.leases.renew(in_grace, 30, either_shop.renewal(tenant, in_grace, 30))
    ran_meanwhile = list(started)
    await either_shop.parts.lease_reconciler.run_once()
    await either_shop.settled_down()
    await asyncio.gather(rolling, return_exceptions=True)

    assert ran_meanwhile == []
    assert {name: value for name, value in started[0].items() if name != "description"} == {
        name: value for name, value in before.items() if name != "description"
    }
    assert [one.state for one in await support.rows(either_shop)] == [State.THERE]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("can't rollback, 'x' is not most recent snapshot on 'y'", snapshots.SnapshotFailed),
        ("CT is locked (backup)", snapshots.ContainerLocked),
    ],
)
async def test_what_proxmox_refuses_leaves_the_guest_as_it_was(
    shop: Installation, text: str, error: type[errors.Pve402Error]
) -> None:
    row = await with_snapshot(shop)
    before = support.options_of(shop, row.vmid)
    shop.proxmox.world.faults.order_for_task(TaskFault(type="vzrollback", text=text))

    with pytest.raises(error):
        await shop.leases.snapshots.roll_back(row, "before")
    await shop.settled_down()

    assert shop.runs(row.vmid)
    assert support.options_of(shop, row.vmid) == before
    assert [one.state for one in await support.rows(shop)] == [State.THERE]


async def test_a_rollback_that_broke_off_keeps_the_guest_down(shop: Installation) -> None:
    row = await with_snapshot(shop)
    honest = shop.parts.snapshot_calls.on_proxmox.roll_back

    async def breaking(ref: Any, name: str) -> Any:
        upid = await honest(ref, name)
        await shop.parts.snapshot_calls.finished(upid)
        support.edit(shop, row.vmid, lock="rollback")
        return upid

    shop.parts.snapshot_calls.on_proxmox.roll_back = breaking  # type: ignore[method-assign]
    rolling = asyncio.create_task(shop.leases.snapshots.roll_back(row, "before"))
    await shop.until(lambda now: "broke off" in (now.last_error or ""))
    was_up = shop.runs(row.vmid)
    shop.parts.snapshot_calls.on_proxmox.roll_back = honest  # type: ignore[method-assign]
    shop.proxmox.world.guests[row.vmid].config.options.pop("lock")  # as `pct unlock` does
    shop.pass_time(61)
    await rolling

    assert not was_up
    assert shop.runs(row.vmid)


async def test_a_snapshot_of_other_tags_is_not_gone_back_to(shop: Installation) -> None:
    row = await with_snapshot(shop)
    (then,) = support.on_proxmox(shop, row.vmid).values()
    then["tags"] = "somebody-elses"

    with pytest.raises(snapshots.SnapshotFailed):
        await shop.leases.snapshots.roll_back(row, "before")
    await shop.settled_down()

    assert shop.runs(row.vmid)
    assert "vzrollback" not in tasks_of(shop)


async def test_a_snapshot_that_somebody_deleted_is_told(shop: Installation) -> None:
    row = await with_snapshot(shop)
    support.on_proxmox(shop, row.vmid).clear()

    with pytest.raises(snapshots.SnapshotFailed):
        await shop.leases.snapshots.roll_back(row, "before")
    await shop.settled_down()

    assert shop.runs(row.vmid)


async def test_a_snapshot_that_failed_is_refused_beforehand(shop: Installation) -> None:
    row = (await shop.lease()).lease
    fault = TaskFault(type="vzsnapshot", text="lvcreate: no room in the thin pool")
    shop.proxmox.world.faults.order_for_task(fault)
    with pytest.raises(snapshots.SnapshotFailed):
        await shop.leases.snapshots.take(row, "before")
    row = await shop.leases.find(row.lease_id)
    asked = shop.record_proxmox_calls()

    for refused in (shop.leases.snapshots.check_roll_back, shop.leases.snapshots.roll_back):
        with pytest.raises(snapshots.SnapshotNotFound):
            await refused(row, "before")

    assert asked == []
    assert shop.runs(row.vmid)


async def test_a_guest_that_is_not_connected_yet_is_not_rolled_back(shop: Installation) -> None:
    row = await with_snapshot(shop)

    with pytest.raises(errors.LeaseNotReady):
        await shop.leases.snapshots.check_roll_back(
            row.evolve(link=networks.Link.PENDING), "before"
        )


async def with_snapshot(shop: Installation, tenant: Any = None) -> lease.Lease:
    """A lease with one snapshot, `before`."""
    row = (await shop.lease(tenant, minutes=60)).lease
    await shop.leases.snapshots.take(row, "before")
    await shop.parts.machines.write_description(row)
    return await shop.leases.find(row.lease_id)


def tasks_of(shop: Installation) -> list[str]:
    """The types of all tasks, oldest first."""
    return [task.upid.type for task in shop.proxmox.world.tasks]


def pause(shop: Installation, name: str) -> tuple[asyncio.Event, asyncio.Event]:
    """Hold the next call of this name before it is sent: an event when it comes, one to let go."""
    reached, go_on = asyncio.Event(), asyncio.Event()
    owner: Any = shop.parts.guests
    if name == "roll_back":
        owner = shop.parts.snapshot_calls.on_proxmox
    honest: Callable[..., Awaitable[Any]] = getattr(owner, name)

    async def held(*arguments: Any, **named: Any) -> Any:
        setattr(owner, name, honest)
        reached.set()
        await go_on.wait()
        return await honest(*arguments, **named)

    setattr(owner, name, held)
    return reached, go_on
