"""Queries on the table of debts.

A debt has one holder at a time: the order that redeems a part of it, or the operator who pays it
back. Every change names the holder and what is left, so that of two changes at once only one is
made.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from pve402.domain import order, owed
from pve402.storage import database, tables, transaction, updates

_owed = tables.owed
_orders = tables.orders
_MOST_LISTED = 1000  # of one wallet


async def insert(db: database.Database, tx: transaction.Transaction, new: owed.Owed) -> None:
    """Write a new debt; the caller's transaction closes its order, so there is one at most."""
    values = {field.name: getattr(new, field.name) for field in dataclasses.fields(new)}
    values |= {"reason": new.reason.value, "created_at": db.now()}
    await tx.execute(_owed.insert().values(**values))


async def get(tx: transaction.Transaction, owed_id: str) -> owed.Owed | None:
    """Return the debt with this id."""
    return _one(await tx.run(_GET, owed_id=owed_id))


async def get_of_order(tx: transaction.Transaction, order_id: str) -> owed.Owed | None:
    """Return the debt that an order left."""
    return _one(await tx.run(_GET_OF_ORDER, order_id=order_id))


async def get_of_repayment(tx: transaction.Transaction, paid: str) -> owed.Owed | None:
    """Return the largest debt that a transaction of the operator paid back."""
    query = sa.select(_owed).where(_owed.c.paid_transaction == paid)
    return _one(await tx.execute(query.order_by(_owed.c.amount_atomic.desc()).limit(1)))


async def list_open(tx: transaction.Transaction, payer: str | None = None) -> Sequence[owed.Owed]:
    """Return what is still owed, oldest first: all of it, or the first to one address."""
    query = sa.select(_owed).where(_owed.c.closed_at.is_(None))
    if payer is not None:
        query = query.where(_owed.c.payer == payer).limit(_MOST_LISTED)
    found = await tx.execute(query.order_by(_owed.c.created_at))
    return [owed.Owed.from_row(row) for row in transaction.named(found)]


async def list_redeemed(tx: transaction.Transaction, payer: str) -> Sequence[owed.Owed]:
    """Return what was owed to an address until containers were delivered for all of it."""
    query = sa.select(_owed).where(
        _owed.c.payer == payer, _owed.c.closed_at.isnot(None), _owed.c.paid_transaction.is_(None)
    )
    found = await tx.execute(query.order_by(_owed.c.created_at).limit(_MOST_LISTED))
    return [owed.Owed.from_row(row) for row in transaction.named(found)]


async def list_undelivered(
    tx: transaction.Transaction, payer: str | None = None
) -> Sequence[order.Order]:
    """Return paid orders whose container is still being tried; limited like `list_open`."""
    query = sa.select(_orders).where(
        _orders.c.due_at.isnot(None),
        _orders.c.settled_at.isnot(None),
        _orders.c.status.in_([status.value for status in order.OPEN]),
    )
    if payer is not None:
        query = query.where(_orders.c.payer == payer).limit(_MOST_LISTED)
    found = await tx.execute(query.order_by(_orders.c.created_at))
    return [order.Order.from_row(row) for row in transaction.named(found)]


async def totals(tx: transaction.Transaction) -> dict[str, int]:
    """Return how much is owed on each network, in atomic units."""
    query = sa.select(_owed.c.network, _owed.c.left_atomic).where(_owed.c.closed_at.is_(None))
    sums: dict[str, int] = {}
    for network, left_atomic in (await tx.execute(query)).all():
        sums[network] = sums.get(network, 0) + left_atomic
    return sums


async def reserve(
    tx: transaction.Transaction, debt: owed.Owed, amount_atomic: int, order_id: str
) -> bool:
    """Take an amount for the order that redeems it; False if the debt has changed meanwhile."""
    left = debt.left_atomic - amount_atomic
    if left < 0:
        raise ValueError("more than is owed")
    return await _change(tx, debt, left_atomic=left, holder_order_id=order_id)


async def deliver(
    db: database.Database, tx: transaction.Transaction, redeeming: order.Order
) -> None:
    """Let go of a debt whose redemption was delivered; closed if nothing is left."""
    debt = await _held(tx, redeeming)
    closed = db.now() if debt.left_atomic == 0 else None
    await _change(tx, debt, holder_order_id=None, closed_at=closed)


async def give_back(
    tx: transaction.Transaction, redeeming: order.Order, holder: str | None = None
) -> None:
    """Put back what a redemption that was not delivered had taken; the debt gets a new holder."""
    debt = await _held(tx, redeeming)
    left = debt.left_atomic + redeeming.amount_atomic
    await _change(tx, debt, left_atomic=left, holder_order_id=holder)


async def set_holder(tx: transaction.Transaction, debt: owed.Owed, holder: str | None) -> bool:
    """Give a debt another holder, or none; False if it has changed meanwhile."""
    return await _change(tx, debt, holder_order_id=holder)


async def close_paid(
    db: database.Database,
    tx: transaction.Transaction,
    debt: owed.Owed,
    *,
    transaction: str,
    log: int,
) -> bool:
    """Close a debt that the operator paid back; False if it has changed meanwhile."""
    paid = {"paid_transaction": transaction, "paid_log": log}
    return await _change(tx, debt, closed_at=db.now(), **paid)


async def used_logs(tx: transaction.Transaction, network: str, transaction: str) -> set[int]:
    """Return which of a transaction's events have closed a debt."""
    query = sa.select(_owed.c.paid_log).where(
        _owed.c.network == network, _owed.c.paid_transaction == transaction
    )
    return set((await tx.execute(query)).scalars())


async def _held(tx: transaction.Transaction, redeeming: order.Order) -> owed.Owed:
    debt = await get(tx, redeeming.owed_id or "")
    if debt is None or debt.holder_order_id != redeeming.order_id:
        raise LookupError(f"order {redeeming.order_id} redeems a debt that it does not hold")
    return debt


async def _change(tx: transaction.Transaction, debt: owed.Owed, **values: Any) -> bool:
    where = {
        "owed_id": debt.owed_id,
        "holder_order_id": debt.holder_order_id,
        "left_atomic": debt.left_atomic,
        "closed_at": debt.closed_at,
    }
    return transaction.only(await updates.update(tx, _owed, where, values)) is not None


def _one(found: transaction.Found) -> owed.Owed | None:
    row = transaction.only(found)
    return None if row is None else owed.Owed.from_row(row)


_GET = sa.select(_owed).where(_owed.c.owed_id == transaction.hole("owed_id"))
_GET_OF_ORDER = sa.select(_owed).where(_owed.c.order_id == transaction.hole("order_id"))
