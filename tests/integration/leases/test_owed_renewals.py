"""A paid renewal whose guest does not start is owed after a day, and is never extended as well."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from tests.integration.leases.test_crashes import died_at
from tests.integration.leases.test_debt_crashes import go_to_the_end, passing
from tests.integration.leases.test_debts import DAY, until_owed
from tests.support import contract_payers, debts
from tests.support.installation import Installation, World, creation, running

from pve402.domain import account, errors, lease, order, owed
from pve402.leases import service, withdrawal
from pve402.storage import order_rows, queue
from pve402_devnet.facilitator import Endpoint, Fault, FaultKind

WHEN = ["before", "after"]
OWING = [
    ("settler", "settle"),
    ("deals", "note_paid"),
    ("guests", "start"),
    ("deals", "reopen"),
    ("debts", "owe"),
]
DELIVERING = [("deals", "note_paid"), ("guests", "start"), ("deals", "extend")]


async def in_grace(shop: Installation) -> lease.Lease:
    """A lease whose time is over."""
    await shop.lease(minutes=10)
    shop.pass_time(700)
    return await shop.until_status(lease.LeaseStatus.STOPPED)


async def renew(shop: Installation, row: lease.Lease, paying: service.Purchase) -> None:
    holder = service.Caller(owner=row.owner, lease_id=row.lease_id)
    await shop.leases.renew(row, 30, paying, holder)


async def renewal_of(shop: Installation) -> order.Order:
    """The order of the renewal."""
    rows = [row for row in await shop.orders_now() if row.kind is order.OrderKind.RENEWAL]
    return rows[0]


async def until_paid(shop: Installation) -> order.Order:
    """Let time pass until the renewal is known to be paid."""
    for _ in range(100):
        paid = await renewal_of(shop)
        if paid.is_paid:
            return paid
        shop.pass_time(2)
        await shop.settled_down()
    raise TimeoutError(paid.last_error)


async def paid_in_vain(shop: Installation) -> tuple[lease.Lease, service.Purchase]:
    """A lease in grace, and its renewal by a contract; the guest does not start."""
    row = await in_grace(shop)
    shop.fail_call(debts.START, times=100_000)
    paying = contract_payers.renewed_by_new(shop, row, 30, wait_seconds=0.0)
    await renew(shop, row, paying)
    await until_paid(shop)
    await shop.settled_down()  # the worker notes the payment and goes on with the row
    return row, paying


async def check_owed_once(shop: Installation, row: lease.Lease, earned: int) -> owed.Owed:
    """Nothing but a debt came of it, of all that was paid, and the lease is free."""
    (debt,) = await debts.debts_of(shop)
    paid = await renewal_of(shop)
    (now,) = [one for one in await shop.leases_now() if one.lease_id == row.lease_id]
    assert (debt.reason, debt.left_atomic) == (owed.OwedReason.UNDELIVERED, paid.amount_atomic)
    assert (debt.order_id, shop.earned - earned) == (paid.order_id, paid.amount_atomic)
    assert (paid.status, paid.due_at) == (order.OrderStatus.OWED, None)
    assert (now.hold_order_id, now.expires_at) == (None, row.expires_at)
    return debt


async def test_a_paid_renewal_whose_guest_does_not_start_is_owed_and_redeemed(
    installation: Installation,
) -> None:
    shop = installation
    row, paying = await paid_in_vain(shop)
    earned = shop.earned - paying.payment.amount_atomic
    contract = service.Caller(owner=paying.owner, how="wallet")
    (tried,) = (await shop.parts.redeeming.list_of(contract)).undelivered
    with pytest.raises(errors.DeliveryPending):
        await renew(shop, row, dataclasses.replace(paying, wait_seconds=0.01))
    debts.mine(shop)

    debt = await until_owed(shop, DAY / 12)
    await shop.settled_down()

    assert tried.order.order_id == debt.order_id
    assert debt.since == tried.order.settled_at
    await check_owed_once(shop, row, earned)
    with pytest.raises(errors.PaymentOwed, match=debt.owed_id):
        await renew(shop, row, paying)
    shop.proxmox.world.faults.clear()
    asked = {"idempotency_key": None, "client_address": None, "wait_seconds": 20.0}
    answer = await shop.parts.redeeming.redeem(
        contract, debt.owed_id, creation(minutes=20), **asked
    )
    assert answer.lease.status is lease.LeaseStatus.ACTIVE
    assert answer.lease.owner == account.account(debt.network, debt.payer)
    (spent,) = await debts.debts_of(shop)
    assert spent.left_atomic == debt.left_atomic - answer.order.amount_atomic
    assert shop.earned - earned == debt.amount_atomic


async def test_a_renewal_that_settled_slowly_and_does_not_start_again_is_owed(
    installation: Installation,
) -> None:
    shop, tenant = installation, installation.tenant()
    row = (await shop.lease(tenant, minutes=10)).lease
    shop.pass_time(700)
    row = await shop.until_status(lease.LeaseStatus.STOPPED)
    earned = shop.earned
    unknown = Fault(kind=FaultKind.PENDING_LOST, endpoint=Endpoint.SETTLE, times=None)
    shop.facilitator.faults.add(unknown)
    await shop.leases.renew(row, 30, shop.renewal(tenant, row, 30, wait_seconds=0.0))
    await shop.until(lambda row: shop.runs(row.vmid))
    await shop.settled_down()
    shop.pass_time(61)
    await shop.settled_down()
    stopped = not shop.runs(row.vmid)
    shop.fail_call(debts.START, times=100_000)
    shop.facilitator.faults.clear()

    await until_paid(shop)
    debts.mine(shop)
    await until_owed(shop, DAY / 12)
    await shop.settled_down()

    assert stopped
    await check_owed_once(shop, row, earned)


async def test_a_paid_renewal_that_is_still_tried_is_reserved(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = installation
    row, paying = await paid_in_vain(shop)
    earned = shop.earned - paying.payment.amount_atomic
    debts.mine(shop)
    tried = await renewal_of(shop)
    honest, quicker = order_rows.take_over, iter([True] * 7)

    async def take_over(*asked: Any) -> order.Order:
        if next(quicker, False):  # its worker was quicker
            raise queue.FenceLostError
        return await honest(*asked)

    monkeypatch.setattr(order_rows, "take_over", take_over)
    with pytest.raises(withdrawal.NotWithdrawn, match="changes all the time"):
        await shop.parts.withdrawal.reserve(tried.order_id)
    debt = await shop.parts.withdrawal.reserve(tried.order_id)

    assert debt.status is owed.OwedStatus.PAYING_BACK
    await check_owed_once(shop, row, earned)
    shop.proxmox.world.faults.clear()
    await go_to_the_end(shop)
    await check_owed_once(shop, row, earned)
    assert not shop.runs(row.vmid)


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("point", OWING, ids=".".join)
async def test_a_paid_renewal_is_owed_once_though_the_worker_dies(
    tmp_path: Path, world: World, point: tuple[str, str], when: str
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *world) as first:
        row = await in_grace(first)
        earned = first.earned
        first.fail_call(debts.START, times=100_000)
        paying = contract_payers.renewed_by_new(first, row, 30, wait_seconds=0.0)
        if point[0] == "debts" or point[1] == "reopen":
            await renew(first, row, paying)
            await until_paid(first)
            debts.mine(first)
            await died_at(first, point, when, passing(first, DAY / 2))
        else:
            await died_at(first, point, when, renew(first, row, paying))
        passed = first.parts.db.shift_seconds

    async with running(url, *world) as second:
        second.parts.db.shift_seconds += passed
        await go_to_the_end(second)
        debts.mine(second)
        second.pass_time(DAY + 600)
        await go_to_the_end(second, 120)

        await check_owed_once(second, row, earned)


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("point", DELIVERING, ids=".".join)
async def test_a_paid_renewal_is_extended_once_though_the_worker_dies(
    tmp_path: Path, world: World, point: tuple[str, str], when: str
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *world) as first:
        row = await in_grace(first)
        earned = first.earned
        paying = contract_payers.renewed_by_new(first, row, 30, wait_seconds=0.0)
        await died_at(first, point, when, renew(first, row, paying))
        passed = first.parts.db.shift_seconds

    async with running(url, *world) as second:
        second.parts.db.shift_seconds += passed
        await go_to_the_end(second)
        (now,) = await second.leases_now()
        paid = await renewal_of(second)

        assert (now.status, now.hold_order_id) == (lease.LeaseStatus.ACTIVE, None)
        assert (paid.status, paid.expires_at) == (order.OrderStatus.SETTLED, now.expires_at)
        assert second.runs(row.vmid)
        assert second.earned - earned == paying.payment.amount_atomic
        assert await debts.debts_of(second) == []
