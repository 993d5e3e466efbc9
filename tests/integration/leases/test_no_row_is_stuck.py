"""Orders and leases that meet each other at a bad moment still come to an end."""

import asyncio
import dataclasses
from typing import Any

import pytest
from tests.support import debts
from tests.support.installation import Installation

from pve402.domain import lease, order
from pve402.leases import deals
from pve402.payments.facilitators import Outcome, Settlement
from pve402.storage import queue, tables
from pve402_devnet.facilitator import Endpoint, Fault, FaultKind


@pytest.mark.parametrize("outcome", [Outcome.SETTLED, Outcome.REFUSED])
async def test_a_renewal_whose_lease_ended_before_the_outcome_was_known_is_closed(
    installation: Installation, outcome: Outcome
) -> None:
    tenant = installation.tenant()
    first = (await installation.lease(tenant, minutes=10)).lease
    reached, go_on = delay_settlement(installation, outcome)
    purchase = installation.renewal(tenant, first, 30, wait_seconds=0.0)
    await installation.leases.renew(first, 30, purchase)
    await asyncio.wait_for(reached.wait(), 60)
    await end_as_expiry_does(installation, first)

    go_on.set()
    await asyncio.gather(*installation.parts.lease_worker._running)
    installation.pass_time(20)  # what is left of the worker's own time limit
    await installation.settled_down()
    await debts.pass_the_window(installation, (await installation.orders_now())[-1])

    (row,), (_, renewal) = await installation.leases_now(), await installation.orders_now()
    is_paid = outcome is Outcome.SETTLED
    assert renewal.status is (order.OrderStatus.OWED if is_paid else order.OrderStatus.REFUSED)
    assert [debt.order_id for debt in await debts.debts_of(installation)] == (
        [renewal.order_id] if is_paid else []
    )
    assert (renewal.due_at, renewal.sealed_payment) == (None, None)
    assert (row.status, row.due_at) == (lease.LeaseStatus.ENDED, None)


async def test_a_renewal_whose_lease_is_over_is_not_charged(installation: Installation) -> None:
    tenant = installation.tenant()
    first = (await installation.lease(tenant, minutes=10)).lease
    before = installation.earned
    away = Fault(kind=FaultKind.UNAVAILABLE, endpoint=Endpoint.SETTLE, times=None)
    installation.facilitator.faults.add(away)
    purchase = installation.renewal(tenant, first, 30, wait_seconds=0.0)
    await installation.leases.renew(first, 30, purchase)
    await installation.settled_down()
    await end_as_expiry_does(installation, first)
    installation.facilitator.faults.clear()
    installation.pass_time(60)
    await installation.settled_down()
    still_open = (await installation.orders_now())[-1]

    past = int(still_open.valid_before.timestamp()) + 10
    installation.chain.rpc("evm_setNextBlockTimestamp", past)
    for _block in range(4):
        installation.chain.rpc("evm_mine")
    installation.pass_time(60)
    await installation.settled_down()

    closed = (await installation.orders_now())[-1]
    assert still_open.status is order.OrderStatus.SETTLING
    assert closed.status is order.OrderStatus.REFUSED
    assert installation.earned == before


async def test_an_order_that_another_worker_has_taken_is_not_read_as_ours(
    installation: Installation,
) -> None:
    parts = installation.parts
    writer = deals.Deals(parts.db, parts.lease_options, parts.secret_vault)
    row = (await installation.lease()).order

    deal = await writer.reopen(row)
    with pytest.raises(queue.FenceLostError):
        await writer.reopen(dataclasses.replace(row, fence="of a slower worker"))

    assert deal.order.order_id == row.order_id


async def test_a_fee_that_a_worker_settled_meanwhile_is_paid(installation: Installation) -> None:
    purchase = installation.purchase(installation.tenant(), 1000)
    reached, go_on = delay_settlement(installation, Outcome.SETTLED)
    paying = asyncio.create_task(installation.leases.pay_fee(purchase, "GET /x", {}))
    await asyncio.wait_for(reached.wait(), 60)
    installation.pass_time(20)  # the request's own time limit on the row runs out
    await installation.settled_down()

    go_on.set()
    paid = await paying

    assert paid.status is order.OrderStatus.SETTLED
    assert installation.earned == 1000


async def end_as_expiry_does(installation: Installation, row: lease.Lease) -> None:
    """End a lease whose hold has run out and whose guest was found gone."""
    async with installation.parts.db.begin() as tx:
        mine = tables.leases.update().where(tables.leases.c.lease_id == row.lease_id)
        ended = lease.LeaseStatus.ENDED.value
        await tx.execute(mine.values(status=ended, due_at=None, fence=None))


def delay_settlement(
    installation: Installation, outcome: Outcome
) -> tuple[asyncio.Event, asyncio.Event]:
    """Have settlements end so, once they are let go on; returns `reached` and `go_on`."""
    honest = installation.parts.settler.settle
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def delayed(payment: Any, *terms: Any, **named: Any) -> Settlement:
        if outcome is Outcome.REFUSED:
            found = Settlement.of(payment, outcome, reason="simulated")
        else:
            found = await honest(payment, *terms, **named)
        if not reached.is_set():
            reached.set()
            await go_on.wait()
        return found

    installation.parts.settler.settle = delayed  # type: ignore[method-assign]
    return reached, go_on
