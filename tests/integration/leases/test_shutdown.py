"""A process that is told to stop does so, and leaves nothing that others must wait for."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.integration.leases.test_no_row_is_stuck import delay_settlement
from tests.support.installation import Installation, creation

from pve402.domain import order
from pve402.payments.facilitators import Outcome


@pytest.mark.parametrize("turns", range(5))
async def test_a_stop_that_meets_a_wake_is_not_lost(installation: Installation, turns: int) -> None:
    lease_worker = installation.parts.lease_worker
    await asyncio.sleep(0.05)  # the loops are at rest
    lease_worker.wake()
    for _ in range(turns):
        await asyncio.sleep(0)

    async with asyncio.timeout(20):
        await lease_worker.stop()

    assert all(loop.done() for loop in lease_worker._loops)


async def test_what_does_not_end_in_time_is_handed_over(installation: Installation) -> None:
    reached, _ = delay_settlement(installation, Outcome.SETTLED)
    wish, tenant = creation(), installation.tenant()
    await installation.leases.create(wish, installation.buy(tenant, wish, wait_seconds=0.0))
    async with asyncio.timeout(20):
        await reached.wait()

    await installation.parts.lease_worker.stop(limit_seconds=0.05)

    (left,) = await installation.orders_now()
    assert left.status is order.OrderStatus.SETTLING
    assert left.fence is None
    assert await installation._due()


async def test_what_a_stop_finds_just_taken_is_not_left_to_a_time_limit(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    await installation.lease()
    taken, honest = asyncio.Event(), installation.parts.db.single

    @contextlib.asynccontextmanager
    async def hesitating() -> AsyncIterator[Any]:
        async with honest() as tx:
            yield tx
        if not taken.is_set() and any(one.fence for one in await installation.orders_now()):
            taken.set()
            await asyncio.sleep(0.05)

    monkeypatch.setattr(installation.parts.db, "single", hesitating)
    installation.pass_time(60)  # its settlement is looked at again
    async with asyncio.timeout(20):
        await taken.wait()

    await installation.parts.lease_worker.stop()

    assert all(one.fence is None for one in await installation.orders_now())
