"""A lease's balance is kept in its row and on its guest, and its end follows from it everywhere."""

from __future__ import annotations

import asyncio
import dataclasses
import io
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.support.installation import Installation, World, running, settings

from pve402 import bootstrap
from pve402.domain import lease, mark, meter
from pve402.leases import moves
from pve402.ops import enforcement, rebuild
from pve402.proxmox.guests import GuestRef
from pve402.storage import tables
from pve402_devnet.pve.simulator import SimulatedProxmox

HOUR = timedelta(hours=1)
NO_METER = {"balance": None, "burn": None, "metered_at": None}


def stored(row: lease.Lease) -> meter.Meter:
    """The meter in a lease's columns."""
    found = meter.stored(row)
    assert found is not None
    return found


def expiry(row: lease.Lease) -> datetime:
    """The end of a lease that has one."""
    assert row.expires_at is not None
    return row.expires_at


def told(installation: Installation, row: lease.Lease) -> mark.GuestRecord:
    """What the description of a lease's guest tells."""
    text = installation.proxmox.world.guests[row.vmid].config.text("description")
    record = installation.parts.machines.read_description(text)
    assert record is not None
    return record


async def write(installation: Installation, row: lease.Lease, **values: Any) -> lease.Lease:
    """The lease after somebody else wrote some of its columns."""
    async with installation.parts.db.begin() as tx:
        query = tables.leases.update().where(tables.leases.c.lease_id == row.lease_id)
        await tx.execute(query.values(**values))
    (found,) = await installation.leases_now()
    return found


async def test_what_is_paid_is_on_the_meter_and_burns_by_the_size(
    installation: Installation,
) -> None:
    tenant = installation.tenant()
    first = (await installation.lease(tenant, minutes=60)).lease
    await installation.leases.renew(first, 30, installation.renewal(tenant, first, 30))

    (row,), orders = await installation.leases_now(), await installation.orders_now()

    metered = stored(row)
    assert metered.ends_at == row.expires_at == expiry(first) + HOUR / 2
    assert metered.burn == meter.burn_of(row.rates, row.size)
    assert [paid.credit for paid in orders] == [metered.worth(60), metered.worth(30)]


async def test_renewals_that_read_the_lease_at_once_count_both(installation: Installation) -> None:
    row = (await installation.lease(minutes=60)).lease
    db = installation.parts.db

    async def extend(minutes: int) -> None:
        async with db.begin() as tx:
            await moves.extend(tx, row, minutes, await db.time_in(tx))

    await asyncio.gather(extend(10), extend(20), extend(30))

    (longer,) = await installation.leases_now()
    assert longer.expires_at == stored(longer).ends_at == expiry(row) + HOUR


@pytest.mark.parametrize("earlier", [NO_METER, {}], ids=["no meter", "an older meter"])
async def test_what_a_replica_of_an_earlier_version_wrote_counts(
    installation: Installation, earlier: dict[str, Any]
) -> None:
    """It writes the end alone, and knows of no meter or leaves the one that was there."""
    tenant = installation.tenant()
    first = (await installation.lease(tenant, minutes=60)).lease
    row = await write(installation, first, expires_at=expiry(first) + HOUR, **earlier)

    await installation.leases.renew(row, 30, installation.renewal(tenant, row, 30))

    (longer,) = await installation.leases_now()
    assert longer.expires_at == stored(longer).ends_at == expiry(first) + 1.5 * HOUR
    assert longer.burn == first.burn


async def test_a_lost_payment_takes_back_what_it_added_though_more_is_burnt_since(
    installation: Installation,
) -> None:
    tenant = installation.tenant()
    first = (await installation.lease(tenant, minutes=60)).lease
    renewed = await installation.leases.renew(first, 30, installation.renewal(tenant, first, 30))
    settled = stored(renewed.lease).at(expiry(first) - HOUR / 2)
    doubled = dataclasses.replace(settled, burn=2 * settled.burn)
    row = await write(installation, first, **doubled.facts)
    lost = (await installation.orders_now())[-1]
    assert row.expires_at == expiry(first)

    async with installation.parts.db.begin() as tx:
        db = installation.parts.db
        shorter = await moves.take_minutes_back(db, tx, row, lost, "payment_reverted")

    assert shorter.expires_at == stored(shorter).ends_at == expiry(first) - HOUR / 4


@pytest.mark.parametrize("credit", [True, False], ids=["with its credit", "of an earlier version"])
async def test_the_guest_tells_the_end_after_a_payment_was_lost(
    installation: Installation, credit: bool
) -> None:
    tenant = installation.tenant()
    first = (await installation.lease(tenant, minutes=60)).lease
    await installation.leases.renew(first, 30, installation.renewal(tenant, first, 30))
    (row,), (*_, lost) = await installation.leases_now(), await installation.orders_now()
    await installation.parts.machines.write_description(row)
    if not credit:
        lost = dataclasses.replace(lost, credit=None)

    async with installation.parts.db.begin() as tx:
        await moves.take_minutes_back(installation.parts.db, tx, row, lost, "payment_reverted")
    await installation.settled_down()

    (shorter,) = await installation.leases_now()
    assert shorter.expires_at == expiry(first)
    assert told(installation, row).metered == stored(shorter)


@pytest.mark.parametrize("minutes", [-30, 30], ids=["nearer", "further"])
async def test_a_guest_of_an_earlier_version_is_told_at_once_of_a_nearer_end(
    installation: Installation, minutes: int
) -> None:
    first = (await installation.lease(minutes=60)).lease
    machines = installation.parts.machines
    old = machines.description(first.evolve(expires_at=None), expiry(first))
    await installation.parts.guests.update_config(
        GuestRef(node=first.node, vmid=first.vmid), {"description": old}
    )
    assert told(installation, first).metered is None

    row = await write(installation, first, expires_at=expiry(first) + minutes * HOUR / 60)
    await machines.describe_changes(row)

    record = told(installation, row)
    moved = record.expires_at != expiry(first).replace(microsecond=0)
    assert (moved, record.metered is not None) == (minutes < 0, minutes < 0)
    assert record.expires_at <= expiry(row)


@pytest.mark.parametrize("held", [True, False])
async def test_a_lost_database_loses_no_millisecond(
    tmp_path: Path, proxmox: SimulatedProxmox, world: World, held: bool
) -> None:
    console = Console(file=io.StringIO(), width=300)
    async with running(f"sqlite:///{tmp_path}/lost.sqlite3", *world) as lost:
        first = (await lost.lease(minutes=60)).lease
        wish = enforcement.Suspend(name=first.lease_id, reason="abuse", time_held=held)
        assert await wish.run(lost.parts, console) == 0
        await lost.settled_down()
        (before,) = await lost.leases_now()
    await proxmox.publish()
    url = f"sqlite:///{tmp_path}/new.sqlite3"
    parts = bootstrap.build(settings(url, *world))
    await rebuild.Rebuild(apply=True).run(parts, console)
    await parts.close()

    async with running(url, *world) as again:
        (found,) = await again.leases_now()
        again.pass_time(30 * 60)
        assert await enforcement.resume(again.parts, console, name=first.lease_id) == 0
        (resumed,) = await again.leases_now()
        now = await again.parts.db.time()

    assert before.suspension is not None
    assert (stored(before).metered_at == before.suspension.since) is held
    assert stored(found) == stored(before)
    assert found.expires_at == before.expires_at == first.expires_at
    passed = stored(resumed).metered_at - stored(before).metered_at
    assert expiry(resumed) == expiry(first) + passed
    assert (passed > timedelta(minutes=30)) is held
    assert stored(resumed).metered_at <= now
