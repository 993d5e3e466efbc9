"""A process that dies while it writes, redeems or gives back a debt: nothing is lost or doubled."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.integration.leases.test_crashes import World, hang_at, world
from tests.integration.leases.test_debts import redeem, wallet_payment
from tests.support import debts
from tests.support.installation import Installation, creation, running

from pve402.domain import errors, lease, order, owed

__all__ = ["world"]

DAY = 86_400
WHEN = ["before", "after"]
WATCHING = [("settler", "watch"), ("deals", "write_order")]
OWING = [("settler", "recheck"), ("deals", "reopen"), ("debts", "owe")]
REDEEMING = [
    ("deals", "advance"),
    ("guests", "create"),
    ("tasks", "wait_until_finished"),
    ("guests", "start"),
    ("deals", "activate"),
]


async def come_round(shop: Installation, step_seconds: float = 20) -> None:
    """Let the dead process's time limits run out and everything come to its end."""
    for _ in range(8):
        shop.pass_time(step_seconds)
        await shop.settled_down()


async def died_at(shop: Installation, point: tuple[str, str], when: str, then: Any) -> None:
    """Let things go on until a crash point is reached, and die there."""
    reached = hang_at(shop, point, when)
    asking = asyncio.ensure_future(then)
    await asyncio.wait_for(reached.wait(), 20)
    await shop.die()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


async def passing(shop: Installation, seconds: float) -> None:
    """Let time pass for ever."""
    while True:
        shop.pass_time(seconds)
        await asyncio.sleep(0.2)


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("point", WATCHING, ids=".".join)
async def test_a_late_transfer_is_owed_once_though_the_watch_dies(
    tmp_path: Path, world: World, point: tuple[str, str], when: str
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    wish = creation()
    async with running(url, *world) as first:
        purchase = first.buy(first.tenant(), wish)
        first.fail_call(debts.START, times=1)
        with pytest.raises(errors.ProvisioningFailed):
            await first.leases.create(wish, purchase)
        await first.settled_down()
        await debts.submit(first, purchase)
        debts.mine(first)
        await died_at(first, point, when, passing(first, 15))

    async with running(url, *world) as second:
        await come_round(second)
        (debt,), (paid,) = await debts.debts_of(second), await second.orders_now()

        assert (debt.reason, debt.left_atomic) == (owed.OwedReason.PAID_LATE, second.earned)
        assert (paid.status, paid.due_at) == (order.OrderStatus.OWED, None)


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("point", OWING, ids=".".join)
async def test_what_cannot_be_delivered_is_owed_once_though_the_worker_dies(
    tmp_path: Path, world: World, point: tuple[str, str], when: str
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *world) as first:
        first.fail_call(debts.START, times=10_000)
        await first.leases.create(creation(), wallet_payment(first, wait_seconds=0.0))
        await first.until(lambda row: row.status is lease.LeaseStatus.STARTING)
        debts.mine(first)
        await first.settled_down()
        first.parts.db.shift_seconds += 2 * DAY
        await died_at(first, point, when, passing(first, 1000))
        passed = first.parts.db.shift_seconds

    async with running(url, *world) as second:
        second.parts.db.shift_seconds += passed
        await come_round(second, 700)
        (debt,), (paid,) = await debts.debts_of(second), await second.orders_now()

        assert (debt.reason, debt.left_atomic) == (owed.OwedReason.UNDELIVERED, second.earned)
        assert (paid.status, paid.due_at) == (order.OrderStatus.OWED, None)
        assert second.marked_guests == set()


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("point", REDEEMING, ids=".".join)
async def test_a_redemption_survives_a_crash(
    tmp_path: Path, world: World, point: tuple[str, str], when: str
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *world) as first:
        key = first.tenant()
        debt = await debts.owing(first, key)
        await died_at(first, point, when, redeem(first, key, debt, minutes=20))

    async with running(url, *world) as second:
        await come_round(second)
        (now,) = await debts.debts_of(second)
        made = [row for row in await second.leases_now() if row.handed_over]
        (redeemed,) = [row for row in await second.orders_now() if row.owed_id is not None]

        assert [row.status for row in made] == [lease.LeaseStatus.ACTIVE]
        assert second.runs(made[0].vmid)
        assert redeemed.status is order.OrderStatus.SETTLED
        assert now.left_atomic == debt.amount_atomic - redeemed.amount_atomic
        assert now.holder_order_id is None
        assert second.marked_guests == {made[0].vmid}
