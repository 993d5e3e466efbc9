"""The window of a payment is part of the plan: what outlasts it is rolled back, uncharged."""

import asyncio

import pytest
from tests.support.installation import Installation, creation

from pve402.domain import errors, lease, order
from pve402_devnet.facilitator import Endpoint, Fault, FaultKind

START = r"POST .*/status/start$"


@pytest.mark.parametrize(
    ("valid_seconds", "taken_seconds", "refusal"),
    [(120, 110, "payment_expired"), (600, 250, "creation_timed_out")],
)
async def test_a_creation_that_outlasts_its_payment_or_its_limit_is_rolled_back(
    installation: Installation, valid_seconds: int, taken_seconds: int, refusal: str
) -> None:
    tenant, wish = installation.tenant(), creation()
    async with installation.holding(START):
        attempt = asyncio.create_task(
            installation.leases.create(
                wish, installation.buy(tenant, wish, valid_seconds=valid_seconds)
            )
        )
        await installation.until_status(lease.LeaseStatus.STARTING)
        installation.parts.db.shift_seconds += taken_seconds

    with pytest.raises(errors.ProvisioningFailed):
        await attempt
    await installation.until_status(lease.LeaseStatus.FAILED)

    (paid,) = await installation.orders_now()
    assert paid.refusal == refusal
    assert (installation.marked_guests, installation.earned) == (set(), 0)


async def test_an_unknown_outcome_ends_when_chain_time_passes_the_window(
    installation: Installation,
) -> None:
    tenant, wish = installation.tenant(), creation()
    installation.facilitator.faults.add(
        Fault(kind=FaultKind.PENDING_LOST, endpoint=Endpoint.SETTLE, times=None)
    )
    purchase = installation.buy(tenant, wish, wait_seconds=0.0)
    await installation.leases.create(wish, purchase)
    open_order = await until_settling(installation)
    installation.chain.rpc(
        "evm_setNextBlockTimestamp", int(open_order.valid_before.timestamp()) + 10
    )
    for _ in range(4):
        installation.chain.rpc("evm_mine")
    installation.pass_time(120)

    await installation.until_status(lease.LeaseStatus.FAILED)

    (paid,) = await installation.orders_now()
    assert paid.status is order.OrderStatus.REFUSED
    assert (installation.marked_guests, installation.earned) == (set(), 0)


async def until_settling(installation: Installation) -> order.Order:
    """The order whose settlement was asked for, once."""
    await installation.until_status(lease.LeaseStatus.SETTLING)
    while not installation.facilitator.calls_to(Endpoint.SETTLE):  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    (found,) = await installation.orders_now()
    return found
