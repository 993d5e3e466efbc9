"""The sealed variables of leases: they belong to the order that bought the lease.

An order may get another lease before it is delivered, and its variables go with it.
"""

import sqlalchemy as sa

from pve402.storage import tables, transaction

_environments = tables.environments
_orders = tables.orders


async def insert(tx: transaction.Transaction, order_id: str, sealed: bytes) -> None:
    """Store an order's variables."""
    await tx.execute(_environments.insert().values(order_id=order_id, sealed=sealed))


async def remove(tx: transaction.Transaction, order_id: str) -> None:
    """Delete an order's variables."""
    await tx.execute(_environments.delete().where(_environments.c.order_id == order_id))


async def of_lease(tx: transaction.Transaction, lease_id: str) -> tuple[str, bytes] | None:
    """Return the order that a lease's variables are sealed for, and them; None without any."""
    row = (await tx.run(_OF_LEASE, lease_id=lease_id)).one_or_none()
    return None if row is None else (row.order_id, row.sealed)


async def forget_over(tx: transaction.Transaction) -> int:
    """Delete the variables of leases that are over, and return how many leases that were."""
    return (await tx.execute(_FORGET_OVER)).rowcount


def bound_to(order_id: str) -> str:
    """Return what an order's variables are sealed for."""
    return f"env {order_id}"


_OF_LEASE = (
    sa.select(_environments.c.order_id, _environments.c.sealed)
    .join(_orders, _orders.c.order_id == _environments.c.order_id)
    .where(_orders.c.lease_id == transaction.hole("lease_id"))
)
_STANDS = sa.exists().where(
    _orders.c.order_id == _environments.c.order_id,
    tables.leases.c.lease_id == _orders.c.lease_id,
    tables.leases.c.ended_at.is_(None),
)
_FORGET_OVER = _environments.delete().where(~_STANDS)
