"""Forks in progress: a row is written with its order, and goes once that is closed.

Nothing else is done about the snapshots and the size of the lease that is copied meanwhile.
"""

from typing import Any

import sqlalchemy as sa

from pve402.domain import errors, forks, lease, order, snapshots
from pve402.storage import database, tables, transaction

_forks = tables.forks
_LETS_GO = (snapshots.State.THERE, snapshots.State.DELETING, snapshots.State.FAILED)
_OPEN = [status.value for status in order.OPEN]


async def insert(db: database.Database, tx: transaction.Transaction, new: forks.Fork) -> None:
    """Write a fork; the caller has locked its lease, and `of_lease` found none."""
    values: dict[str, Any] = {
        name: getattr(new, name)
        for name in ("order_id", "lease_id", "pve_name", "is_temporary", "is_linked")
    }
    await tx.execute(_forks.insert().values(**values, created_at=db.now()))


async def get(tx: transaction.Transaction, order_id: str) -> forks.Fork | None:
    """Return the fork of an order."""
    return _fork(await tx.run(_GET, order_id=order_id))


async def of_lease(tx: transaction.Transaction, lease_id: str) -> forks.Fork | None:
    """Return the fork that copies a lease's guest."""
    return _fork(await tx.run(_OF_LEASE, lease_id=lease_id))


async def check_none(tx: transaction.Transaction, lease_id: str) -> None:
    """Raise LeaseBusy while a lease's guest is copied."""
    if await of_lease(tx, lease_id) is not None:
        raise errors.LeaseBusy("The container is being copied; try again in a moment.")


async def list_over(tx: transaction.Transaction) -> list[forks.Fork]:
    """Return the oldest forks whose orders are closed, and whose leases can be let go now."""
    orders = tables.orders.c
    own = sa.or_(orders.order_id == _forks.c.order_id, orders.part_of == _forks.c.order_id)
    is_open = sa.exists().where(own, orders.status.in_(_OPEN))
    found = await tx.execute(
        sa.select(_forks).where(~is_open, ~_kept).order_by(_forks.c.created_at).limit(100)
    )
    return [forks.Fork.from_row(row) for row in transaction.named(found)]


async def remove(tx: transaction.Transaction, one: forks.Fork) -> None:
    """Delete a fork whose temporary snapshot is gone, or is about to be."""
    await tx.execute(_forks.delete().where(_forks.c.order_id == one.order_id))


def _fork(found: transaction.Found) -> forks.Fork | None:
    row = transaction.only(found)
    return None if row is None else forks.Fork.from_row(row)


_leases, _snapshots = tables.leases.c, tables.snapshots.c
_is_held = sa.or_(
    _leases.status != lease.LeaseStatus.ACTIVE.value,
    _leases.hold_order_id.isnot(None),
    _leases.suspended_at.isnot(None),
)
_kept = sa.exists().where(  # its temporary snapshot is taken, or cannot be deleted
    _forks.c.is_temporary,
    *(_leases.lease_id == _forks.c.lease_id, _snapshots.lease_id == _forks.c.lease_id),
    _snapshots.pve_name == _forks.c.pve_name,
    sa.or_(
        _snapshots.state.not_in([one.value for one in _LETS_GO]),
        sa.and_(_snapshots.state == snapshots.State.THERE.value, _is_held),
    ),
)
_GET = sa.select(_forks).where(_forks.c.order_id == transaction.hole("order_id"))
_OF_LEASE = sa.select(_forks).where(_forks.c.lease_id == transaction.hole("lease_id"))
