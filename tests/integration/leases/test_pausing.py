"""A paused lease keeps its disk, burns little, and loses or gains nothing by it."""

import asyncio
import io
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.support.installation import Installation, World, running, settings
from tests.support.pausing import (
    RATE,
    SLOWER,
    either_shop,
    left_ms,
    metered,
    pausing_catalogue,
    shop,
)
from tests.support.snapshots import snapshot_proxmox, snapshot_world

from pve402 import bootstrap
from pve402.domain import errors, lease, meter, power
from pve402.leases import moves
from pve402.ops import rebuild
from pve402.storage import lease_rows, tables

__all__ = ["either_shop", "pausing_catalogue", "shop", "snapshot_proxmox", "snapshot_world"]

HOUR, MS = timedelta(hours=1), timedelta(milliseconds=1)
DAY_SECONDS = 86_400.0


def expiry(row: lease.Lease) -> datetime:
    """The end of a lease that has one."""
    assert row.expires_at is not None
    return row.expires_at


async def write(shop: Installation, row: lease.Lease, **values: Any) -> lease.Lease:
    """The lease after somebody else wrote some of its columns."""
    async with shop.parts.db.begin() as tx:
        query = tables.leases.update().where(tables.leases.c.lease_id == row.lease_id)
        await tx.execute(query.values(**values))
    return await shop.leases.find(row.lease_id)


async def reconcile(shop: Installation) -> lease.Lease:
    """The only lease, after a comparison and what it led to."""
    await shop.proxmox.publish()
    await shop.parts.lease_reconciler.run_once()
    await shop.settled_down()
    (row,) = await shop.leases_now()
    return row


async def promised(shop: Installation) -> lease.Size:
    """What the leases take up together."""
    async with shop.parts.db.read() as tx:
        sizes = [one.size for one in await lease_rows.list_promises(tx)]
    return lease.Size(
        cores=sum(one.cores for one in sizes),
        memory_mb=sum(one.memory_mb for one in sizes),
        disk_gb=sum(one.disk_gb for one in sizes),
    )


async def test_a_paused_lease_lasts_longer_and_a_woken_one_as_long_as_before(
    either_shop: Installation,
) -> None:
    row = (await either_shop.lease(minutes=60)).lease

    paused = await either_shop.leases.pause(row)
    was_down = not either_shop.runs(row.vmid)
    either_shop.pass_time(3600)
    left_before = await left_ms(either_shop, paused)
    woken = await either_shop.leases.start(paused)

    since = paused.paused_at
    assert was_down
    assert since is not None
    assert expiry(paused) - since == SLOWER * (expiry(row) - since)
    assert either_shop.runs(row.vmid)
    assert (woken.wanted, woken.paused_at, woken.paused) == (power.Wanted.RUNNING, None, {})
    slept = metered(woken).metered_at - since
    later = expiry(woken) - expiry(row) - slept + slept / SLOWER
    assert -MS < later <= timedelta(0)  # a balance that is worth less than a millisecond is kept
    assert left_before > 50 * 60_000


async def test_only_what_was_sold_with_a_rate_can_be_paused(installation: Installation) -> None:
    row = (await installation.lease()).lease

    with pytest.raises(power.PausingOff):
        await installation.leases.pause(row)

    assert installation.runs(row.vmid)


async def test_pausing_again_begins_nothing_anew(shop: Installation) -> None:
    paused = await shop.leases.pause((await shop.lease()).lease)
    shop.pass_time(60)

    again = await shop.leases.pause(paused)

    assert again == paused


async def test_nothing_burns_slowly_before_the_guest_is_down(shop: Installation) -> None:
    row = (await shop.lease()).lease
    shop.fail_call(r"POST .*/status/shutdown$", times=2)
    shop.fail_call(r"POST .*/status/stop$", times=2)
    async with shop.parts.db.begin() as tx:
        asked = await moves.ask_pause(shop.parts.db, tx, row, power.WantedBy.TENANT)

    shop.parts.lease_worker.wake()
    paused = await shop.until(lambda now: now.paused_at is not None)

    assert asked.expires_at == row.expires_at
    assert not shop.runs(row.vmid)
    assert paused.pause_asked_at is None


