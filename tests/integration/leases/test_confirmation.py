"""After the hand-over: the chain is looked at again, and what vanished is not kept."""

from datetime import timedelta
from typing import Any

import pytest
from tests.support.installation import Installation

from pve402.domain import lease, order
from pve402.leases import moves
from pve402.payments.facilitators import Outcome, Settlement
from pve402.proxmox import guest_views
from pve402.proxmox import guests as pve_guests
from pve402_devnet.facilitator import Endpoint, Fault, FaultKind


def mine(installation: Installation, blocks: int) -> None:
    for _ in range(blocks):
        installation.chain.rpc("evm_mine")


async def confirm(installation: Installation) -> order.Order:
    """Let the confirmation fall due and come to its end."""
    installation.pass_time(30)
    await installation.settled_down()
    return (await installation.orders_now())[0]


async def test_a_settlement_ten_blocks_deep_is_final(installation: Installation) -> None:
    await installation.lease()
    mine(installation, 12)

    done = await confirm(installation)

    assert done.final
    assert done.sealed_payment is None


async def test_the_guests_description_tells_the_true_end(installation: Installation) -> None:
    row = (await installation.lease()).lease
    mine(installation, 12)

    await confirm(installation)

    text = installation.proxmox.world.guests[row.vmid].config.text("description")
    record = installation.parts.machines.read_description(text)
    assert record is not None
    assert row.expires_at is not None
    assert record.expires_at == row.expires_at.replace(microsecond=0)


