"""Reinstallations beside what else becomes of a lease: its end, its renewal, other processes."""

import asyncio
from typing import Any

import pytest
from tests.integration.leases.test_reinstalls import leased, shop
from tests.integration.leases.test_turns import busy
from tests.support import images
from tests.support import reinstalls as support
from tests.support.installation import Installation
from tests.support.snapshots import snapshot_proxmox, snapshot_world

from pve402.domain import errors, lease, power, reinstalls, snapshots
from pve402.leases import moves
from pve402.storage import creation_rows, tables
from pve402_devnet.pve.faults import FaultKind

__all__ = ["shop", "snapshot_proxmox", "snapshot_world"]

State = reinstalls.State


async def test_one_whose_lease_ends_is_over_and_no_other_begins(shop: Installation) -> None:
    row = await leased(shop)
    shop.fail_call(r"POST .*/lxc$", FaultKind.ERROR, times=50)
    begun = support.reinstalling(shop, row)
    await shop.until(lambda now: "simulated failure" in (now.last_error or ""))

    async with shop.holding(r"GET .*/status/current$"):
        await shop.leases.end(await shop.leases.find(row.lease_id))
        for wish in ({}, {"template": "other"}):
            with pytest.raises(errors.LeaseNotReady):
                await support.reinstall(shop, row, **wish)
    (outcome,) = await support.gathered(begun)
    await shop.until_status(lease.LeaseStatus.ENDED)

    assert isinstance(outcome, errors.LeaseOver)
    with pytest.raises(errors.LeaseOver):
        await support.reinstall(shop, row)
    assert await shop.rows(tables.reinstalls) == []


async def test_a_renewal_finds_the_guest_of_a_lease_that_ended_before_it_was_given_up(
    shop: Installation,
) -> None:
    tenant = shop.tenant()
    row = (await shop.lease(tenant, sku=images.SKU)).lease
    guest = shop.proxmox.world.guests[row.vmid]
    shop.pass_time(57.5 * 60)
    guest.config.put("lock", "backup")
    begun = support.reinstalling(shop, row)
    await shop.until(lambda now: now.last_error is not None)

    shop.pass_time(160)
    await shop.until_status(lease.LeaseStatus.STOPPING)
    guest.config.options.pop("lock")
    shop.pass_time(1)
    stopped = await shop.until_status(lease.LeaseStatus.STOPPED)
    (outcome,) = await support.gathered(begun)
    await shop.leases.renew(stopped, 30, shop.renewal(tenant, stopped, 30))
    await shop.settled_down()
    await shop.parts.lease_reconciler.run_once()
    await shop.settled_down()

    assert isinstance(outcome, reinstalls.ReinstallFailed)
    assert (await support.latest(shop)).state is State.FAILED
    assert shop.proxmox.world.guests[row.vmid] is guest
    assert shop.runs(row.vmid)


async def test_a_start_by_an_older_replica_waits_for_the_new_guest(shop: Installation) -> None:
    row = await shop.leases.stop(await leased(shop))
    guest = shop.proxmox.world.guests[row.vmid]
    guest.config.put("lock", "backup")
    begun = support.reinstalling(shop, row)
    await shop.until(lambda now: now.last_error is not None)
    async with shop.parts.db.begin() as tx:
        now = await shop.leases.find(row.lease_id)
        await moves.want_running(shop.parts.db, tx, now, power.WantedBy.TENANT)

    async with shop.holding(r"DELETE .*/lxc/\d+$"):
        guest.config.options.pop("lock")
        shop.pass_time(1)
        emptied = await shop.until(lambda now: now.is_emptied)
    await begun
    await shop.settled_down()

    assert emptied.wanted is power.Wanted.STOPPED
    assert shop.proxmox.world.guests[row.vmid] is not guest
    assert shop.runs(row.vmid)


@pytest.mark.parametrize("is_there", [True, False])
async def test_a_hold_whose_reinstallation_is_lost_ends(shop: Installation, is_there: bool) -> None:
    row = await leased(shop)
    async with shop.parts.db.begin() as tx:
        await moves.give_guest_up(tx, row, await shop.parts.db.time_in(tx))
    if not is_there:
        del shop.proxmox.world.guests[row.vmid]
    shop.pass_time(600)

    for _ in range(2):
        await shop.parts.lease_reconciler.run_once()
        await shop.settled_down()

    (now,) = await shop.leases_now()
    assert now.hold_order_id is None
    assert (row.expires_at, now.expires_at) != (None, None)
    held = (now.expires_at - row.expires_at).total_seconds()  # type: ignore[operator]
    assert 600 <= held < 660
    assert now.end_reason == (None if is_there else "guest_vanished")
    assert (row.vmid in shop.proxmox.world.guests) is is_there


