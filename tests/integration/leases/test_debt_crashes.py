"""A process that dies while it writes, redeems or gives back a debt: nothing is lost or doubled."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.integration.leases.test_crashes import died_at
from tests.integration.leases.test_debts import redeem
from tests.support import contract_payers, debts
from tests.support.installation import Installation, World, creation, running

from pve402.domain import errors, lease, order, owed

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


async def go_to_the_end(shop: Installation, step_seconds: float = 20) -> None:
    """Let the dead process's time limits run out and everything come to its end."""
    for _ in range(8):
        shop.pass_time(step_seconds)
        await shop.settled_down()


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
        await go_to_the_end(second)
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
        await first.leases.create(
            creation(), contract_payers.bought_by_new(first, wait_seconds=0.0)
        )
        await first.until(lambda row: row.status is lease.LeaseStatus.STARTING)
        debts.mine(first)
        await first.settled_down()
        first.parts.db.shift_seconds += 2 * DAY
        await died_at(first, point, when, passing(first, 1000))
        passed = first.parts.db.shift_seconds

    async with running(url, *world) as second:
        second.parts.db.shift_seconds += passed
        await go_to_the_end(second, 700)
        (debt,), (paid,) = await debts.debts_of(second), await second.orders_now()

        assert (debt.reason, debt.left_atomic) == (owed.OwedReason.UNDELIVERED, second.earned)
        assert (paid.status, paid.due_at) == (order.OrderStatus.OWED, None)
        assert second.marked_guests == set()


@pytest.mark.parametrize("when", WHEN)
async def test_an_order_whose_reservation_dies_is_tried_on_or_owed(
    tmp_path: Path, world: World, when: str
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *world) as first:
        first.fail_call(debts.START, times=10_000)
        purchase = contract_payers.bought_by_new(first, wait_seconds=0.0)
        await first.leases.create(creation(), purchase)
        await first.until(lambda row: row.status is lease.LeaseStatus.STARTING)
        debts.mine(first)
        (tried,) = await first.orders_now()
        reserving = first.parts.withdrawal.reserve(tried.order_id)
        await died_at(first, ("debts", "owe"), when, reserving)

    async with running(url, *world) as second:
        await go_to_the_end(second)
        found = [debt.status for debt in await debts.debts_of(second)]
        (paid,) = await second.orders_now()

        is_owed = when == "after"
        assert found == ([owed.OwedStatus.PAYING_BACK] if is_owed else [])
        assert (paid.is_open, paid.due_at is not None) == (not is_owed, not is_owed)


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
        await go_to_the_end(second)
        (now,) = await debts.debts_of(second)
        made = [row for row in await second.leases_now() if row.handed_over]
        (redeemed,) = [row for row in await second.orders_now() if row.owed_id is not None]

        assert [row.status for row in made] == [lease.LeaseStatus.ACTIVE]
        assert second.runs(made[0].vmid)
        assert redeemed.status is order.OrderStatus.SETTLED
        assert now.left_atomic == debt.amount_atomic - redeemed.amount_atomic
        assert now.holder_order_id is None
        assert second.marked_guests == {made[0].vmid}
