"""Snapshots burn from their row on until they are gone, and a process that dies changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from fractions import Fraction
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from tests.support import size_changes as changing
from tests.support import snapshots as support
from tests.support.dying import WHEN, come_round, die_at, either_database
from tests.support.idle_leases import Figures, look_for, quiet_figures
from tests.support.installation import Installation, World, running
from tests.support.snapshots import snapshot_proxmox, snapshot_world

from pve402.domain import errors, lease, mark, meter, size_changes, snapshots
from pve402.leases import moves
from pve402.storage import snapshot_rows, tables
from pve402_devnet.pve.faults import TaskFault

__all__ = ["quiet_figures", "snapshot_proxmox", "snapshot_world"]

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
RATE = Fraction("0.00002")
SIZE_USD = Fraction("0.00033")
KEPT_USD = 8 * RATE
ENDS = ["begin 1", "begin 4"]  # what is asked for, and what came of the call and its task
"""Where the burn changes. What is between, the crashes of snapshots that burn nothing tell."""


def write_catalogue(folder: Path, rate: Fraction = RATE) -> Path:
    """The catalogue that ships with the program, with rates for snapshots and pauses."""
    text = resources.files("pve402.domain").joinpath("default_catalogue.toml").read_text()
    first = "[sku.standard-lxc]\n"
    rates = f'snapshot_gb_usd_minute = "{float(rate):.6f}"\npaused_usd_minute = "0.00001"\n'
    file = folder / "snapshots.toml"
    file.write_text(text.replace(first, first + rates))
    return file


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    """The settings of a service whose snapshots burn."""
    return {"pve402_snapshots": 3, "pve402_catalogue": write_catalogue(tmp_path)}


@pytest.fixture
async def shop(
    tmp_path: Path, snapshot_world: World, options: dict[str, Any]
) -> AsyncIterator[Installation]:
    """A running installation on a SQLite file."""
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *snapshot_world, **options) as made:
        yield made


async def taken(shop: Installation, row: lease.Lease, name: str = "before") -> lease.Lease:
    """Take a snapshot; return the lease after that."""
    await shop.leases.snapshots.take(await shop.leases.find(row.lease_id), name)
    return await shop.leases.find(row.lease_id)


def burnt_usd(row: lease.Lease) -> Fraction:
    """What a lease burns a minute."""
    return meter.minute_usd(row.burn or 0)


def left_usd(row: lease.Lease) -> Fraction:
    """What a lease has left by its meter, in USD."""
    found = meter.of(row)
    assert found is not None
    return Fraction(found.balance, meter.UNITS_PER_USD * meter.MINUTE_MS)


def told(shop: Installation, row: lease.Lease) -> meter.Meter | None:
    """The meter that the description of a lease's guest tells."""
    text = shop.proxmox.world.guests[row.vmid].config.text("description")
    record: mark.GuestRecord | None = shop.parts.machines.read_description(text)
    assert record is not None
    return record.metered


