"""Moves of a change of size: begin it, stop its guest for it, end it, take it back.

What becomes more is taken at once, capacity and burn alike, so nobody gets it unpaid. It is given
back from then until Proxmox was first asked, or altogether, so nobody pays before it is there. What
becomes less stays the lease's, and burns, until the guest was seen without it.
"""

from datetime import datetime
from typing import Any

from pve402.domain import happening, lease, power
from pve402.domain import size_changes as changes
from pve402.leases.moves import metering, row_moves
from pve402.storage import database, transaction

Status = lease.LeaseStatus
Transaction = transaction.Transaction

_ACTIVE = row_moves.stay({Status.ACTIVE})
_CHANGEABLE = frozenset({power.Wanted.RUNNING, power.Wanted.STOPPED})


async def begin_size_change(
    db: database.Database,
    tx: Transaction,
    row: lease.Lease,
    change: changes.SizeChange,
    moment: datetime,
) -> lease.Lease:
    """ACTIVE, due at once: a worker is to give the guest another size.

    Guard: no hold, not suspended, not paused, same wish, same size.
    """
    only_if = {
        **dict.fromkeys(("hold_order_id", "suspended_at", "paused_at", "pause_asked_at")),
        "wanted": row.wanted.value,
        **_size(row.size),
    }
    burning = change.begun(metering.rated(row, moment), moment)
    due = {"due_at": db.now(), "fence": None, "attempts": 0}
    values = {**_size(change.held_size), **burning.facts, **due}
    moved = await row_moves.move(tx, row, _ACTIVE, only_if, **values)
    words = f"to {_words(change.after)}, from {_words(change.before)}"
    await row_moves.note(db, tx, row, happening.Kind.SIZE, words)
    return moved


async def stop_to_change(tx: Transaction, row: lease.Lease) -> lease.Lease:
    """ACTIVE: the guest should be down until it has its size. Guard: the fence, same wish."""
    values = {"wanted": power.Wanted.STOPPED.value, "wanted_by": power.WantedBy.TENANT.value}
    return await row_moves.move(tx, row, _ACTIVE, _as_ours(row), **values)


async def end_size_change(
    tx: Transaction, row: lease.Lease, change: changes.SizeChange, moment: datetime
) -> lease.Lease:
    """ACTIVE: the guest has its size, and the lease burns for just that. Guard: the fence."""
    latest = await metering.latest(tx, row)
    values = {**_size(change.after), "rates": dict(change.rates_after)}
    values |= change.ended(metering.of(latest, moment), moment).facts
    return await row_moves.move(tx, row, _ACTIVE, _as_ours(row), **values, **_back(row, change))


async def undo_size_change(
    tx: Transaction, row: lease.Lease, change: changes.SizeChange, moment: datetime
) -> lease.Lease:
    """ACTIVE or STOPPING: the change cannot be made, and was never paid for. Guard: the fence."""
    path = row_moves.stay({Status.ACTIVE, Status.STOPPING})
    latest = await metering.latest(tx, row)
    values = {**_size(change.before), **change.undone(metering.of(latest, moment), moment).facts}
    return await row_moves.move(tx, row, path, _as_ours(row), **values)


async def end_undoing(tx: Transaction, row: lease.Lease, change: changes.SizeChange) -> lease.Lease:
    """ACTIVE: the guest has the size of before. Guard: the fence, same wish."""
    return await row_moves.move(tx, row, _ACTIVE, _as_ours(row), **_back(row, change))


def is_changeable(row: lease.Lease) -> bool:
    """Return whether a lease's guest runs or is down, as its tenant likes, and is not paused."""
    return row.wanted in _CHANGEABLE and not row.is_paused


def _back(row: lease.Lease, change: changes.SizeChange) -> dict[str, Any]:
    """Return what is wanted again of a guest that was stopped for the change."""
    if change.resumes_to is None or row.wanted is not power.Wanted.STOPPED:
        return {}
    return {"wanted": change.resumes_to}


def _as_ours(row: lease.Lease) -> dict[str, Any]:
    """Return a guard; whoever suspends the lease or wants something else takes the fence."""
    return {"fence": row.fence, "wanted": row.wanted.value}


def _size(size: lease.Size) -> dict[str, int]:
    return {name: getattr(size, name) for name in changes.DIMENSIONS}


def _words(size: lease.Size) -> str:
    return f"{size.cores} cores, {size.memory_mb} MiB, {size.disk_gb} GiB"
