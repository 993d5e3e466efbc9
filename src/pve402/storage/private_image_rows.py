"""Queries about private images: rows of the lease table whose owner begins with `lease.PRIVATE`."""

from collections.abc import Sequence

import sqlalchemy as sa

from pve402.domain import lease, private_images
from pve402.storage import database, lease_rows, order_rows, tables, transaction

_leases = tables.leases.c
_UNWINDING = lease.LeaseStatus.UNWINDING.value
_NOT_UP = ("start_failed", "creation_timed_out")


async def list_of(tx: transaction.Transaction, accounts: Sequence[str]) -> list[lease.Lease]:
    """Return the images of some accounts that are not gone, those being saved included."""
    owners = [private_images.owner_of(account) for account in accounts]
    return await lease_rows.list_by_owners(tx, owners, include_over=False)


async def list_standing(tx: transaction.Transaction) -> list[lease.Lease]:
    """Return the images of all tenants that are not gone, oldest first."""
    query = sa.select(*_leases).where(lease_rows.IS_PRIVATE_IMAGE, lease_rows.STANDS)
    found = await tx.execute(query.order_by(_leases.created_at))
    return [lease.Lease.from_row(row) for row in transaction.named(found)]


async def count(tx: transaction.Transaction) -> int:
    """Return how many images there are, those being saved included."""
    query = sa.select(sa.func.count()).where(
        lease_rows.IS_PRIVATE_IMAGE, lease_rows.STANDS, _leases.status != _UNWINDING
    )
    return await tx.scalar(query) or 0


async def failed_copies(
    db: database.Database, tx: transaction.Transaction, account: str, for_seconds: float
) -> order_rows.Past:
    """Return how many leases from an account's images did not come up lately, unpaid."""
    created = sa.type_coerce(_leases.created_at, sa.BigInteger)
    query = sa.select(sa.func.count(), sa.func.max(_leases.created_at)).where(
        _leases.owner == account,
        created >= db.now(-for_seconds),
        _leases.template.startswith(lease.PRIVATE_TEMPLATE),
        _leases.status.in_((_UNWINDING, lease.LeaseStatus.FAILED.value)),
        _leases.end_reason.in_(_NOT_UP),
        _leases.pooled_at.isnot(None),  # it was whole, and so was started
    )
    failures, last = (await tx.execute(query)).one()
    now = await db.time_in(tx)
    return order_rows.Past(claimed=False, failures=failures, last_failure_at=last, now=now)
