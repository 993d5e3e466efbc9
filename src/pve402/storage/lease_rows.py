"""Queries on the lease table."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from pve402.domain import lease, placement
from pve402.storage import database, tables

_leases = tables.leases
_OVER = [status.value for status in lease.OVER]
_GUEST_RUNS = {lease.LeaseStatus.SETTLING, lease.LeaseStatus.ACTIVE, lease.LeaseStatus.POOLED}


async def get(tx: AsyncConnection, lease_id: str) -> lease.Lease | None:
    """Return the lease of that identity."""
    return await _one(tx, sa.select(_leases).where(_leases.c.lease_id == lease_id))


async def get_by_vmid(tx: AsyncConnection, vmid: int) -> lease.Lease | None:
    """Return the lease that holds a vmid now: the only one that is not over, else the newest."""
    over = sa.case((_leases.c.status.in_(_OVER), 1), else_=0)
    query = (
        sa.select(_leases)
        .where(_leases.c.vmid == vmid)
        .order_by(over, _leases.c.created_at.desc())
        .limit(1)
    )
    return await _one(tx, query)


async def list_by_owners(
    tx: AsyncConnection, owners: Sequence[str], *, include_over: bool, limit: int = 5000
) -> list[lease.Lease]:
    """Return the leases of some accounts, oldest first; those that are over only if asked for."""
    query = sa.select(_leases).where(_leases.c.owner.in_(owners))
    if not include_over:
        query = query.where(_leases.c.status.notin_([*_OVER, lease.LeaseStatus.UNWINDING.value]))
    return await _many(tx, query.order_by(_leases.c.created_at).limit(limit))


async def list_standing(tx: AsyncConnection) -> list[lease.Lease]:
    """Return every lease that is not over."""
    return await _many(tx, sa.select(_leases).where(_leases.c.status.notin_(_OVER)))


async def list_by_ids(tx: AsyncConnection, lease_ids: Sequence[str]) -> list[lease.Lease]:
    """Return the leases of these identities, in no order."""
    return await _many(tx, sa.select(_leases).where(_leases.c.lease_id.in_(lease_ids)))


async def count(tx: AsyncConnection) -> int:
    """Return how many leases there ever were."""
    return await tx.scalar(sa.select(sa.func.count()).select_from(_leases)) or 0


async def list_promises(tx: AsyncConnection) -> list[placement.Promise]:
    """Return the room that leases take, whether or not their guests exist yet."""
    columns = (_leases.c.node, _leases.c.status, _leases.c.cores, _leases.c.memory_mb)
    query = sa.select(*columns, _leases.c.disk_gb).where(_leases.c.status.notin_(_OVER))
    return [
        placement.Promise(
            node=row.node,
            size=lease.Size(cores=row.cores, memory_mb=row.memory_mb, disk_gb=row.disk_gb),
            counted_by_node=lease.LeaseStatus(row.status) in _GUEST_RUNS,
        )
        for row in await tx.execute(query)
    ]


async def insert(
    db: database.Database, tx: AsyncConnection, new: lease.Lease, *, due: bool
) -> None:
    """Write a new lease, created now by the database's time; due now if a worker must look."""
    await tx.execute(
        _leases.insert().values(
            lease_id=new.lease_id,
            status=new.status.value,
            node=new.node,
            vmid=new.vmid,
            owner=new.owner,
            sku=new.sku,
            cores=new.size.cores,
            memory_mb=new.size.memory_mb,
            disk_gb=new.size.disk_gb,
            hostname=new.hostname,
            template=new.template,
            rates=dict(new.rates),
            metadata=dict(new.metadata),
            created_at=db.now(),
            due_at=db.now() if due else None,
            attempts=0,
            restarts=0,
        )
    )


async def move(
    tx: AsyncConnection,
    before: lease.Lease,
    after: lease.LeaseStatus,
    *conditions: sa.ColumnElement[bool],
    **values: object,
) -> lease.Lease | None:
    """Take a lease from the state it was read in to the next, if it is still in that state.

    Returns the lease as written, or None if it moved meanwhile or a condition does not hold.
    Raises ValueError for a transition that the table of the domain does not have.
    """
    if after is not before.status and not lease.may_follow(before.status, after):
        raise ValueError(f"{before.status.value} is not followed by {after.value}")
    query = (
        _leases.update()
        .where(_leases.c.lease_id == before.lease_id, _leases.c.status == before.status.value)
        .where(*conditions)
        .values(status=after.value, **values)
        .returning(_leases)
    )
    row = (await tx.execute(query)).mappings().one_or_none()
    return None if row is None else lease.Lease.from_row(row)


async def _one(tx: AsyncConnection, query: sa.Select[tuple[object, ...]]) -> lease.Lease | None:
    row = (await tx.execute(query)).mappings().one_or_none()
    return None if row is None else lease.Lease.from_row(row)


async def _many(tx: AsyncConnection, query: sa.Select[tuple[object, ...]]) -> list[lease.Lease]:
    return [lease.Lease.from_row(row) for row in (await tx.execute(query)).mappings()]
