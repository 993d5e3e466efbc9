"""How many guests of leases a node makes; a lease's own row says whether it is being made."""

from datetime import datetime

import sqlalchemy as sa

from pve402.domain import lease
from pve402.storage import database, tables, transaction

_LOCK = 402_402_404
_columns = tables.leases.c
_CREATING, _RESERVED, _STARTING, _SETTLING, _UNWINDING = (
    lease.LeaseStatus.CREATING.value,
    lease.LeaseStatus.RESERVED.value,
    lease.LeaseStatus.STARTING.value,
    lease.LeaseStatus.SETTLING.value,
    lease.LeaseStatus.UNWINDING.value,
)


async def lock_node(db: database.Database, tx: transaction.Transaction, node: str) -> None:
    """Let only one transaction at a time, across all replicas, count what a node makes.

    SQLite needs no lock: it has only one writer.
    """
    if not db.is_sqlite:
        key = sa.func.hashtext(node)
        await tx.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK, key)))


async def count_others(
    tx: transaction.Transaction, node: str, lease_id: str, since: sa.ColumnElement[datetime]
) -> int:
    """Return how many other leases' guests a node makes, or may make if given up since a time."""
    status, asked_at = _columns.status, _columns.create_sent_at
    making = sa.or_(
        status == _CREATING,
        sa.and_(status == _RESERVED, asked_at.isnot(None)),
        sa.and_(status == _UNWINDING, asked_at >= since),
    )
    count = sa.select(sa.func.count()).where(
        _columns.node == node, _columns.ended_at.is_(None), making, _columns.lease_id != lease_id
    )
    return int((await tx.execute(count)).scalar_one())


async def count_of_tenants(tx: transaction.Transaction) -> int:
    """Return how many guests tenants wait for: not yet made, not yet up, or not handed over."""
    count = sa.select(sa.func.count()).where(
        _columns.status.in_([_RESERVED, _CREATING, _STARTING, _SETTLING]),
        _columns.owner.notin_((lease.NOBODY, lease.IMAGE)),
        _columns.ended_at.is_(None),
    )
    return int((await tx.execute(count)).scalar_one())