async def test_what_could_not_be_taken_is_no_snapshot(shop: Installation) -> None:
    row = await leased(shop)
    shop.fail_call(r"POST .*/snapshot$", FaultKind.ERROR)
    with pytest.raises(snapshots.SnapshotFailed):
        await shop.leases.snapshots.take(row, "before")

    outcome = await support.reinstall(shop, row)

    assert outcome.made is not None
    assert outcome.made.state is State.DONE
    assert await shop.rows(tables.snapshots) == []


async def test_a_guest_that_is_left_half_made_is_reported(shop: Installation) -> None:
    row = await leased(shop)
    shop.fail_call(r"POST .*/lxc$", FaultKind.DROP, executed=True)
    begun = support.reinstalling(shop, row)
    await shop.until(lambda now: "broke" in (now.last_error or ""))
    new = shop.proxmox.world.guests[row.vmid]
    new.config.put("lock", "create")  # its task was killed
    shop.pass_time(100)
    await shop.until(lambda now: "without a task" in (now.last_error or ""))
    waiting = await support.latest(shop)

    new.config.options.pop("lock")
    shop.pass_time(100)
    await shop.settled_down()
    await begun

    assert (waiting.state, waiting.problem) == (State.MAKING, snapshots.ContainerLocked.code)
    assert (await support.latest(shop)).state is State.DONE
    assert shop.proxmox.world.guests[row.vmid] is new


@pytest.mark.parametrize(
    ("call", "reason", "state"),
    [("delete", "still there", State.EMPTYING), ("create", "is absent", State.MAKING)],
)
async def test_what_is_said_to_be_done_and_is_not_is_reported(
    shop: Installation, call: str, reason: str, state: State
) -> None:
    row = await leased(shop)
    old, honest = shop.proxmox.world.guests[row.vmid], getattr(shop.parts.guests, call)

    async def lying(ref: Any, *rest: Any, **named: Any) -> Any:
        if call == "delete":
            return await shop.parts.guests.start(ref)
        done = await honest(ref, *rest, **named)
        del shop.proxmox.world.guests[ref.vmid]
        return done

    setattr(shop.parts.guests, call, lying)
    begun = support.reinstalling(shop, row)
    await shop.until(lambda now: reason in (now.last_error or ""))
    waiting = await support.latest(shop)
    setattr(shop.parts.guests, call, honest)
    shop.pass_time(100)
    await shop.settled_down()
    await begun

    assert (waiting.state, waiting.problem) == (state, reinstalls.NOT_MADE)
    assert shop.proxmox.world.guests[row.vmid] is not old
    assert shop.runs(row.vmid)


async def test_secrets_that_cannot_be_read_cost_no_guest(shop: Installation) -> None:
    row = await leased(shop)
    guest = shop.proxmox.world.guests[row.vmid]
    guest.config.put("lock", "backup")
    begun = support.reinstalling(shop, row)
    await shop.until(lambda now: now.last_error is not None)
    async with shop.parts.db.begin() as tx:
        await tx.execute(tables.reinstalls.update().values(sealed_secrets=b"of another key"))

    guest.config.options.pop("lock")
    shop.pass_time(1)
    (outcome,) = await support.gathered(begun)
    await shop.settled_down()

    assert isinstance(outcome, reinstalls.ReinstallFailed)
    assert shop.proxmox.world.guests[row.vmid] is guest
    assert shop.runs(row.vmid)


async def test_it_has_a_turn_to_make_a_guest_and_holds_up_no_other_changes_of_its_node(
    shop: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, machines, db = (await shop.lease()).lease, shop.parts.machines, shop.parts.db
    honest, makes, goes_on = machines.wait_until_created, asyncio.Event(), asyncio.Event()

    async def slowly(row: lease.Lease, upid: str) -> None:
        if ":vzcreate:" in upid:
            makes.set()
            await goes_on.wait()
        await honest(row, upid)

    monkeypatch.setattr(machines, "wait_until_created", slowly)
    reinstalling = asyncio.create_task(support.reinstall(shop, row, password="another password"))
    async with asyncio.timeout(20):
        await makes.wait()
        async with db.read() as tx:
            others = await creation_rows.count_others(db, tx, row.evolve(lease_id="l2"), 600)
        async with busy(shop):
            pass
        goes_on.set()
        await reinstalling

    assert (others.making, others.own) == (1, 1)
