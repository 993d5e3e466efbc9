"""Letting go of leases whose copies are made, or will never be."""

import asyncio

from tests.integration.leases.test_no_row_is_stuck import delay_settlement
from tests.support import forks as support
from tests.support.forks import either_shop
from tests.support.images import image_proxmox, image_world
from tests.support.installation import Installation

from pve402.domain import forks, snapshots
from pve402.payments.facilitators import Outcome
from pve402.storage import fork_rows, order_rows, snapshot_rows, tables

__all__ = ["either_shop", "image_proxmox", "image_world"]


async def test_forks_that_cannot_be_let_go_hide_no_others(either_shop: Installation) -> None:
    db, source = either_shop.parts.db, await support.source_of(either_shop)
    found = []
    async with db.begin() as tx:
        name = await snapshot_rows.insert(db, tx, source.lease_id, snapshots.TEMPORARY)
        over = forks.Fork(
            order_id="o1",
            lease_id=source.lease_id,
            created_at=source.created_at,
            pve_name=name,
            is_temporary=True,
        )
        await fork_rows.insert(db, tx, over)
        for state, held in (("taking", None), ("there", "o2"), ("there", None), ("failed", "o2")):
            await tx.execute(tables.snapshots.update().values(state=state))
            await tx.execute(tables.leases.update().values(hold_order_id=held))
            found.append(len(await fork_rows.list_over(tx)))
        await tx.execute(tables.forks.delete())
        await tx.execute(tables.snapshots.delete())
        await tx.execute(tables.leases.update().values(hold_order_id=None))

    assert found == [0, 0, 1, 1]


async def test_a_part_is_due_once_its_payment_is_made(either_shop: Installation) -> None:
    db, source = either_shop.parts.db, await support.source_of(either_shop)
    answer = await support.fork(either_shop, source, 2)
    first, (part,) = answer.order.order_id, [one.order.order_id for one in answer.others]
    later, own = db.now(3600), tables.orders.c.order_id == part
    looked = []
    for status, fence in (("settling", None), ("settling", "f"), ("refused", None)):
        unpaid = {"settled_at": None, "due_at": later, "fence": fence, "status": status}
        async with db.begin() as tx:
            await tx.execute(tables.orders.update().where(own).values(**unpaid))
            await order_rows.pay_parts(db, tx, first, {"settled_at": db.now()})
            now = await order_rows.get(tx, part)
            closed = {"status": "settled", "fence": None, "due_at": None}
            await tx.execute(tables.orders.update().where(own).values(**closed))
            assert now is not None
            due = now.due_at is not None and now.due_at <= await db.time_in(tx)
        looked.append((now.is_paid, due))

    assert looked == [(True, True), (True, False), (False, False)]


async def test_a_lease_that_is_renewed_meanwhile_is_let_go_after_that(
    either_shop: Installation,
) -> None:
    shop, source = either_shop, await support.source_of(either_shop)
    key = shop.tenants[-1]
    async with shop.holding(r"POST .*/clone$"):
        forking = asyncio.ensure_future(support.fork(shop, source))
        await shop.until(lambda row: row.base == source.lease_id)
        reached, go_on = delay_settlement(shop, Outcome.SETTLED)
        paying = shop.leases.renew(source, 30, shop.renewal(key, source, 30))
        renewing = asyncio.ensure_future(paying)
        await reached.wait()
    await forking
    held = await shop.rows(tables.forks)
    go_on.set()
    await renewing
    await shop.settled_down()

    assert len(held) == 1
    assert await shop.rows(tables.forks) == []
    assert await shop.rows(tables.snapshots) == []
