"""Money that the operator pays back is neither delivered nor redeemed meanwhile."""

from __future__ import annotations

import asyncio

import pytest
from tests.integration.leases.test_debts import redeem
from tests.integration.ops.test_ops import Screen
from tests.support import contract_payers, debts
from tests.support.installation import PAY_TO, Installation, creation

from pve402.domain import errors, lease, order
from pve402.domain.owed import OwedReason, OwedStatus
from pve402.ops import history, owed


async def reserved(shop: Installation, name: str) -> tuple[int, str]:
    """Reserve; return the exit code and what was printed."""
    screen = Screen()
    code = await owed.reserve(shop.parts, screen.console, name=name)
    await shop.settled_down()
    return code, screen.text


async def tried(shop: Installation) -> order.Order:
    """A paid order whose guest does not start."""
    shop.fail_call(debts.START, times=10_000)
    await shop.leases.create(creation(), contract_payers.bought_by_new(shop, wait_seconds=0.0))
    await shop.until(lambda row: row.status is lease.LeaseStatus.STARTING)
    (row,) = await shop.orders_now()
    return row


async def test_a_paid_order_that_is_still_tried_becomes_a_reserved_debt(
    installation: Installation,
) -> None:
    shop = installation
    row = await tried(shop)
    debts.mine(shop)

    code, text = await reserved(shop, row.order_id)

    (debt,), (closed,) = await debts.debts_of(shop), await shop.orders_now()
    assert (code, debt.owed_id in text, row.payer in text) == (0, True, True)
    assert (debt.reason, debt.status) == (OwedReason.UNDELIVERED, OwedStatus.PAYING_BACK)
    assert (debt.left_atomic, closed.status) == (shop.earned, order.OrderStatus.OWED)
    shop.pass_time(120)
    await shop.settled_down()
    assert shop.marked_guests == set()
    assert {row.status for row in await shop.leases_now()} == {lease.LeaseStatus.FAILED}


async def test_an_order_whose_transfer_is_not_deep_yet_is_tried_on(
    installation: Installation,
) -> None:
    shop = installation
    row = await tried(shop)

    code, _ = await reserved(shop, row.order_id)

    (still,) = await shop.orders_now()
    assert (code, still.is_open, still.due_at is not None) == (1, True, True)
    assert await debts.debts_of(shop) == []


async def test_a_reserved_debt_is_not_redeemed_until_it_is_released(
    installation: Installation,
) -> None:
    shop, key = installation, installation.tenant()
    debt = await debts.owing(shop, key)
    first, second = await reserved(shop, debt.owed_id), await reserved(shop, debt.owed_id)
    with pytest.raises(errors.OwedBusy, match="paying this money back"):
        await redeem(shop, key, debt)

    code = await owed.release(shop.parts, Screen().console, owed_id=debt.owed_id)
    again = await owed.release(shop.parts, Screen().console, owed_id=debt.owed_id)

    answer = await redeem(shop, key, debt)
    assert (first[0], second[0], code, again) == (0, 0, 0, 1)
    assert answer.lease.status is lease.LeaseStatus.ACTIVE


async def test_a_redemption_in_progress_is_stopped(installation: Installation) -> None:
    shop, key = installation, installation.tenant()
    debt = await debts.owing(shop, key)
    shop.fail_call(debts.START, times=10_000)
    asking = asyncio.ensure_future(redeem(shop, key, debt))
    await shop.until(lambda row: row.status is lease.LeaseStatus.STARTING)

    code, _ = await reserved(shop, debt.owed_id)

    with pytest.raises(errors.ProvisioningFailed, match="is owed as before"):
        await asking
    (now,) = await debts.debts_of(shop)
    assert (code, now.left_atomic, now.status) == (0, debt.left_atomic, OwedStatus.PAYING_BACK)
    assert {row.is_open for row in await shop.orders_now()} == {False}


