"""Uses, idle pauses, wakes, renewals and deaths in any order: nothing used is paused, no unit lost.

A witness knows when the lease was used, and burns by the millisecond what the rates say.
"""

import asyncio
import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.dying import WHEN, come_round, die_at
from tests.support.idle_leases import Figures, quiet_figures
from tests.support.installation import Installation, World, running
from tests.support.pausing import SLOWER, either_shop, metered, pausing_catalogue, shop
from tests.support.waiting import until_somebody_waits

from pve402.domain import idling, lease, power
from pve402.leases import moves

__all__ = ["either_shop", "pausing_catalogue", "quiet_figures", "shop"]

MINUTES = 30
MS = timedelta(milliseconds=1)
EVENTS = ["use", "note", "judge", "judge", "judge", "wake", "renew", "start"]


async def sold(shop: Installation, **changes: Any) -> lease.Lease:
    """A lease that is paused after thirty idle minutes."""
    wanted = {"minutes": 20 * 1440, "idle_pause_minutes": MINUTES, **changes}
    return (await shop.lease(shop.tenant(10**9), **wanted)).lease


class Play:
    """A lease without a worker, and what happens to it, told to a witness as well."""

    def __init__(self, shop: Installation, row: lease.Lease) -> None:
        self.shop, self.db, self.row = shop, shop.parts.db, row
        self.pauses = shop.parts.lease_reconciler.idle.pauses
        self.stale = row  # as a judge that is slow has read it
        assert row.expires_at is not None
        self.used_at = self.since = metered(row).metered_at
        self.left = (row.expires_at - self.since) // MS * SLOWER
        self.is_slow = False
        self.idle_pauses = self.refused = 0

    async def find(self) -> lease.Lease:
        """The row as it stands."""
        return await self.shop.leases.find(self.row.lease_id)

    def burn(self, moment: datetime) -> None:
        """Burn until a moment."""
        moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
        self.left -= (moment - self.since) // MS * (1 if self.is_slow else SLOWER)
        self.since = moment

    async def use(self) -> None:
        """Somebody is let in."""
        self.row = await self.shop.leases.note_use(await self.find())
        self.used_at = await self.db.time()

    async def note(self) -> None:
        """Something is still open; or a judge wrote that figures were not quiet."""
        async with self.db.single() as tx:
            await moves.note_uses(self.db, tx, [self.row.lease_id])
        self.used_at = await self.db.time()

    async def judge(self) -> None:
        """A judge that read the row just now, or before the last event, pauses what it may."""
        for read in (self.stale, await self.find()):
            now = await self.db.time()
            figures = idling.Figures(
                at=now, cpu_fraction=0, cores=1, sent_bytes=0, uptime_seconds=10**7
            )
            is_over = read.active_at is not None and idling.is_over(
                MINUTES, read.active_at, figures
            )
            if not (read.is_watched and is_over):
                continue
            if not await self.pauses.pause_idle(read):
                self.refused += 1
                continue
            self.idle_pauses += 1
            assert now - self.used_at >= timedelta(minutes=MINUTES)
            async with self.db.begin() as tx:
                row = await moves.begin_pause(self.db, tx, await self.find(), power.LONGEST_PAUSE)
            assert row.paused_at is not None
            self.burn(row.paused_at)
            self.is_slow = True

    async def wake(self) -> None:
        """The tenant wakes it, if it is paused."""
        row = await self.find()
        if row.paused_at is None:
            return
        by = power.WantedBy.TENANT
        async with self.db.begin() as tx:
            woken = await moves.wake_paused(self.db, tx, row, by, first_of_hour=False)
        self.burn(metered(woken).metered_at)
        self.is_slow, self.used_at = False, await self.db.time()

    async def start(self) -> None:
        """The tenant starts what runs anyway."""
        row = await self.find()
        if row.paused_at is None:
            async with self.db.begin() as tx:
                await moves.want_running(self.db, tx, row, power.WantedBy.TENANT)
            self.used_at = await self.db.time()

    async def renew(self) -> None:
        """The tenant buys minutes, which is no use."""
        async with self.db.begin() as tx:
            moment = await self.db.time_in(tx)
            await moves.extend(tx, await self.find(), 60, moment)
        self.left += 60 * 60_000 * SLOWER

    async def check(self) -> None:
        """Compare what is left and when it ends."""
        row, now = await self.find(), await self.db.time()
        self.burn(now)
        found = metered(row).at(self.since)
        assert found.balance * SLOWER == self.left * found.burn
        assert row.expires_at == metered(row).ends_at


