"""What becomes of a fork whose payment is lost, or whose copies do not come up once it is paid."""

import asyncio
import dataclasses
from pathlib import Path
from typing import Any, NoReturn

import pytest
from tests.integration.leases.test_confirmation import lose_for_good, mine
from tests.support import forks as support
from tests.support import images as image_support
from tests.support.debts import debts_of
from tests.support.forks import shop
from tests.support.images import image_proxmox, image_world
from tests.support.installation import Installation, running, simulated_proxmox

from pve402.domain import errors, order
from pve402.leases import deals, parts, workflow
from pve402.storage import queue
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator

__all__ = ["image_proxmox", "image_world", "shop"]

DAY = 86_400
REFUSED, SETTLED = order.OrderStatus.REFUSED, order.OrderStatus.SETTLED


async def test_a_transfer_that_is_lost_takes_the_minutes_of_all_copies_back(
    shop: Installation,
) -> None:
    source = await support.source_of(shop)
    mine(shop, 12)
    answer = await support.fork(shop, source, 3)
    lose_for_good(shop, answer.order)

    for _ in range(4):
        shop.pass_time(30)
        await shop.settled_down()

    made = await support.copies_of(shop, source)
    assert [(one.status, one.final) for one, _ in made] == [(REFUSED, True)] * 3
    assert {row.end_reason for _, row in made} == {"payment_reverted"}
    assert not any(shop.runs(row.vmid) for _, row in made)
    assert shop.runs(source.vmid)
    assert await debts_of(shop) == []


async def test_orders_of_a_payment_mind_who_has_taken_them_over(shop: Installation) -> None:
    answer = await support.fork(shop, await support.source_of(shop), 2)
    writer = shop.parts.lease_worker._workflows.creation._deals
    unpaid, (other,) = dataclasses.replace(answer.order, settled_at=None), answer.others
    taken = deals.Deal(order=dataclasses.replace(other.order, fence="gone"), lease=other.lease)

    with pytest.raises(workflow.RetryLater):
        async with shop.parts.db.begin() as tx:
            await parts.Parts(writer).write_lost(tx, [taken], "a test")

    assert (await shop.parts.forks._parts.outcomes.read(other.order.order_id)).status is SETTLED
    with pytest.raises(queue.FenceLostError):
        await parts.Parts(writer).await_others(unpaid)


async def test_a_copy_that_is_not_delivered_is_not_owed_if_its_payment_is_lost(
    shop: Installation,
) -> None:
    source = await support.source_of(shop)
    mine(shop, 12)
    gone = support.lose_once_paid(shop, "copy-2")
    await support.fork(shop, source, 2, purchase={"wait_seconds": 0.0})
    await support.until_paid(shop, source)
    shop.fail_call(r"POST .*/clone$", times=10_000)
    lose_for_good(shop, (await support.copies_of(shop, source))[0][0])

    for seconds in (30, 30, DAY, 100, 100, 100):
        shop.pass_time(seconds)
        await shop.settled_down()

    assert gone
    assert await debts_of(shop) == []
    made = await support.copies_of(shop, source)
    assert [(one.status, one.refusal) for one, _ in made] == [(REFUSED, "payment_reverted")] * 2


async def test_a_request_waits_no_longer_for_all_copies_than_for_one(shop: Installation) -> None:
    source = await support.source_of(shop)
    outcomes, limits = shop.parts.forks._parts.outcomes, list[float]()
    honest_closed, honest_wait = outcomes.closed, outcomes.until_closed

    async def closed(row: order.Order, limit_seconds: float, *, is_fresh: bool) -> order.Order:
        done = await honest_closed(row, limit_seconds, is_fresh=is_fresh)
        await asyncio.sleep(0.2)
        limits.append(limit_seconds - 0.2)
        return done

    async def until_closed(row: order.Order, limit_seconds: float) -> order.Order:
        limits.append(limit_seconds)
        return await honest_wait(row, 30)

    outcomes.closed = closed  # type: ignore[method-assign]
    outcomes.until_closed = until_closed  # type: ignore[method-assign]

    await support.fork(shop, source, 2)

    assert limits[1] <= limits[0]


async def test_a_paid_copy_that_cannot_be_rekeyed_is_its_tenants_as_it_is(
    shop: Installation,
) -> None:
    source = await support.source_of(shop)
    shop.rekey.failures = 10_000

    await support.fork(shop, source, 2, purchase={"wait_seconds": 0.0})
    await support.until_paid(shop, source)
    shop.pass_time(720)
    for _ in range(100):
        await asyncio.sleep(0.05)
        if not any(one.is_open for one, _ in await support.copies_of(shop, source)):
            break

    made = await support.copies_of(shop, source)
    assert [(one.status, one.tries) for one, _ in made] == [(SETTLED, 0)] * 2
    assert await image_support.unaccounted(shop) == []


async def test_a_first_copy_that_comes_up_just_after_the_wait_has_its_token(
    shop: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, honest = await support.source_of(shop), shop.leases.answer

    async def late(*asked: Any) -> NoReturn:
        await honest(*asked)
        raise errors.DeliveryPending

    monkeypatch.setattr(shop.leases, "answer", late)

    answer = await support.fork(shop, source, 2)

    tokens = {one.access_token for one in (answer, *answer.others)}
    assert len(tokens - {None}) == 2


@pytest.mark.parametrize(("stops_again", "end"), [(True, SETTLED), (False, order.OrderStatus.OWED)])
async def test_a_stopped_container_may_start_once_its_copies_are_paid_for(
    tmp_path: Path,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
    *,
    stops_again: bool,
    end: order.OrderStatus,
) -> None:
    url, once = f"sqlite:///{tmp_path}/db.sqlite3", {"idempotency_key": "k" * 32}
    async with (
        simulated_proxmox() as proxmox,  # its storage copies only what is down
        running(url, proxmox, chain, facilitator, **support.SETTINGS) as shop,
    ):
        source, key = await shop.leases.stop(await support.source_of(shop)), shop.tenant()
        await shop.settled_down()
        source, gone = await shop.leases.find(source.lease_id), support.lose_once_paid(shop, "copy")
        await support.fork(shop, source, key=key, purchase={"wait_seconds": 0.0, **once})
        await support.until_paid(shop, source)
        mine(shop, 12)

        source = await shop.leases.start(source)
        runs = shop.runs(source.vmid)
        if stops_again:
            await shop.leases.stop(await shop.leases.find(source.lease_id))
        for seconds in (30, 30):
            shop.pass_time(seconds)
            await shop.settled_down()
        await support.pass_a_day_of_trying(shop, source)

        assert (len(gone), runs) == (1, True)
        assert [one.status for one, _ in await support.copies_of(shop, source)] == [end]
        if not stops_again:
            with pytest.raises(errors.PaymentOwed):
                await support.fork(shop, source, key=key, purchase=once)