async def test_a_transfer_closes_a_reserved_debt(installation: Installation) -> None:
    shop, key = installation, installation.tenant()
    debt = await debts.owing(shop, key)
    await reserved(shop, debt.owed_id)
    paid = await debts.transfer(shop, shop.tenant(), debt.payer, debt.left_atomic)
    debts.mine(shop)

    code = await owed.close(shop.parts, Screen().console, transaction=paid)

    told = Screen()
    await history.show(shop.parts, told.console, subject=debt.order_id)
    assert code == 0
    assert f"paid back: {paid}" in told.text
    assert "is owed: paid_after_refusal" in told.text
    assert await reserved(shop, debt.owed_id) == (1, "")


async def test_a_repayment_stops_a_redemption_that_it_meets(installation: Installation) -> None:
    shop, key = installation, installation.tenant()
    debt = await debts.owing(shop, key)
    shop.fail_call(debts.START, times=10_000)
    asking = asyncio.ensure_future(redeem(shop, key, debt))
    await shop.until(lambda row: row.status is lease.LeaseStatus.STARTING)
    paid = await debts.transfer(shop, shop.tenant(), debt.payer, debt.left_atomic)
    debts.mine(shop)

    code = await owed.close(shop.parts, Screen().console, transaction=paid)

    with pytest.raises(errors.ProvisioningFailed):
        await asking
    (now,) = await debts.debts_of(shop)
    assert (code, now.paid_transaction, now.closed_at is None) == (0, paid, False)
    await shop.settled_down()
    assert shop.marked_guests == set()


@pytest.mark.parametrize("kind", ["too little", "of somebody else", "used before"])
async def test_what_pays_nothing_back_stops_no_redemption(
    installation: Installation, kind: str
) -> None:
    shop, key = installation, installation.tenant()
    debt = await debts.owing(shop, key)
    if kind == "used before":
        other, debt = debt, await debts.owing(shop, key)
    amount = debt.left_atomic - (kind == "too little")
    recipient = PAY_TO if kind == "of somebody else" else debt.payer
    paid = await debts.transfer(shop, shop.tenant(), recipient, amount)
    debts.mine(shop)
    if kind == "used before":
        await owed.close(shop.parts, Screen().console, transaction=paid, owed_id=other.owed_id)
    shop.fail_call(debts.START, times=10_000)
    asking = asyncio.ensure_future(redeem(shop, key, debt))
    await shop.until(lambda row: row.status is lease.LeaseStatus.STARTING)

    code = await owed.close(shop.parts, Screen().console, transaction=paid)

    assert code == 1
    assert (await debts.debts_of(shop))[-1].status is OwedStatus.REDEEMING
    asking.cancel()


async def test_a_repayment_that_comes_too_late_is_told_so(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    shop, key = installation, installation.tenant()
    debt = await debts.owing(shop, key)
    await redeem(shop, key, debt)
    paid = await debts.transfer(shop, shop.tenant(), debt.payer, debt.left_atomic)
    debts.mine(shop)

    code = await owed.close(shop.parts, Screen().console, transaction=paid)

    assert code == 1
    assert f"{debt.owed_id}: containers were leased for all of it" in capsys.readouterr().err


async def test_what_a_wallet_got_twice_is_told(installation: Installation) -> None:
    shop, key = installation, installation.tenant()
    debt = await debts.owing(shop, key, creation(minutes=120))
    await redeem(shop, key, debt)
    (left,) = await debts.debts_of(shop)
    paid = await debts.transfer(shop, shop.tenant(), debt.payer, debt.left_atomic)
    debts.mine(shop)
    screen = Screen()

    code = await owed.close(shop.parts, screen.console, transaction=paid)

    assert (code, 0 < left.left_atomic < debt.left_atomic) == (0, True)
    assert f"{debt.payer} got" in screen.text.replace("\n", " ")
    assert "more than was still owed" in screen.text.replace("\n", " ")


@pytest.mark.parametrize("is_delivered", [False, True])
async def test_what_is_not_owed_is_not_reserved(
    installation: Installation, is_delivered: bool
) -> None:
    shop, wish = installation, creation()
    if is_delivered:
        name = (await shop.leases.create(wish, shop.buy(shop.tenant(), wish))).order.order_id
    else:
        name = "o" + "0" * 30

    assert (await reserved(shop, name))[0] == 1
    assert await debts.debts_of(shop) == []