@pytest.mark.parametrize("seed", range(4))
async def test_no_order_pauses_what_was_used_or_makes_or_loses_a_unit(
    shop: Installation, seed: int
) -> None:
    chance = random.Random(seed)
    row = await sold(shop)
    await shop.die()
    play = Play(shop, row)

    for _ in range(80):
        before = await play.find()
        await getattr(play, chance.choice(EVENTS))()
        await play.check()
        play.stale = before
        shop.parts.db.shift_seconds += chance.choice([1, 59, 61, 700, 1789, 1891, 4000])

    assert play.idle_pauses > 2


async def test_a_use_since_the_row_was_read_keeps_it_running(either_shop: Installation) -> None:
    row = await sold(either_shop)
    either_shop.pass_time(3600)
    used = await either_shop.leases.note_use(row)

    is_paused = await either_shop.parts.lease_reconciler.idle.pauses.pause_idle(row)

    assert not is_paused
    assert await either_shop.leases.find(row.lease_id) == used


async def test_a_use_that_comes_too_late_finds_it_paused_and_wakes_it(
    either_shop: Installation,
) -> None:
    row = await sold(either_shop, wake_on=("command",))
    either_shop.pass_time(3600)
    assert await either_shop.parts.lease_reconciler.idle.pauses.pause_idle(row)

    used = await either_shop.leases.wake_for(row, power.Use.COMMAND)
    await either_shop.settled_down()

    now = await either_shop.leases.find(row.lease_id)
    assert used.is_to_run
    assert (now.paused_at, now.pause_asked_at, now.wanted) == (None, None, power.Wanted.RUNNING)


@pytest.mark.postgres
@pytest.mark.parametrize("first", ["use", "pause"])
async def test_of_a_use_and_a_pause_at_once_the_later_sees_the_earlier(
    migrated_url: str, world: World, pausing_catalogue: Path, first: str
) -> None:
    url = migrated_url.replace("postgresql+asyncpg://", "postgresql://")
    async with running(url, *world, pve402_catalogue=pausing_catalogue) as shop:
        row = await sold(shop)
        await shop.die()
        shop.pass_time(3600)
        db, pauses = shop.parts.db, shop.parts.lease_reconciler.idle.pauses

        async with db.begin() as tx:
            if first == "use":
                await moves.note_use(db, tx, row)
                second = pauses.pause_idle(row)
            else:
                await moves.pause_idle(db, tx, row)
                second = shop.leases.note_use(row)
            waiting: asyncio.Future[Any] = asyncio.ensure_future(second)
            await until_somebody_waits(tx)
        came_second = await waiting

        now = await shop.leases.find(row.lease_id)
        if first == "use":
            assert came_second is False
            assert now.is_to_run
        else:
            assert came_second.is_paused
            assert now.pause_asked_at is not None


POINTS = [
    *("begin 1", "single 1", "begin 2"),
    *(r"POST .*/status/shutdown$ 1", r"PUT .*/config$ 1"),
]


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("point", POINTS)
async def test_an_idle_pause_survives_a_crash(
    tmp_path: Path,
    world: World,
    pausing_catalogue: Path,
    quiet_figures: Figures,
    point: str,
    when: str,
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *world, pve402_catalogue=pausing_catalogue) as first:
        quiet_figures.of(first)
        row = await sold(first, minutes=600)
        first.pass_time(3600)
        idle = first.parts.lease_reconciler.idle
        await die_at(first, point, when, idle.pauses.pause_idle(row))
        shift = first.parts.db.shift_seconds

    async with running(url, *world, pve402_catalogue=pausing_catalogue) as second:
        second.parts.db.shift_seconds = shift
        await come_round(second)
        now = await second.leases.find(row.lease_id)

        assert second.runs(now.vmid) is now.is_to_run is (now.paused_at is None)
        assert row.expires_at is not None
        assert now.expires_at is not None
        since = now.paused_at or now.expires_at
        slept = now.expires_at - since
        assert timedelta(0) <= row.expires_at + slept - slept / SLOWER - now.expires_at < MS