async def test_a_renewal_adds_to_the_balance_and_starts_nothing(shop: Installation) -> None:
    tenant = shop.tenant()
    paused = await shop.leases.pause((await shop.lease(tenant)).lease)

    renewed = (await shop.leases.renew(paused, 30, shop.renewal(tenant, paused, 30))).lease

    assert not shop.runs(paused.vmid)
    assert expiry(renewed) == expiry(paused) + timedelta(minutes=30 * SLOWER)
    assert renewed.paused_at == paused.paused_at
    assert (await shop.orders_now())[-1].credit == metered(paused).worth(30)


async def test_a_pause_pays_no_further_ahead_than_the_cap(shop: Installation) -> None:
    tenant = shop.tenant(usdc_atomic=100_000_000)
    paused = await shop.leases.pause((await shop.lease(tenant, minutes=60)).lease)

    with pytest.raises(errors.PaidTooFarAhead):
        await shop.leases.check_renewable(paused, 30 * 1440)
    await shop.leases.check_renewable(paused, 30 * 1440 - 60)


async def test_after_thirty_days_it_burns_the_full_rate_to_the_millisecond(
    shop: Installation,
) -> None:
    row = (await shop.lease(shop.tenant(100_000_000), minutes=10 * 1440)).lease

    paused = await shop.leases.pause(row)

    since = paused.paused_at
    assert since is not None
    left = expiry(row) - since - power.LONGEST_PAUSE / SLOWER
    assert expiry(paused) == since + power.LONGEST_PAUSE + left
    shop.pass_time(31 * DAY_SECONDS)
    assert (await reconcile(shop)).paused_at == since
    assert not shop.runs(row.vmid)
    woken = await shop.leases.start(await shop.leases.find(row.lease_id))
    assert woken.expires_at == paused.expires_at


async def test_a_paused_lease_keeps_its_disk_alone(shop: Installation) -> None:
    row = (await shop.lease()).lease
    before = await promised(shop)

    paused = await shop.leases.pause(row)
    meanwhile = await promised(shop)
    await shop.leases.start(paused)

    assert before == row.size
    assert meanwhile == lease.Size(cores=0, memory_mb=0, disk_gb=row.size.disk_gb)
    assert await promised(shop) == before


async def test_without_room_it_stays_paused(
    tmp_path: Path, world: World, pausing_catalogue: Path
) -> None:
    changes: dict[str, Any] = {"pve402_memory_mb_per_node": 1000}
    changes["pve402_catalogue"] = pausing_catalogue
    async with running(f"sqlite:///{tmp_path}/db.sqlite3", *world, **changes) as shop:
        paused = await shop.leases.pause((await shop.lease()).lease)
        other = (await shop.lease()).lease

        for refused in (shop.leases.check_start, shop.leases.start, shop.leases.reboot):
            with pytest.raises(power.NoRoomToWake):
                await refused(paused)
        assert await shop.leases.find(paused.lease_id) == paused

        await shop.leases.end(other)
        await shop.until_status(lease.LeaseStatus.ENDED)
        await shop.leases.start(paused)
        assert shop.runs(paused.vmid)


async def test_it_can_be_woken_so_often_an_hour(
    tmp_path: Path, world: World, pausing_catalogue: Path
) -> None:
    changes: dict[str, Any] = {"pve402_wakes_an_hour": 2, "pve402_catalogue": pausing_catalogue}
    async with running(f"sqlite:///{tmp_path}/db.sqlite3", *world, **changes) as shop:
        row = (await shop.lease(minutes=600)).lease
        for _ in range(2):
            row = await shop.leases.start(await shop.leases.pause(row))
        paused = await shop.leases.pause(row)

        with pytest.raises(power.TooManyWakes) as refusal:
            await shop.leases.start(paused)
        assert 3500 < refusal.value.retry_after_seconds <= 3600
        assert await shop.leases.find(paused.lease_id) == paused

        shop.pass_time(3601)
        assert (await shop.leases.start(paused)).wakes == 1


