"""Moves that add a warm guest to the pool, sell it, or discard it."""

from collections.abc import Collection

from pve402.domain import lease
from pve402.leases.moves import row_moves
from pve402.leases.moves.creation import UNWIND
from pve402.storage import database, lease_rows, transaction

Status = lease.LeaseStatus
Transaction = transaction.Transaction


async def enter_warm_pool(db: database.Database, tx: Transaction, row: lease.Lease) -> lease.Lease:
    """STARTING to POOLED: the guest waits for a tenant."""
    rests = {"due_at": None, "fence": None, "attempts": 0}
    path = {Status.STARTING: Status.POOLED}
    return await row_moves.move_fenced(tx, row, path, pooled_at=db.now(), **rests)


async def sell_warm(
    db: database.Database, tx: Transaction, wanted: lease.Lease, nodes: Collection[str]
) -> lease.Lease | None:
    """POOLED to SETTLING: sell the oldest waiting guest of this kind on these nodes.

    It gets the buyer's owner, host name, rates and metadata, and keeps its own leaseId. Returns
    None if there is no such guest. Two buyers never get the same one.
    """
    return await lease_rows.take_warm(db, tx, wanted, nodes)


async def discard_warm(
    db: database.Database, tx: Transaction, row: lease.Lease, reason: str
) -> lease.Lease:
    """POOLED to UNWINDING: a waiting guest is no longer wanted, or is broken."""
    due = {"due_at": db.now(), "fence": None}
    path = {Status.POOLED: Status.UNWINDING}
    return await row_moves.move(tx, row, path, row_moves.unheld(row), **due, end_reason=reason)


async def abandon(
    db: database.Database, tx: Transaction, row: lease.Lease, reason: str
) -> lease.Lease:
    """Any state of a creation to UNWINDING: its order gets another lease; it loses its owner."""
    due = {"due_at": db.now(), "fence": None}
    nobody = {"owner": lease.NOBODY, "metadata": {}}
    return await row_moves.move_fenced(tx, row, UNWIND, **due, **nobody, end_reason=reason)
