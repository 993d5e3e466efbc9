"""Queries about private images: rows of the lease table whose owner begins with `lease.PRIVATE`."""

from collections.abc import Sequence

import sqlalchemy as sa

from pve402.domain import lease, private_images
from pve402.storage import lease_rows, tables, transaction

_leases = tables.leases.c
_UNWINDING = lease.LeaseStatus.UNWINDING.value


async def list_of(tx: transaction.Transaction, accounts: Sequence[str]) -> list[lease.Lease]:
    """Return the images of some accounts that are not gone, those being saved included."""
    owners = [private_images.owner_of(account) for account in accounts]
    return await lease_rows.list_by_owners(tx, owners, include_over=False)


async def list_standing(tx: transaction.Transaction) -> list[lease.Lease]:
    """Return the images of all tenants that are not gone, oldest first."""
    query = sa.select(*_leases).where(lease_rows.IS_PRIVATE_IMAGE, lease_rows.STANDS)
    found = await tx.execute(query.order_by(_leases.created_at))
    return [lease.Lease.from_row(row) for row in transaction.named(found)]


async def check_none(tx: transaction.Transaction, lease_id: str) -> None:
    """Raise LeaseBusy while a lease's guest is saved as a private image."""
    private_images.check_unsaved(await list_standing(tx), lease_id)


async def count(tx: transaction.Transaction) -> int:
    """Return how many images there are, those being saved included."""
    query = sa.select(sa.func.count()).where(
        lease_rows.IS_PRIVATE_IMAGE, lease_rows.STANDS, _leases.status != _UNWINDING
    )
    return await tx.scalar(query) or 0