async def test_uses_at_once_wake_it_once(either_shop: Installation) -> None:
    row = (await either_shop.lease(wake_on=("command",))).lease
    paused = await either_shop.leases.pause(row)

    assert await either_shop.leases.check_use(paused, power.Use.COMMAND)
    assert await either_shop.leases.wake_for(paused, power.Use.PORT) == paused
    woken = await asyncio.gather(
        *(either_shop.leases.wake_for(paused, power.Use.COMMAND) for _ in range(4))
    )

    assert either_shop.runs(row.vmid)
    assert [(one.wakes, one.paused_at, one.wanted) for one in woken] == [
        (1, None, power.Wanted.RUNNING)
    ] * 4


async def test_a_start_takes_back_a_pause_that_has_not_begun(shop: Installation) -> None:
    row = (await shop.lease()).lease
    async with shop.parts.db.begin() as tx:
        asked = await moves.ask_pause(shop.parts.db, tx, row, power.WantedBy.TENANT)

    started = await shop.leases.start(asked)

    assert started.pause_asked_at is None
    assert started.expires_at == row.expires_at
    assert shop.runs(row.vmid)


@pytest.mark.parametrize("time_held", [True, False])
async def test_a_suspension_and_its_end_leave_it_paused(
    shop: Installation, time_held: bool
) -> None:
    row = (await shop.lease(idle_pause_minutes=5)).lease
    await shop.parts.lease_reconciler.idle.pauses.pause_idle(row)
    paused = await shop.until(lambda now: now.paused_at is not None)
    before = metered(paused).pause
    assert before is not None
    db = shop.parts.db

    async with db.begin() as tx:
        held = await moves.suspend(db, tx, paused, "abuse", time_held=time_held)
    shop.pass_time(3600)
    async with db.begin() as tx:
        resumed = await moves.resume(db, tx, held)
    await shop.settled_down()
    now = await reconcile(shop)

    moved = expiry(resumed) - expiry(paused)
    after = metered(now).pause
    assert after is not None
    assert (moved >= HOUR) is time_held
    assert after.until - before.until == moved
    assert after.is_idle
    assert now.wanted is power.Wanted.STOPPED
    assert not shop.runs(paused.vmid)


async def test_its_end_and_a_renewal_in_grace_start_nothing(shop: Installation) -> None:
    tenant = shop.tenant()
    paused = await shop.leases.pause((await shop.lease(tenant, minutes=60)).lease)
    shop.pass_time(SLOWER * 3600)
    stopped = await shop.until_status(lease.LeaseStatus.STOPPED)

    renewed = (await shop.leases.renew(stopped, 30, shop.renewal(tenant, stopped, 30))).lease
    now = await reconcile(shop)

    assert renewed.status is lease.LeaseStatus.ACTIVE
    assert not shop.runs(paused.vmid)
    assert now.paused_at == paused.paused_at
    left = expiry(now) - metered(now).metered_at
    assert timedelta(0) <= left - timedelta(minutes=30 * SLOWER) < MS


async def test_a_guest_that_runs_though_it_is_paused_is_stopped(shop: Installation) -> None:
    paused = await shop.leases.pause((await shop.lease()).lease)
    await shop.parts.machines.ensure_running(paused)

    now = await reconcile(shop)

    assert not shop.runs(paused.vmid)
    assert now.expires_at == paused.expires_at


async def test_a_rollback_leaves_it_paused(
    tmp_path: Path, snapshot_world: World, pausing_catalogue: Path
) -> None:
    changes: dict[str, Any] = {"pve402_snapshots": 3, "pve402_catalogue": pausing_catalogue}
    async with running(f"sqlite:///{tmp_path}/db.sqlite3", *snapshot_world, **changes) as shop:
        row = (await shop.lease()).lease
        await shop.leases.snapshots.take(row, "before")
        paused = await shop.leases.pause(await shop.leases.find(row.lease_id))

        await shop.leases.snapshots.roll_back(paused, "before")

        now = await reconcile(shop)
        assert not shop.runs(row.vmid)
        assert (now.expires_at, now.paused_at) == (paused.expires_at, paused.paused_at)


