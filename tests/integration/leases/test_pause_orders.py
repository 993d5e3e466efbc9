"""Renewals, lost payments, pauses, wakes and held time in any order, on real rows.

A witness burns by the millisecond what the rates say, and knows neither meters nor moves.
"""

import dataclasses
import random
from datetime import datetime, timedelta

import pytest
from tests.support.installation import Installation
from tests.support.pausing import SLOWER, metered, pausing_catalogue, shop

from pve402.domain import lease, order, power
from pve402.leases import moves

__all__ = ["pausing_catalogue", "shop"]

MS = timedelta(milliseconds=1)
EVENTS = ["renew", "lose", "pause", "pause", "wake", "suspend", "resume"]
STEPS = 40


class Witness:
    """What is left, in tenths of a millisecond at the full rate, since a moment."""

    def __init__(self, row: lease.Lease) -> None:
        assert row.expires_at is not None
        self.since = metered(row).metered_at
        self.left = (row.expires_at - self.since) // MS * SLOWER
        self.slow_until: datetime | None = None
        self.is_held = False

    def pass_to(self, moment: datetime) -> None:
        """Burn until the millisecond that a moment is in."""
        moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
        passed = (moment - self.since) // MS
        if self.is_held:
            self.slow_until = self.slow_until and self.slow_until + (moment - self.since)
        else:
            slow = 0
            if self.slow_until is not None:
                slow = min(passed, max(0, (self.slow_until - self.since) // MS))
            self.left -= slow + (passed - slow) * SLOWER
        self.since = moment


class Play:
    """A lease without a worker, and moves of it."""

    def __init__(self, shop: Installation, row: lease.Lease, paid: order.Order) -> None:
        self.db = shop.parts.db
        self.row = row
        self.paid = paid
        self.witness = Witness(row)
        self.renewals: list[int] = []

    async def happens(self, event: str, minutes: int) -> None:
        """Let something happen, if it can now; what cannot changes nothing."""
        is_suspended, is_paused = self.row.suspension is not None, self.row.paused_at is not None
        able = {
            "renew": not is_suspended,
            "lose": bool(self.renewals),
            "pause": not is_suspended and not is_paused,
            "wake": not is_suspended and is_paused,
            "suspend": not is_suspended,
            "resume": is_suspended,
        }
        if able[event]:
            await getattr(self, event)(minutes)

    async def renew(self, minutes: int) -> None:
        """Buy minutes."""
        async with self.db.begin() as tx:
            moment = await self.db.time_in(tx)
            self.row = await moves.extend(tx, self.row, minutes, moment)
        self.witness.left += minutes * 60_000 * SLOWER
        self.renewals.append(minutes)

    async def lose(self, _minutes: int) -> None:
        """Lose the payment of a renewal."""
        lost = dataclasses.replace(self.paid, minutes=self.renewals.pop(0), credit=None)
        async with self.db.begin() as tx:
            self.row = await moves.take_minutes_back(self.db, tx, self.row, lost, "lost")
        self.witness.left -= lost.minutes * 60_000 * SLOWER

    async def pause(self, _minutes: int) -> None:
        """Ask for a pause, and see the guest down."""
        async with self.db.begin() as tx:
            asked = await moves.ask_pause(self.db, tx, self.row, power.WantedBy.TENANT)
            longest = power.LONGEST_PAUSE
            self.row = await moves.begin_pause(self.db, tx, asked, longest)
        assert self.row.paused_at is not None
        self.witness.pass_to(self.row.paused_at)
        self.witness.slow_until = self.row.paused_at + power.LONGEST_PAUSE

    async def wake(self, _minutes: int) -> None:
        """Wake it."""
        by = power.WantedBy.TENANT
        async with self.db.begin() as tx:
            self.row = await moves.wake_paused(self.db, tx, self.row, by, first_of_hour=False)
        self.witness.pass_to(metered(self.row).metered_at)
        self.witness.slow_until = None

    async def suspend(self, minutes: int) -> None:
        """Suspend it; every other time its time is held."""
        held = minutes % 2 == 0
        async with self.db.begin() as tx:
            self.row = await moves.suspend(self.db, tx, self.row, "abuse", time_held=held)
        if held:
            self.witness.pass_to(metered(self.row).metered_at)
            self.witness.is_held = True

    async def resume(self, _minutes: int) -> None:
        """Resume it."""
        async with self.db.begin() as tx:
            self.row = await moves.resume(self.db, tx, self.row)
        if self.witness.is_held:
            self.witness.pass_to(metered(self.row).metered_at)
            self.witness.is_held = False

    async def check(self) -> None:
        """Compare what is left and when it ends."""
        now = self.witness.since if self.witness.is_held else await self.db.time()
        self.witness.pass_to(now)
        found = metered(self.row).at(now)
        assert found.balance * SLOWER == self.witness.left * found.burn
        assert self.row.expires_at == metered(self.row).ends_at


@pytest.mark.parametrize("seed", range(4))
async def test_no_order_of_moves_makes_or_loses_a_unit(shop: Installation, seed: int) -> None:
    chance = random.Random(seed)
    row = (await shop.lease(shop.tenant(10**9), minutes=20 * 1440)).lease
    (paid,) = await shop.orders_now()
    await shop.die()
    play = Play(shop, row, paid)

    for _ in range(STEPS):
        await play.happens(chance.choice(EVENTS), chance.randint(1, 600))
        await play.check()
        shop.parts.db.shift_seconds += chance.choice([0.001, 7, 3600, 40_000])

    assert play.row.status is lease.LeaseStatus.ACTIVE
    assert play.row.wakes > 0
