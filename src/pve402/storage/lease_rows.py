"""Queries on the lease table."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from pve402.domain import inbound, lease, placement
from pve402.storage import clock, database, tables, transaction, updates

_leases = tables.leases
OTHERS = _leases.alias("others")
"""The table once more, for queries about a lease that look at others."""
_OVER = [status.value for status in lease.OVER]
STANDS = sa.and_(  # set once a lease is over; few leases are not, and an index covers only those
    tables.leases.c.ended_at.is_(None),
    *(tables.leases.c.status != status for status in _OVER),
)
"""Matches the leases that are not over."""
_SIZES = ("cores", "memory_mb", "disk_gb")
_FEW = 20  # up to this many rows are read in the event loop, more in a thread
_MOST_LISTED = 5000
_KEPT_READY = ["reserved", "creating", "starting", "pooled"]
_GUEST_DOWN = {lease.LeaseStatus.STOPPED, lease.LeaseStatus.DELETING}
_GUEST_MADE = {
    *(lease.LeaseStatus.SETTLING, lease.LeaseStatus.ACTIVE, lease.LeaseStatus.POOLED),
    *(lease.LeaseStatus.STOPPING, *_GUEST_DOWN),
}


async def get(tx: transaction.Transaction, lease_id: str) -> lease.Lease | None:
    """Return the lease with this id."""
    return _lease(await tx.run(_GET, lease_id=lease_id))


async def template_of(tx: transaction.Transaction, lease_id: str) -> str:
    """Return what a lease's guest was made of; empty if there is no such lease."""
    found = (await tx.run(_TEMPLATE, lease_id=lease_id)).one_or_none()
    return "" if found is None else str(found.template)


async def get_locked(tx: transaction.Transaction, lease_id: str) -> lease.Lease | None:
    """Return the lease with this id, which nobody else writes before the transaction ends."""
    return _lease(await tx.run(_GET_LOCKED, lease_id=lease_id))


async def get_of_order(tx: transaction.Transaction, order_id: str) -> lease.Lease | None:
    """Return the lease that an order currently belongs to."""
    return _lease(await tx.run(_GET_OF_ORDER, order_id=order_id))


async def get_by_vmid(tx: transaction.Transaction, vmid: int) -> lease.Lease | None:
    """Return the lease of a vmid: the one that is not over, otherwise the newest."""
    return _lease(await tx.run(_GET_BY_VMID, vmid=vmid))


async def list_by_owners(
    tx: transaction.Transaction,
    owners: Sequence[str],
    *,
    include_over: bool,
    limit: int = _MOST_LISTED,
) -> list[lease.Lease]:
    """Return the leases of some accounts, oldest first; ended ones only if asked for.

    With ended leases included, returns the newest `limit` leases plus any older ones that are not
    over.
    """
    values = transaction.filled({"owners": list(owners), "most": limit})
    if include_over:
        newest = await tx.execute(_LIST_NEWEST_OF_OWNERS, values)
        standing = await tx.execute(_LIST_OF_OWNERS, values)
        return await asyncio.to_thread(_merged, newest, standing)
    few = _many(await tx.run(_LIST_FEW_OF_OWNERS, owners=list(owners)))
    if len(few) < _FEW:
        return few
    return _many(await tx.execute(_LIST_OF_OWNERS, values))


async def owns_any(tx: transaction.Transaction, owners: Sequence[str]) -> bool:
    """Return whether any of these accounts ever had a lease."""
    return (await tx.run(_ONE_OF_OWNERS, owners=list(owners))).one_or_none() is not None


async def list_standing(tx: transaction.Transaction) -> list[lease.Lease]:
    """Return every lease that is not over."""
    return _many(await tx.execute(_LIST_STANDING))


async def list_trials(tx: transaction.Transaction) -> list[lease.Lease]:
    """Return the doctor's guests that are not gone yet."""
    query = sa.select(_leases).where(STANDS, _leases.c.owner == lease.DOCTOR)
    return _many(await tx.execute(query))


async def list_warm_pool(tx: transaction.Transaction) -> list[lease.Lease]:
    """Return the guests of the warm pool, including those being created, oldest first."""
    return _many(await tx.execute(_LIST_WARM_POOL))


async def list_warm_failures(
    tx: transaction.Transaction, reasons: Collection[str], since: sa.ColumnElement[datetime]
) -> list[lease.Lease]:
    """Return warm-pool guests created since a given time that ended for one of these reasons."""
    query = sa.select(_leases).where(
        _leases.c.owner == lease.NOBODY,
        _leases.c.created_at >= since,
        _leases.c.end_reason.in_(reasons),
    )
    return _many(await tx.execute(query))


