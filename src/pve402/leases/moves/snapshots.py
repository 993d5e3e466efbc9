"""Moves of snapshots: look at a lease's snapshots, stop its guest for a rollback, let it go on."""

from typing import Any

from pve402.domain import happening, lease, power
from pve402.leases.moves import row_moves
from pve402.storage import database, transaction

Status = lease.LeaseStatus
Transaction = transaction.Transaction

_ACTIVE = row_moves.stay({Status.ACTIVE})


async def look_at_snapshots(
    db: database.Database, tx: Transaction, row: lease.Lease
) -> lease.Lease:
    """ACTIVE, due at once: a snapshot is to be taken or deleted, or its rollback goes on.

    Guard: no hold, not suspended.
    """
    only_if = {"hold_order_id": None, "suspended_at": None}
    return await row_moves.move(tx, row, _ACTIVE, only_if, **_due(db))


async def begin_rollback(db: database.Database, tx: Transaction, row: lease.Lease) -> lease.Lease:
    """ACTIVE, due at once: the guest should be down until it was rolled back.

    Every process keeps it down for that, one that knows no snapshots included. Guard: no hold, not
    suspended, same wish, connected.
    """
    only_if = {
        "hold_order_id": None,
        "suspended_at": None,
        "wanted": row.wanted.value,
        "link": row.link.value,
    }
    values = {"wanted": power.Wanted.STOPPED.value, "wanted_by": power.WantedBy.TENANT.value}
    moved = await row_moves.move(tx, row, _ACTIVE, only_if, **values, **_due(db))
    await row_moves.note(db, tx, row, happening.Kind.ROLLBACK, "by the tenant")
    return moved


async def end_rollback(tx: Transaction, row: lease.Lease, resumes_to: power.Wanted) -> lease.Lease:
    """ACTIVE, unchanged but for what is wanted: the guest was rolled back, and is whole again.

    Guard: the fence, not suspended, same wish.
    """
    only_if = {"fence": row.fence, "suspended_at": None, "wanted": row.wanted.value}
    return await row_moves.move(tx, row, _ACTIVE, only_if, wanted=resumes_to.value)


def _due(db: database.Database) -> dict[str, Any]:
    return {"due_at": db.now(), "fence": None, "attempts": 0}