async def test_a_snapshot_burns_until_it_is_gone_and_its_guest_says_so(shop: Installation) -> None:
    row = (await shop.lease(minutes=60)).lease

    kept = await taken(shop, row)
    await shop.settled_down()

    assert burnt_usd(kept) == SIZE_USD + KEPT_USD
    assert (kept.snapshot_gb, told(shop, kept)) == (8, meter.of(kept))
    shop.pass_time(600)
    await shop.leases.snapshots.delete(await shop.leases.find(row.lease_id), "before")
    await shop.settled_down()
    now = await shop.leases.find(row.lease_id)
    assert (now.burn, now.snapshot_gb, now.snapshot_burn) == (row.burn, None, None)
    assert told(shop, now) == meter.of(now)
    assert kept.metered_at is not None
    assert now.metered_at is not None
    passed = Fraction((now.metered_at - kept.metered_at) // timedelta(milliseconds=1), 60_000)
    assert left_usd(kept) - left_usd(now) == passed * (SIZE_USD + KEPT_USD)


async def test_a_renewal_pays_for_snapshots_so_that_its_minutes_are_minutes(
    shop: Installation,
) -> None:
    row = (await shop.lease(key := shop.tenant(), minutes=60)).lease
    kept = await taken(shop, row)

    assert shop.leases.prices.of_renewal(kept, 30) == [30 * (SIZE_USD + KEPT_USD)]
    renewed = (await shop.leases.renew(kept, 30, shop.renewal(key, kept, 30))).lease

    assert renewed.expires_at is not None
    assert kept.expires_at is not None
    assert renewed.expires_at == kept.expires_at + timedelta(minutes=30)
    assert (await shop.orders_now())[-1].credit == 30 * 60_000 * (kept.burn or 0)


async def test_a_price_without_a_snapshot_renews_no_lease_that_has_one(shop: Installation) -> None:
    row = (await shop.lease(key := shop.tenant(), minutes=60)).lease
    cheap = shop.renewal(key, row, 30)
    await taken(shop, row)
    earned = shop.earned

    with pytest.raises(errors.LeaseBusy):
        await shop.leases.renew(row, 30, cheap)

    assert shop.earned == earned


async def test_what_a_renewal_bought_does_not_shrink_if_a_snapshot_goes_meanwhile(
    shop: Installation,
) -> None:
    row = (await shop.lease(key := shop.tenant(), minutes=60)).lease
    kept = await taken(shop, row)
    bought = 30 * 60_000 * (kept.burn or 0)

    async with shop.holding("GET .*/status/current"):
        renewing = asyncio.create_task(shop.leases.renew(kept, 30, shop.renewal(key, kept, 30)))
        held = await shop.until(lambda one: one.hold_order_id is not None)
        async with shop.parts.db.begin() as tx:
            await tx.execute(tables.snapshots.delete())
            before = await moves.end_burning(shop.parts.db, tx, held)
    renewed = (await renewing).lease

    assert before.burn == row.burn
    assert (await shop.orders_now())[-1].credit == bought
    assert renewed.expires_at is not None
    assert before.expires_at is not None
    added = (renewed.expires_at - before.expires_at) // timedelta(milliseconds=1)
    assert abs(added - bought // (row.burn or 1)) <= 1


async def test_what_could_not_be_taken_has_burnt_nothing(shop: Installation) -> None:
    row = (await shop.lease(minutes=60)).lease
    shop.proxmox.world.faults.order_for_task(TaskFault(type="vzsnapshot", text="no room"))

    with pytest.raises(snapshots.SnapshotFailed):
        await taken(shop, row)

    now = await shop.leases.find(row.lease_id)
    assert (now.expires_at, now.burn, now.snapshot_burn) == (row.expires_at, row.burn, None)
    (one,) = await support.rows(shop)
    assert (one.gb, one.burn, one.burns_since) == (None, None, None)


async def test_a_snapshot_that_would_leave_minutes_is_refused_before_anything(
    shop: Installation,
) -> None:
    row = (await shop.lease(minutes=6)).lease
    calls = shop.record_proxmox_calls()

    for asking in (shop.leases.snapshots.check_take, shop.leases.snapshots.take):
        with pytest.raises(size_changes.TooLittleTimeLeft, match="snapshot"):
            await asking(row, "before")

    now = await shop.leases.find(row.lease_id)
    assert (now.expires_at, now.burn) == (row.expires_at, row.burn)
    assert await support.rows(shop) == []
    assert not [call for call in calls if call.startswith("POST")]


async def test_a_pause_does_not_stop_that_snapshots_burn(shop: Installation) -> None:
    row = (await shop.lease(minutes=600)).lease
    kept = await taken(shop, row)
    await shop.leases.pause(kept)

    paused = await shop.until(lambda one: one.paused_at is not None)
    more = await taken(shop, paused, "another")

    slow = {"one": meter.of(paused), "two": meter.of(more)}
    found = {
        name: meter.minute_usd(one.pause.burn) for name, one in slow.items() if one and one.pause
    }
    assert found == {
        "one": Fraction("0.00001") + KEPT_USD,
        "two": Fraction("0.00001") + 2 * KEPT_USD,
    }


async def test_a_larger_guest_keeps_what_its_snapshots_burn(shop: Installation) -> None:
    row = (await shop.lease(minutes=600)).lease
    await taken(shop, row)
    wish = size_changes.Wish(disk_gb=16)

    await shop.leases.size_changes.change(await shop.leases.find(row.lease_id), wish, by_key=True)
    now = await taken(shop, row, "after")

    assert burnt_usd(now) == SIZE_USD + 8 * Fraction("0.00001") + KEPT_USD + 16 * RATE
    assert now.snapshot_gb == 24


async def test_time_that_is_held_is_not_given_back_for_a_snapshot(shop: Installation) -> None:
    row = (await shop.lease(minutes=600)).lease
    kept = await taken(shop, row)
    (before,) = await support.rows(shop)
    await changing.suspend(shop, kept)
    shop.pass_time(3600)

    await changing.resume(shop, row)

    (after,) = await support.rows(shop)
    assert before.burns_since is not None
    assert after.burns_since is not None
    assert after.burns_since - before.burns_since >= HOUR
    async with shop.parts.db.begin() as tx:  # only what is held after it was taken counts
        for until in (after.burns_since + MINUTE, after.burns_since - MINUTE):
            await snapshot_rows.hold(tx, row.lease_id, after.burns_since - HOUR, until)
    (moved,) = await support.rows(shop)
    assert moved.burns_since == after.burns_since + MINUTE


@pytest.mark.parametrize("deletes", [True, False])
async def test_what_a_replica_ended_that_knows_no_burn_burns_no_more(
    shop: Installation, deletes: bool
) -> None:
    row = (await shop.lease(minutes=60)).lease
    await taken(shop, row)
    failed = tables.snapshots.update().values(state=snapshots.State.FAILED.value)
    async with shop.parts.db.begin() as tx:
        await tx.execute(tables.snapshots.delete() if deletes else failed)

    await shop.parts.lease_reconciler.run_once()
    await shop.settled_down()

    now = await shop.leases.find(row.lease_id)
    assert (now.burn, now.snapshot_gb, now.snapshot_burn) == (row.burn, None, None)


async def test_a_pause_for_idleness_burns_for_snapshots(
    shop: Installation, quiet_figures: Figures
) -> None:
    row = (await shop.lease(minutes=600, idle_pause_minutes=5)).lease
    kept = await taken(shop, row)
    quiet_figures.of(shop)

    paused = meter.of(await look_for(shop, 10))

    assert paused is not None
    assert paused.pause is not None
    assert meter.minute_usd(paused.pause.burn) == Fraction("0.00001") + KEPT_USD
    assert paused.burn == kept.burn


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("point", ENDS)
async def test_taking_with_a_burn_survives_a_crash(
    tmp_path: Path, snapshot_world: World, options: dict[str, Any], point: str, when: str
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *snapshot_world, **options) as first:
        row = (await first.lease(minutes=600)).lease
        await die_at(first, point, when, first.leases.snapshots.take(row, "before"))

    async with running(url, *snapshot_world, **options) as second:
        await come_round(second)

        await check(second, row)
        assert bool(await support.rows(second)) is ((point, when) != ("begin 1", "before"))


@either_database(["begin 4"])
@pytest.mark.parametrize("when", WHEN)
async def test_what_is_given_back_survives_a_crash(
    database_url: str, snapshot_world: World, options: dict[str, Any], point: str, when: str
) -> None:
    async with running(database_url, *snapshot_world, **options) as first:
        row = (await first.lease(minutes=600)).lease
        first.proxmox.world.faults.order_for_task(TaskFault(type="vzsnapshot", text="no room"))
        await die_at(first, point, when, first.leases.snapshots.take(row, "before"))

    async with running(database_url, *snapshot_world, **options) as second:
        await come_round(second)

        await check(second, row)
        (failed,) = await support.rows(second)
        assert failed.state is snapshots.State.FAILED


async def test_a_lease_ends_no_earlier_for_a_snapshot_that_it_did_not_get(
    tmp_path: Path, snapshot_world: World, options: dict[str, Any]
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *snapshot_world, **options) as first:
        row = (await first.lease(minutes=60)).lease
        taking = first.leases.snapshots.take(row, "before")
        await die_at(first, "POST .*/snapshot$ 1", "before", taking)
        burning = await first.leases.find(row.lease_id)
        assert burning.expires_at is not None
        left = burning.expires_at - await first.parts.db.time()

    async with running(url, *snapshot_world, **options) as second:
        await second.settled_down()
        second.pass_time(left.total_seconds() + 1)
        await second.settled_down()

        now = await second.leases.find(row.lease_id)
        assert (now.status, now.expires_at) == (lease.LeaseStatus.ACTIVE, row.expires_at)
        assert (now.burn, now.snapshot_burn) == (row.burn, None)
        assert [one.state for one in await support.rows(second)] == [snapshots.State.FAILED]
        assert not support.on_proxmox(second, row.vmid)


@either_database(ENDS)
@pytest.mark.parametrize("when", WHEN)
async def test_deleting_with_a_burn_survives_a_crash(
    database_url: str, snapshot_world: World, options: dict[str, Any], point: str, when: str
) -> None:
    async with running(database_url, *snapshot_world, **options) as first:
        row = (await first.lease(minutes=600)).lease
        kept = await taken(first, row)
        await die_at(first, point, when, first.leases.snapshots.delete(kept, "before"))

    async with running(database_url, *snapshot_world, **options) as second:
        await come_round(second)

        await check(second, row)
        assert bool(await support.rows(second)) is ((point, when) == ("begin 1", "before"))


async def check(shop: Installation, sold: lease.Lease) -> None:
    """Compare the lease, its snapshots, Proxmox and the guest's description with each other."""
    now = await shop.leases.find(sold.lease_id)
    found = await support.rows(shop)
    standing = [one for one in found if one.state is snapshots.State.THERE]
    assert all(
        one.state is snapshots.State.FAILED and not one.burn for one in found[len(standing) :]
    )
    assert len(support.on_proxmox(shop, sold.vmid)) == len(standing)
    assert burnt_usd(now) == SIZE_USD + len(standing) * KEPT_USD
    assert now.burn == meter.burn_of_lease(now)
    assert told(shop, now) == meter.of(now)
    if len(standing) < len(found):  # as if it had never been asked for
        assert now.expires_at == sold.expires_at
