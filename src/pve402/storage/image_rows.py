"""Queries about prepared images: rows of the lease table with an owner of their own."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from pve402.domain import lease
from pve402.storage import lease_rows, tables, transaction

_leases = tables.leases.c
_IMAGE = _leases.owner == lease.IMAGE


async def list_standing(tx: transaction.Transaction) -> list[lease.Lease]:
    """Return the images that are not gone, those being made included, oldest first."""
    query = sa.select(*_leases).where(_IMAGE, lease_rows.STANDS).order_by(_leases.created_at)
    return _many(await tx.execute(query))


async def list_usable(tx: transaction.Transaction, row: lease.Lease) -> list[lease.Lease]:
    """Return the images of a lease's template and storage, on any node, the newest first."""
    same = (_leases[name] == getattr(row, name) for name in ("storage", "template"))
    query = sa.select(*_leases).where(_IMAGE, lease_rows.STANDS, *same, *_USABLE)
    return _many(await tx.execute(query.order_by(_leases.created_at.desc())))


async def lock_usable(tx: transaction.Transaction, lease_id: str) -> bool:
    """Return whether an image may still be cloned; nobody retires it in this transaction."""
    query = sa.select(_leases.lease_id).where(_leases.lease_id == lease_id, _IMAGE, *_USABLE)
    return await tx.scalar(query.with_for_update()) is not None


async def copied(tx: transaction.Transaction, lease_ids: Sequence[str]) -> set[str]:
    """Return which of these images have clones that stand, or may still be made."""
    query = sa.select(_leases.base).where(lease_rows.STANDS, _leases.base.in_(lease_ids))
    return {str(base) for base in (await tx.execute(query.distinct())).scalars()}


async def lock(tx: transaction.Transaction, lease_ids: Sequence[str]) -> None:
    """Let nobody note a new clone of these images before the transaction ends."""
    query = sa.select(_leases.lease_id).where(_leases.lease_id.in_(lease_ids))
    await tx.execute(query.order_by(_leases.lease_id).with_for_update())


async def list_failed(
    tx: transaction.Transaction, since: sa.ColumnElement[datetime]
) -> list[lease.Lease]:
    """Return the images that could not be prepared, and are not gone or went since a time."""
    failed = sa.or_(
        _leases.status == Status.UNWINDING.value,
        sa.and_(_leases.status == Status.FAILED.value, _leases.ended_at >= since),
    )
    return _many(await tx.execute(sa.select(*_leases).where(_IMAGE, failed)))


Status = lease.LeaseStatus
_USABLE = (
    _leases.status == Status.STOPPED.value,
    _leases.end_reason.is_(None),
    _leases.deletes_at.is_(None),
)


def _many(found: transaction.Found) -> list[lease.Lease]:
    return [lease.Lease.from_row(row) for row in transaction.named(found)]