async def test_a_rebuilt_table_has_the_pause_to_the_millisecond_and_what_ends_it(
    shop: Installation, tmp_path: Path, world: World, pausing_catalogue: Path
) -> None:
    chosen: dict[str, Any] = {"wake_on": ("command", "port"), "idle_pause_minutes": 5}
    paused = await shop.leases.pause((await shop.lease(**chosen)).lease)
    await shop.die()

    url = f"sqlite:///{tmp_path}/rebuilt.sqlite3"
    parts = bootstrap.build(settings(url, *world, pve402_catalogue=pausing_catalogue))
    assert await rebuild.Rebuild(apply=True).run(parts, Console(file=io.StringIO())) == 0
    await parts.close()

    async with running(url, *world, pve402_catalogue=pausing_catalogue) as again:
        now = await reconcile(again)

        assert metered(now) == metered(paused)
        assert (now.wake_on, now.idle_pause_minutes) == (("command", "port"), 5)
        assert (now.expires_at, now.wanted) == (paused.expires_at, power.Wanted.STOPPED)
        assert not again.runs(paused.vmid)


async def test_minutes_of_a_replica_of_an_earlier_version_count_in_full(
    shop: Installation,
) -> None:
    paused = await shop.leases.pause((await shop.lease()).lease)
    await write(shop, paused, expires_at=expiry(paused) + HOUR, balance=7, burn=1)

    now = await reconcile(shop)

    assert now.expires_at == expiry(paused) + SLOWER * HOUR
    assert not meter.is_outdated(now)


async def test_a_start_by_a_replica_of_an_earlier_version_ends_the_pause(
    shop: Installation,
) -> None:
    paused = await shop.leases.pause((await shop.lease()).lease)
    started = await write(shop, paused, wanted=power.Wanted.RUNNING.value)
    await shop.parts.machines.ensure_running(started)

    now = await reconcile(shop)

    assert shop.runs(paused.vmid)
    assert (now.paused_at, now.burn) == (None, metered(paused).burn)


async def test_a_start_by_a_replica_of_an_earlier_version_takes_back_what_was_asked_for(
    shop: Installation,
) -> None:
    row = (await shop.lease()).lease
    async with shop.parts.db.begin() as tx:
        asked = await moves.ask_pause(shop.parts.db, tx, row, power.WantedBy.TENANT)
    started = await write(shop, asked, wanted=power.Wanted.RUNNING.value)

    now = await reconcile(shop)
    paused = await shop.leases.pause(started)
    woken = await shop.leases.start(paused)
    stopped = await shop.leases.stop(woken)

    assert now.pause_asked_at is None
    assert paused.paused_at is not None
    assert stopped.paused_at is None


async def test_a_lost_payment_takes_back_what_it_added(shop: Installation) -> None:
    tenant = shop.tenant()
    row = (await shop.lease(tenant)).lease
    renewed = (await shop.leases.renew(row, 30, shop.renewal(tenant, row, 30))).lease
    paused = await shop.leases.pause(renewed)
    lost = (await shop.orders_now())[-1]

    async with shop.parts.db.begin() as tx:
        shorter = await moves.take_minutes_back(shop.parts.db, tx, paused, lost, "reverted")

    assert expiry(shorter) == expiry(paused) - timedelta(minutes=30 * SLOWER)


def test_the_rate_of_these_tests_is_a_tenth_of_the_smallest() -> None:
    rates = {"core_minute_usd": "0.0002", "memory_gb_minute_usd": "0.0001"}
    rates |= {"disk_gb_minute_usd": "0.00001", "base_usd": "0", "paused_usd_minute": RATE}

    size = lease.Size(cores=1, memory_mb=512, disk_gb=8)

    assert meter.burn_of(rates, size) == SLOWER * (meter.paused_burn_of(rates) or 0)
