"""Money that bought nothing: it is owed, redeemed for leases, or paid back."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from eth_account.signers.local import LocalAccount
from tests.support import contract_payers
from tests.support.debts import START, debts_of, mine, owing, wallet
from tests.support.installation import (
    NETWORK,
    Installation,
    World,
    creation,
    owner_of,
    running,
    simulated_proxmox,
)

from pve402.domain import account, errors, lease, order, owed
from pve402.leases import outcome, service
from pve402.payments import settlement
from pve402.storage import owed_rows, tables
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator
from pve402_devnet.pve.faults import FaultKind
from pve402_devnet.pve.simulator import SimulatedProxmox

DAY = 86_400


async def orders_by_status(shop: Installation, status: order.OrderStatus) -> list[order.Order]:
    return [row for row in await shop.orders_now() if row.status is status]


async def until_owed(shop: Installation, seconds: float) -> owed.Owed:
    """Pass time until something is owed."""
    for _ in range(400):
        if found := await debts_of(shop):
            return found[-1]
        shop.pass_time(seconds)
        await shop.settled_down()
    raise TimeoutError([row.last_error for row in await shop.orders_now()])


async def redeem(
    shop: Installation,
    key: LocalAccount,
    debt: owed.Owed,
    wait_seconds: float = 20.0,
    **changes: Any,
) -> outcome.Answer:
    asked = creation(**changes)
    return await shop.parts.redeeming.redeem(
        wallet(key),
        debt.owed_id,
        asked,
        idempotency_key=None,
        client_address=None,
        wait_seconds=wait_seconds,
    )


async def test_what_is_paid_and_cannot_be_delivered_for_a_day_is_owed(
    installation: Installation,
) -> None:
    shop = installation
    shop.fail_call(START, times=10_000)
    purchase = contract_payers.bought_by_new(shop, wait_seconds=0.0)
    await shop.leases.create(creation(), purchase)
    await shop.until(lambda row: row.status is lease.LeaseStatus.STARTING)
    waiting = dataclasses.replace(purchase, wait_seconds=0.01)
    with pytest.raises(errors.DeliveryPending):
        await shop.leases.create(creation(), waiting)
    mine(shop)

    debt = await until_owed(shop, DAY / 12)
    await shop.settled_down()

    (paid,) = await shop.orders_now()
    assert (debt.reason, debt.left_atomic) == (owed.OwedReason.UNDELIVERED, shop.earned)
    assert debt.since == paid.settled_at
    assert debt.tries == paid.tries > 1
    assert (paid.status, paid.is_open, paid.sealed_payment) == (order.OrderStatus.OWED, False, None)
    with pytest.raises(errors.PaymentOwed, match=debt.owed_id):
        await shop.leases.create(creation(), waiting)
    shop.pass_time(120)
    await shop.settled_down()
    assert shop.marked_guests == set()
    assert {row.status for row in await shop.leases_now()} == {lease.LeaseStatus.FAILED}


async def test_nothing_is_owed_before_a_day_is_over_or_where_the_transfer_is_not_deep(
    installation: Installation,
) -> None:
    shop = installation
    shop.fail_call(START, times=10_000)
    await shop.leases.create(creation(), contract_payers.bought_by_new(shop, wait_seconds=0.0))
    await shop.until(lambda row: row.status is lease.LeaseStatus.STARTING)
    mine(shop, 2)
    for _ in range(10):
        shop.pass_time(DAY / 10 - 20)
        await shop.settled_down()
    before = await debts_of(shop)
    shop.pass_time(DAY)
    await shop.settled_down()
    shallow = await debts_of(shop)
    shop.chain.rpc("devnet_reorg", 5)
    past = int((await shop.orders_now())[0].valid_before.timestamp()) + 10
    shop.chain.rpc("evm_setNextBlockTimestamp", past)
    mine(shop)
    shop.pass_time(DAY)
    await shop.settled_down()

    (lost,) = await shop.orders_now()
    assert (before, shallow, await debts_of(shop)) == ([], [], [])
    assert (lost.status, lost.refusal) == (order.OrderStatus.REFUSED, "payment_reverted")
    assert shop.earned == 0


async def test_a_transfer_that_lands_after_its_order_was_refused_is_owed(
    installation: Installation,
) -> None:
    key = installation.tenant()

    debt = await owing(installation, key)

    (paid,) = await installation.orders_now()
    assert (debt.reason, debt.left_atomic) == (owed.OwedReason.PAID_LATE, installation.earned)
    assert (paid.status, paid.transaction) == (order.OrderStatus.OWED, debt.transaction)
    assert (paid.due_at, paid.sealed_payment) == (None, None)


async def test_a_refused_order_is_watched_until_its_payment_is_past_and_no_longer(
    installation: Installation,
) -> None:
    shop = installation
    shop.fail_call(START, times=1)
    with pytest.raises(errors.ProvisioningFailed):
        await shop.lease()
    await shop.settled_down()
    (watched,) = await shop.orders_now()
    shop.chain.rpc("evm_setNextBlockTimestamp", int(watched.valid_before.timestamp()) + 5)
    mine(shop, 2)
    shop.pass_time(100)
    await shop.settled_down()
    (shallow,) = await shop.orders_now()
    mine(shop)
    shop.pass_time(100)
    await shop.settled_down()
    (over,) = await shop.orders_now()

    assert watched.sealed_payment is not None
    assert shallow.due_at is not None
    assert (over.due_at, over.sealed_payment, over.status) == (
        None,
        None,
        order.OrderStatus.REFUSED,
    )
    assert await debts_of(shop) == []


async def test_a_transfer_after_the_refusal_that_a_reorganisation_drops_is_not_owed(
    installation: Installation,
) -> None:
    shop = installation
    shop.fail_call(START, times=1)
    wish, key = creation(), shop.tenant()
    purchase = shop.buy(key, wish)
    with pytest.raises(errors.ProvisioningFailed):
        await shop.leases.create(wish, purchase)
    await shop.parts.settler.facilitator_of(NETWORK).settle(purchase.payment, purchase.requirements)
    shop.pass_time(30)
    await shop.settled_down()
    shop.chain.rpc("devnet_reorg", 1)
    mine(shop)
    shop.pass_time(60)
    await shop.settled_down()

    assert await debts_of(shop) == []


async def test_what_is_owed_is_redeemed_in_parts(installation: Installation) -> None:
    shop, key = installation, installation.tenant()
    debt = await owing(shop, key, creation(minutes=60))
    earned = shop.earned
    half = shop.price_of(creation(minutes=30))

    first = await redeem(shop, key, debt, minutes=30)
    (rest,) = (await shop.parts.redeeming.list_of(wallet(key))).debts
    with pytest.raises(errors.OwedTooLittle):
        await redeem(shop, key, debt, minutes=31)
    second = await redeem(shop, key, debt, minutes=5)

    assert first.lease.status is second.lease.status is lease.LeaseStatus.ACTIVE
    assert first.lease.lease_id != second.lease.lease_id
    assert shop.runs(first.lease.vmid)
    assert first.access_token is not None
    assert first.lease.owner == owner_of(key)
    assert rest.left_atomic == debt.amount_atomic - half
    assert first.order.amount_atomic == half
    assert shop.earned == earned


async def test_a_debt_that_is_redeemed_whole_is_closed(installation: Installation) -> None:
    key = installation.tenant()
    debt = await owing(installation, key)

    await redeem(installation, key, debt)

    (closed,) = await debts_of(installation)
    assert (closed.left_atomic, closed.holder_order_id) == (0, None)
    assert closed.closed_at is not None
    with pytest.raises(errors.OwedNotFound):
        await redeem(installation, key, debt)


async def test_only_the_wallet_that_paid_redeems(installation: Installation) -> None:
    shop, key, other = installation, installation.tenant(), installation.tenant()
    debt = await owing(shop, key)
    contract = service.Caller(owner=account.account("eip155:8453", key.address), how="wallet")
    of_a_lease = dataclasses.replace(wallet(key), lease_id="l" + "0" * 25)

    asked = {"idempotency_key": None, "client_address": None, "wait_seconds": 1.0}
    for stranger, refusal in (
        (wallet(other), errors.OwedNotFound),
        (contract, errors.OwedNotFound),
        (of_a_lease, errors.NotAllowed),
    ):
        with pytest.raises(refusal):
            await shop.parts.redeeming.redeem(stranger, debt.owed_id, creation(), **asked)
    assert (await shop.parts.redeeming.list_of(wallet(other))).debts == []
    assert (await shop.parts.redeeming.list_of(contract)).debts == []


async def test_two_redemptions_at_once_give_one_lease(installation: Installation) -> None:
    shop, key = installation, installation.tenant()
    debt = await owing(shop, key)
    before = len(await shop.leases_now())

    answers = await asyncio.gather(
        redeem(shop, key, debt, minutes=20),
        redeem(shop, key, debt, minutes=20),
        redeem(shop, key, debt, minutes=10),
        return_exceptions=True,
    )

    made = [answer for answer in answers if isinstance(answer, outcome.Answer)]
    refused = [answer for answer in answers if not isinstance(answer, outcome.Answer)]
    assert len({answer.lease.lease_id for answer in made}) == 1
    assert all(isinstance(answer, errors.OwedBusy) for answer in refused)
    assert len(await shop.leases_now()) == before + 1
    (left,) = await debts_of(shop)
    assert left.left_atomic == debt.amount_atomic - made[0].order.amount_atomic


@pytest.mark.postgres
async def test_two_redemptions_on_two_replicas_give_one_lease(
    migrated_url: str,
    world: World,
) -> None:
    url = migrated_url.replace("postgresql+asyncpg://", "postgresql://")
    async with running(url, *world) as one, running(url, *world) as other:
        key = one.tenant()
        debt = await owing(one, key)
        before = len(await one.leases_now())

        async with one.holding(START), other.holding(START):  # all come before it is delivered
            answers = await asyncio.gather(
                *(redeem(shop, key, debt, 0.0, minutes=20) for shop in (one, other, one, other))
            )
        await asyncio.gather(one.settled_down(), other.settled_down())

        assert len({answer.lease.lease_id for answer in answers}) == 1
        assert len(await one.leases_now()) == before + 1
        (left,) = await debts_of(one)
        assert left.left_atomic == debt.amount_atomic - answers[0].order.amount_atomic


async def test_an_idempotency_key_redeems_once(installation: Installation) -> None:
    shop, key = installation, installation.tenant()
    debt = await owing(shop, key)
    asked = {"idempotency_key": "k" * 32, "client_address": None, "wait_seconds": 20.0}
    redeeming = shop.parts.redeeming.redeem

    first = await redeeming(wallet(key), debt.owed_id, creation(minutes=9), **asked)
    again = await redeeming(wallet(key), debt.owed_id, creation(minutes=9), **asked)
    with pytest.raises(errors.IdempotencyKeyReused):
        await redeeming(wallet(key), debt.owed_id, creation(minutes=8), **asked)

    assert again.lease.lease_id == first.lease.lease_id
    assert again.access_token == first.access_token


async def test_a_redemption_that_is_not_delivered_gives_back_what_it_took(
    installation: Installation,
) -> None:
    shop, key = installation, installation.tenant()
    debt = await owing(shop, key)
    shop.fail_call(START, times=10_000)
    asked = {"idempotency_key": None, "client_address": None, "wait_seconds": 0.0}
    answer = await shop.parts.redeeming.redeem(wallet(key), debt.owed_id, creation(), **asked)
    (tried,) = (await shop.parts.redeeming.list_of(wallet(key))).undelivered

    for _ in range(400):
        (now,) = await debts_of(shop)
        if now.holder_order_id is None:
            break
        shop.pass_time(DAY / 12)
        await shop.settled_down()

    assert tried.order.order_id == answer.order.order_id
    assert (now.left_atomic, now.closed_at) == (debt.amount_atomic, None)
    (refused,) = await orders_by_status(shop, order.OrderStatus.REFUSED)
    assert refused.order_id == answer.order.order_id


async def test_a_renewal_that_settles_after_the_end_of_its_lease_is_owed(
    installation: Installation,
) -> None:
    shop, key = installation, installation.tenant()
    row = (await shop.lease(key, minutes=1)).lease
    purchase = shop.renewal(key, row, 30, wait_seconds=0.0)
    facilitator = shop.parts.settler.facilitator_of(NETWORK)
    asked = asyncio.Event()

    async def pending(payment: Any, _terms: Any) -> Any:
        asked.set()
        raise asyncio.CancelledError

    honest, facilitator.settle = facilitator.settle, pending  # type: ignore[method-assign]
    await shop.leases.renew(row, 30, purchase)
    await asyncio.wait_for(asked.wait(), 60)
    await shop.die()
    facilitator.settle = honest  # type: ignore[method-assign]
    async with shop.parts.db.begin() as tx:
        gone = {"status": lease.LeaseStatus.ENDED.value, "due_at": None, "fence": None}
        await tx.execute(tables.leases.update().values(**gone, ended_at=shop.parts.db.now()))
    await facilitator.settle(purchase.payment, purchase.requirements)
    mine(shop)
    await shop.parts.lease_worker.start()

    debt = await until_owed(shop, 20)

    assert debt.reason is owed.OwedReason.LEASE_OVER
    assert debt.left_atomic == purchase.payment.amount_atomic


@pytest.fixture
async def two_nodes(
    chain: SimulatedChain, facilitator: SimulatedFacilitator, tmp_path: Any
) -> AsyncIterator[Installation]:
    """An installation on two nodes."""
    async with simulated_proxmox("one", "two") as proxmox:
        url = f"sqlite:///{tmp_path}/db.sqlite3"
        async with running(url, proxmox, chain, facilitator) as made:
            yield made


@pytest.mark.parametrize("kind", [FaultKind.UNREACHABLE, FaultKind.LOCKED])
async def test_a_paid_container_on_a_node_that_died_is_made_on_another(
    two_nodes: Installation, kind: FaultKind
) -> None:
    shop = two_nodes
    honest, died = shop.parts.settler.settle, []

    async def settle(*terms: Any, **named: Any) -> Any:
        done = await honest(*terms, **named)
        (row,) = await shop.leases_now()
        died.append(row.node)
        shop.fail_call(f" /nodes/{row.node}/lxc/", kind, times=100_000)
        return done

    shop.parts.settler.settle = settle  # type: ignore[method-assign]
    told = await shop.leases.create(
        creation(), contract_payers.bought_by_new(shop, wait_seconds=0.0)
    )

    for _ in range(400):
        active = [row for row in await shop.leases_now() if row.status is lease.LeaseStatus.ACTIVE]
        if active:
            break
        shop.pass_time(20)
        await shop.settled_down()
    (row,) = active

    assert row.node not in died
    assert shop.runs(row.vmid)
    assert row.lease_id != told.lease.lease_id
    (paid,) = await shop.orders_now()
    assert (paid.lease_id, paid.status) == (row.lease_id, order.OrderStatus.SETTLED)
    (old,) = [one for one in await shop.leases_now() if one.lease_id == told.lease.lease_id]
    assert (old.status, old.owner) == (lease.LeaseStatus.UNWINDING, lease.NOBODY)


async def test_a_transfer_that_comes_back_after_its_minutes_were_taken_back_is_owed(
    installation: Installation,
) -> None:
    shop = installation
    answer = await shop.lease()
    honest = shop.parts.settler.recheck

    async def reverted(*_: Any, **__: Any) -> settlement.Rechecked:
        """What a node says while the transaction is in a block and reverted."""
        shop.parts.settler.recheck = honest  # type: ignore[method-assign]
        return settlement.Rechecked(standing=settlement.Recheck.LOST, may_land=True)

    shop.parts.settler.recheck = reverted  # type: ignore[method-assign]
    shop.pass_time(30)
    await shop.until(lambda row: row.status is lease.LeaseStatus.STOPPED)
    mine(shop)
    shop.pass_time(30)
    await shop.settled_down()

    (debt,), (paid,) = await debts_of(shop), await shop.orders_now()
    assert (debt.reason, debt.left_atomic) == (owed.OwedReason.PAID_LATE, shop.earned)
    assert (debt.order_id, paid.status) == (answer.order.order_id, order.OrderStatus.OWED)


async def test_a_redemption_is_tried_for_a_day_by_the_databases_clock(
    installation: Installation,
) -> None:
    shop, key = installation, installation.tenant()
    debt = await owing(shop, key)
    shop.pass_time(2 * DAY)
    shop.fail_call(START, times=1)

    answer = await redeem(shop, key, debt)

    assert answer.lease.status is lease.LeaseStatus.ACTIVE
    assert answer.order.owed_id == debt.owed_id


async def test_what_is_paid_and_still_tried_takes_no_place_of_unpaid_creations(
    tmp_path: Path,
    proxmox: SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, proxmox, chain, facilitator, pve402_max_unsettled=1) as shop:
        key = shop.tenant()
        debt = await owing(shop, key)
        shop.fail_call(r"POST .*/lxc/10001/status/start$", times=1)
        asked = {"idempotency_key": None, "client_address": None, "wait_seconds": 0.0}
        await shop.parts.redeeming.redeem(wallet(key), debt.owed_id, creation(), **asked)
        await shop.until(lambda row: row.status is lease.LeaseStatus.STARTING)

        answer = await shop.lease()

    assert answer.lease.status is lease.LeaseStatus.ACTIVE


async def test_a_debt_is_of_one_order_and_changes_once(installation: Installation) -> None:
    shop, key = installation, installation.tenant()
    debt = await owing(shop, key)

    async with shop.parts.db.begin() as tx:
        first = await owed_rows.reserve(tx, debt, 10, "o1")
        second = await owed_rows.reserve(tx, debt, 10, "o2")

    assert (first, second) == (True, False)
    with pytest.raises(ValueError, match="more than is owed"):
        async with shop.parts.db.begin() as tx:
            await owed_rows.reserve(tx, debt, debt.left_atomic + 1, "o3")