async def test_an_older_end_is_not_written_over_a_newer_one(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = installation.tenant()
    row = (await installation.lease(tenant)).lease
    guests = installation.parts.machines._guests
    honest = guests.config

    async def late(guest: pve_guests.GuestRef) -> guest_views.GuestConfig:
        """While the first order waits for Proxmox, a renewal is settled and described."""
        monkeypatch.setattr(guests, "config", honest)
        paid = installation.renewal(tenant, row, 30)
        renewal = (await installation.leases.renew(row, 30, paid)).order
        mine(installation, 12)
        with installation.parts.lease_worker.changes_of(renewal.order_id) as changed:
            installation.pass_time(30)
            while not (await installation.orders_now())[-1].final:
                await changed.wait()
                changed.clear()
        return await honest(guest)

    monkeypatch.setattr(guests, "config", late)
    await confirm(installation)

    (now,) = await installation.leases_now()
    text = installation.proxmox.world.guests[row.vmid].config.text("description")
    record = installation.parts.machines.read_description(text)
    assert record is not None
    assert now.expires_at is not None
    assert record.expires_at == now.expires_at.replace(microsecond=0)


async def test_a_transfer_that_a_reorganisation_drops_is_settled_again(
    installation: Installation,
) -> None:
    answer = await installation.lease()
    installation.chain.rpc("devnet_reorg", 1)
    vanished = installation.earned

    await confirm(installation)
    mine(installation, 12)
    done = await confirm(installation)

    assert vanished == 0
    assert done.final
    assert done.status is order.OrderStatus.SETTLED
    assert installation.earned == answer.order.amount_atomic
    assert installation.runs(answer.lease.vmid)


async def test_a_no_after_a_reorganisation_takes_nothing_back_while_the_transfer_may_return(
    installation: Installation,
) -> None:
    answer = await installation.lease()
    installation.chain.rpc("devnet_reorg", 1, {"requeue": True})
    settle = installation.parts.settler.settle

    async def refuse(payment: Any, *_: Any, **__: Any) -> Settlement:
        return Settlement.of(payment, Outcome.REFUSED, reason="insufficient_funds")

    installation.parts.settler.settle = refuse  # type: ignore[method-assign]
    refused = await confirm(installation)
    installation.parts.settler.settle = settle  # type: ignore[method-assign]
    mine(installation, 12)
    done = await confirm(installation)

    assert (refused.status, refused.final) == (order.OrderStatus.SETTLED, False)
    assert (done.status, done.final) == (order.OrderStatus.SETTLED, True)
    assert installation.earned == answer.order.amount_atomic


async def test_a_transfer_that_is_lost_for_good_takes_its_minutes_back(
    installation: Installation,
) -> None:
    wish_minutes = 60
    tenant = installation.tenant()
    row = (await installation.lease(tenant, minutes=wish_minutes)).lease
    (paid,) = await installation.orders_now()
    installation.chain.rpc("devnet_reorg", 1)
    installation.facilitator.faults.add(
        Fault(kind=FaultKind.PENDING_LOST, endpoint=Endpoint.SETTLE, times=None)
    )
    installation.chain.rpc("evm_setNextBlockTimestamp", int(paid.valid_before.timestamp()) + 10)
    mine(installation, 4)

    done = await confirm(installation)
    await installation.until_status(lease.LeaseStatus.STOPPED)

    assert done.status is order.OrderStatus.REFUSED
    assert not installation.runs(row.vmid)


@pytest.mark.parametrize("renewed", [30])
async def test_a_renewal_that_is_lost_leaves_the_time_paid_before(
    installation: Installation, renewed: int
) -> None:
    tenant = installation.tenant()
    first = (await installation.lease(tenant, minutes=60)).lease
    await installation.leases.renew(first, renewed, installation.renewal(tenant, first, renewed))
    paid = (await installation.orders_now())[-1]
    installation.chain.rpc("devnet_reorg", 1)
    installation.facilitator.faults.add(
        Fault(kind=FaultKind.PENDING_LOST, endpoint=Endpoint.SETTLE, times=None)
    )
    installation.chain.rpc("evm_setNextBlockTimestamp", int(paid.valid_before.timestamp()) + 10)
    mine(installation, 4)

    await confirm(installation)

    (now,) = await installation.leases_now()
    assert now.status is lease.LeaseStatus.ACTIVE
    assert now.expires_at == first.expires_at


async def test_a_settlement_found_in_another_transaction_is_kept_with_that_one(
    installation: Installation,
) -> None:
    paid = (await installation.lease()).order
    installation.chain.rpc("devnet_reorg", 1)
    await installation.lease()  # takes the place of the first transaction
    signed, terms = installation.parts.lease_worker._workflows.confirmation._money._open(paid)
    route = installation.parts.settler._routes[paid.network]
    again = await route.facilitator.settle(signed, terms)
    mine(installation, 12)

    done = await confirm(installation)

    assert again.transaction != paid.transaction
    assert done.transaction == again.transaction
    assert done.final


@pytest.mark.parametrize("held", [True, False])
async def test_minutes_are_taken_back_with_the_order_or_not_at_all(
    installation: Installation, held: bool
) -> None:
    row = (await installation.lease(minutes=60)).lease
    (paid,) = await installation.orders_now()
    lose_for_good(installation, paid)
    if held:
        await hold(installation, row, seconds=1000)

    installation.pass_time(30)
    await installation.settled_down()

    (done,), (now,) = await installation.orders_now(), await installation.leases_now()
    both = (done.status is order.OrderStatus.REFUSED, now.end_reason == "payment_reverted")
    assert both == (not held, not held)


async def test_an_order_lost_after_its_lease_was_stopped_is_refused(
    installation: Installation,
) -> None:
    row = (await installation.lease(minutes=60)).lease
    (paid,) = await installation.orders_now()
    await installation.leases.end(row)
    await installation.until_status(lease.LeaseStatus.ENDED)
    lose_for_good(installation, paid)

    done = await confirm(installation)

    assert done.status is order.OrderStatus.REFUSED
    assert done.final


async def test_a_guest_that_cannot_be_described_does_not_hide_a_lost_payment(
    installation: Installation,
) -> None:
    await installation.lease(minutes=60)
    (paid,) = await installation.orders_now()
    lose_for_good(installation, paid)
    installation.fail_call(r"PUT .*/config$", times=1000)

    done = await confirm(installation)

    assert done.status is order.OrderStatus.REFUSED


async def test_a_lost_order_is_refused_and_closed_in_one_move(
    installation: Installation,
) -> None:
    await installation.lease(minutes=60)
    (paid,) = await installation.orders_now()
    lose_for_good(installation, paid)

    async def dies(*_: object) -> None:
        raise RuntimeError("simulated end of the process")

    installation.parts.lease_worker._workflows.confirmation._deals.finish = dies  # type: ignore[method-assign]
    done = await confirm(installation)

    assert (done.status, done.final) == (order.OrderStatus.REFUSED, True)
    assert (done.due_at, done.sealed_payment) == (None, None)


def lose_for_good(installation: Installation, paid: order.Order) -> None:
    """Drop a transfer from the chain, and let its window pass before it can be sent again."""
    installation.chain.rpc("devnet_reorg", 1)
    installation.facilitator.faults.add(
        Fault(kind=FaultKind.PENDING_LOST, endpoint=Endpoint.SETTLE, times=None)
    )
    installation.chain.rpc("evm_setNextBlockTimestamp", int(paid.valid_before.timestamp()) + 10)
    mine(installation, 4)


async def hold(installation: Installation, row: lease.Lease, *, seconds: float) -> None:
    """Hold a lease as a renewal under way does."""
    db = installation.parts.db
    async with db.begin() as tx:
        await moves.hold(tx, row, "o1", await db.time_in(tx) + timedelta(seconds=seconds))


async def test_a_guest_is_described_once_however_often_the_chain_is_looked_at(
    installation: Installation,
) -> None:
    await installation.lease()
    asked = installation.record_proxmox_calls()

    for _ in range(3):  # no block is mined meanwhile
        looked_at = await confirm(installation)
    mine(installation, 12)
    done = await confirm(installation)

    assert not looked_at.final
    assert done.final
    assert sum(call.startswith("PUT") and call.endswith("/config") for call in asked) == 1
