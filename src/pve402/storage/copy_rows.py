"""Queries about copies of tenants' disks, which are leases like any other."""

import sqlalchemy as sa

from pve402.domain import lease
from pve402.storage import database, order_rows, tables, transaction

_leases = tables.leases.c
IS_COPY = sa.or_(  # as `Lease.is_copy`
    _leases.forked_from.isnot(None), _leases.template.startswith(lease.PRIVATE_TEMPLATE)
)
_OVER = (lease.LeaseStatus.UNWINDING.value, lease.LeaseStatus.FAILED.value)
_NOT_UP = ("start_failed", "creation_timed_out")


async def failed(
    db: database.Database, tx: transaction.Transaction, account: str, for_seconds: float
) -> order_rows.Past:
    """Return how many copies for an account did not come up lately, unpaid."""
    created = sa.type_coerce(_leases.created_at, sa.BigInteger)
    query = sa.select(sa.func.count(), sa.func.max(_leases.created_at)).where(
        _leases.owner == account,
        created >= db.now(-for_seconds),
        IS_COPY,
        _leases.status.in_(_OVER),
        _leases.end_reason.in_(_NOT_UP),
        _leases.pooled_at.isnot(None),  # it was whole, and so was started
    )
    failures, last = (await tx.execute(query)).one()
    now = await db.time_in(tx)
    return order_rows.Past(claimed=False, failures=failures, last_failure_at=last, now=now)
