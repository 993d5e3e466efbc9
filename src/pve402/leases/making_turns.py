"""Turns to make guests: a node makes only so many at once, over all replicas.

A lease's row is its turn, from the request for its guest to the end of that task, so a process that
dies holds none that nobody gives back. A guest that was given up counts while it may still be made.
"""

from pve402.domain import lease
from pve402.leases import moves, options, workflow
from pve402.storage import creation_rows, database, transaction

_PAUSE_SECONDS = 0.5
_KEPT_FOR_TENANTS = 2


def of_pool(settings: options.LeaseOptions) -> int:
    """Return how many turns of a node the warm pool may have; the others are left to tenants."""
    return max(1, settings.creates_per_node - _KEPT_FOR_TENANTS)


def of_copies(settings: options.LeaseOptions) -> int:
    """Return how many guests a node may make when the copy of a whole disk begins.

    That takes minutes, so copies leave turns to what takes seconds.
    """
    return max(1, settings.creates_per_node // 2)


async def check(db: database.Database, row: lease.Lease, settings: options.LeaseOptions) -> None:
    """Raise RetryLater while the lease's node makes as many guests as it may."""
    async with db.read() as tx:
        await _check(db, tx, row, settings)


async def take(
    db: database.Database,
    settings: options.LeaseOptions,
    tx: transaction.Transaction,
    row: lease.Lease,
) -> lease.Lease:
    """Note that we are about to ask for the guest. Raises RetryLater, FenceLostError."""
    await creation_rows.lock_node(db, tx, row.node)
    await _check(db, tx, row, settings)
    return await moves.note_create_sent(db, tx, row)


async def _check(
    db: database.Database,
    tx: transaction.Transaction,
    row: lease.Lease,
    settings: options.LeaseOptions,
) -> None:
    since = db.now(-settings.creation_limit_seconds)
    others = await creation_rows.count_others(tx, row.node, row.lease_id, since)
    if others >= most(row, settings):
        reason = f"node {row.node} makes {others} guests already"
        raise workflow.RetryLater(reason, after_seconds=_PAUSE_SECONDS)


def most(row: lease.Lease, settings: options.LeaseOptions) -> int:
    """Return how many guests a node may make when that of a lease begins to be made."""
    if row.owner == lease.NOBODY:
        return of_pool(settings)
    has_turn = row.create_sent_at is not None  # it was asked for
    if (row.is_copy or row.is_private_image) and not has_turn:
        return of_copies(settings)
    return settings.creates_per_node