async def take_warm(
    db: database.Database, tx: transaction.Transaction, wanted: lease.Lease, nodes: Collection[str]
) -> lease.Lease | None:
    """Assign the longest-waiting guest of the wanted kind on these nodes to a tenant.

    Returns the lease, which keeps its id and gets the wanted owner, host name, rates and metadata;
    None if no guest is available. Two buyers never get the same guest.
    """
    ready = (
        sa.select(_leases.c.lease_id)
        .where(*_is_ready(wanted.sku, wanted.size), _leases.c.template == wanted.template)
        .where(_leases.c.node.in_(nodes), _leases.c.network == wanted.network)
        .where(_leases.c.made_of == wanted.made_of)
        .order_by(_leases.c.pooled_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    query = (
        _leases.update()
        .where(_leases.c.lease_id == ready.scalar_subquery())
        .where(_leases.c.status == lease.LeaseStatus.POOLED.value)
        .values(
            status=lease.LeaseStatus.SETTLING.value,
            owner=wanted.owner,
            hostname=wanted.hostname,
            rates=dict(wanted.rates),
            metadata=dict(wanted.metadata),
            client_address=wanted.client_address,
            created_at=db.now(),
            due_at=None,
            fence=None,
            attempts=0,
        )
        .returning(_leases)
    )
    row = transaction.only(await tx.execute(query))
    return None if row is None else lease.Lease.from_row(row)


async def is_warm(tx: transaction.Transaction, sku: str, size: lease.Size) -> bool:
    """Return whether the warm pool has a guest of a kind on any node."""
    query = sa.select(_leases.c.lease_id).where(*_is_ready(sku, size)).limit(1)
    return await tx.scalar(query) is not None


async def list_by_ids(tx: transaction.Transaction, lease_ids: Sequence[str]) -> list[lease.Lease]:
    """Return the leases with these ids, in no particular order."""
    return _many(await tx.execute(sa.select(_leases).where(_leases.c.lease_id.in_(lease_ids))))


async def count(tx: transaction.Transaction) -> int:
    """Return how many leases were ever created."""
    return await tx.scalar(sa.select(sa.func.count()).select_from(_leases)) or 0


async def list_promises(tx: transaction.Transaction) -> list[placement.Promise]:
    """Return the capacity that leases take up, whether or not their guests exist yet.

    Returns one promise per node, storage and state, covering all such leases. A paused lease keeps
    only its disk, and so does a lease in grace, unless a renewal holds it. A private image does
    too, and counts as no lease.
    Reads an index of the leases that are not over: 0.2 ms per 1,000.
    """
    found = await tx.run(_LIST_PROMISES)
    return [
        _promise(node, storage, status, (held, asleep), sums)
        for node, storage, status, held, asleep, *sums in found
    ]


async def list_storages(tx: transaction.Transaction) -> dict[int, str]:
    """Return the storages that the guests of leases have their disks on, where recorded."""
    return {int(vmid): str(storage) for vmid, storage in await tx.run(_LIST_STORAGES)}


async def insert(
    db: database.Database, tx: transaction.Transaction, new: lease.Lease, *, due: bool
) -> None:
    """Insert a new lease, created now by the database's time; due at once if it needs a worker."""
    await tx.run(
        _INSERT_DUE if due else _INSERT,
        now_ms=db.shift_ms(),
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
        client_address=new.client_address,
        network=new.network,
        addresses=dict(new.addresses),
        address_count=new.address_count,
        link=new.link.value,
        rules_at=new.rules_at,
        openings=stored_openings(new.openings),
        made_of=new.made_of,
        storage=new.storage,
        forked_from=new.forked_from,
    )


def stored_openings(openings: Sequence[inbound.Opening] | None) -> dict[str, Any] | None:
    """Return the value of the column for what a tenant lets in."""
    return None if openings is None else {"openings": inbound.to_list(openings)}


async def update(
    tx: transaction.Transaction,
    where: Mapping[str, Any],
    values: Mapping[str, Any],
    *conditions: sa.ColumnElement[bool],
) -> lease.Lease | None:
    """Update the lease whose columns have the given values, and return the updated lease.

    Returns None if a column or a condition does not match. Raises ValueError for a transition that
    the domain does not allow.
    """
    before, after = where.get("status"), values.get("status")
    if before != after and not lease.may_follow(
        lease.LeaseStatus(before), lease.LeaseStatus(after)
    ):
        raise ValueError(f"{before} is not followed by {after}")
    return _lease(await updates.update(tx, _leases, where, values, *conditions))


def _promise(
    node: str, storage: str | None, status: str, dormant: tuple[bool, bool], sums: Sequence[int]
) -> placement.Promise:
    leases, cores, memory_mb, disk_gb = sums
    is_held, is_asleep = dormant
    state = lease.LeaseStatus(status)
    only_disk = is_asleep or (state in _GUEST_DOWN and not is_held)
    return placement.Promise(
        node=node,
        storage=storage,
        size=lease.Size(
            cores=0 if only_disk else cores,
            memory_mb=0 if only_disk else memory_mb,
            disk_gb=disk_gb,
        ),
        made=state in _GUEST_MADE,
        leases=leases,
    )


def _is_ready(sku: str, size: lease.Size) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        _leases.c.owner == lease.NOBODY,
        _leases.c.ended_at.is_(None),
        _leases.c.status == lease.LeaseStatus.POOLED.value,
        _leases.c.sku == sku,
        _leases.c.cores == size.cores,
        _leases.c.memory_mb == size.memory_mb,
        _leases.c.disk_gb == size.disk_gb,
    )


def _lease(found: transaction.Found) -> lease.Lease | None:
    row = transaction.only(found)
    return None if row is None else lease.Lease.from_row(row)


def _many(found: transaction.Found) -> list[lease.Lease]:
    return [lease.Lease.from_row(row) for row in transaction.named(found)]


def _merged(*found: transaction.Found) -> list[lease.Lease]:
    by_id = {row.lease_id: row for rows in found for row in _many(rows)}
    return sorted(by_id.values(), key=lambda row: row.created_at)


_GIVEN = (
    *("lease_id", "status", "node", "vmid", "owner", "sku", "cores", "memory_mb", "disk_gb"),
    *("hostname", "template", "rates", "metadata", "client_address"),
    *("network", "addresses", "address_count", "link", "rules_at", "openings"),
    *("made_of", "storage", "forked_from"),
)


def _inserting(*, due: bool) -> transaction.Query:
    now = clock.Moment(transaction.hole("now_ms", type_=sa.BigInteger))
    given = {name: transaction.hole(name, type_=_leases.c[name].type) for name in _GIVEN}
    made = {"created_at": now, "due_at": now if due else None, "attempts": 0, "restarts": 0}
    return _leases.insert().values({**given, **made})


_GET = sa.select(_leases).where(_leases.c.lease_id == transaction.hole("lease_id"))
_GET_LOCKED = _GET.with_for_update()
_GET_OF_ORDER = sa.select(_leases).where(
    _leases.c.lease_id
    == sa.select(tables.orders.c.lease_id)
    .where(tables.orders.c.order_id == transaction.hole("order_id"))
    .scalar_subquery()
)
_GET_BY_VMID = (
    sa.select(_leases)
    .where(_leases.c.vmid == transaction.hole("vmid"))
    .order_by(sa.case((STANDS, 0), else_=1), _leases.c.created_at.desc())
    .limit(1)
)
_OF_OWNERS = _leases.c.owner.in_(transaction.holes("owners"))
_ONE_OF_OWNERS = sa.select(_leases.c.lease_id).where(_OF_OWNERS).limit(1)
_LIST_NEWEST_OF_OWNERS = (
    sa.select(_leases)
    .where(_OF_OWNERS)
    .order_by(_leases.c.created_at.desc())
    .limit(transaction.hole("most", type_=sa.Integer))
)
_LIST_OF_OWNERS = (
    sa.select(_leases)
    .where(_OF_OWNERS, STANDS, _leases.c.status != lease.LeaseStatus.UNWINDING.value)
    .order_by(_leases.c.created_at)
)
_LIST_FEW_OF_OWNERS = _LIST_OF_OWNERS.limit(_FEW)
_LIST_WARM_POOL = (
    sa.select(_leases)
    .where(_leases.c.owner == lease.NOBODY, _leases.c.ended_at.is_(None))
    .where(_leases.c.status.in_(_KEPT_READY))
    .order_by(_leases.c.created_at)
)
_LIST_STANDING = sa.select(_leases).where(STANDS)
_HELD = _leases.c.hold_order_id.isnot(None)
IS_PRIVATE_IMAGE = _leases.c.owner.startswith(lease.PRIVATE)
"""Matches the private images of all tenants."""
_ASLEEP = sa.or_(_leases.c.paused_at.isnot(None), IS_PRIVATE_IMAGE)
_LIST_PROMISES = (
    sa.select(
        _leases.c.node,
        _leases.c.storage,
        _leases.c.status,
        _HELD,
        _ASLEEP,
        sa.func.sum(sa.case((IS_PRIVATE_IMAGE, 0), else_=1)),
        *(sa.func.sum(_leases.c[name]) for name in _SIZES),
    )
    .where(STANDS)
    .group_by(_leases.c.node, _leases.c.storage, _leases.c.status, _HELD, _ASLEEP)
)
_LIST_STORAGES = sa.select(_leases.c.vmid, _leases.c.storage).where(
    STANDS, _leases.c.storage.isnot(None)
)
_TEMPLATE = sa.select(_leases.c.template).where(_leases.c.lease_id == transaction.hole("lease_id"))
_INSERT, _INSERT_DUE = _inserting(due=False), _inserting(due=True)
