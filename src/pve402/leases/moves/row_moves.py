"""Writes a move to the database; only for the moves in this package."""

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from pve402.domain import happening, lease
from pve402.storage import database, happening_rows, lease_rows, queue, transaction

Transaction = transaction.Transaction
AFRESH: Mapping[str, Any] = {"attempts": 0, "last_error": None}

Path = Mapping[lease.LeaseStatus, lease.LeaseStatus]


def stay(states: Iterable[lease.LeaseStatus]) -> dict[lease.LeaseStatus, lease.LeaseStatus]:
    return {status: status for status in states}


def unheld(row: lease.Lease) -> dict[str, Any]:
    return {"hold_order_id": None, "node": row.node}


def unless_ordered(row: lease.Lease) -> dict[str, Any]:
    """Return the guard of moves that a reinstallation does not keep waiting, but orders do."""
    return {"hold_order_id": lease.REINSTALL_HOLD if row.is_emptied else None}


async def move_fenced(tx: Transaction, row: lease.Lease, path: Path, **values: Any) -> lease.Lease:
    return await move(tx, row, path, {"fence": row.fence}, **values)


async def move(
    tx: Transaction,
    row: lease.Lease,
    path: Path,
    only_if: Mapping[str, Any],
    *conditions: sa.ColumnElement[bool],
    **values: Any,
) -> lease.Lease:
    """Write a move; `only_if` maps columns to their required values (SQL conditions are slower)."""
    after = path.get(row.status)
    if after is None:
        raise ValueError(f"no such move of a lease that is {row.status.value}")
    where = {"lease_id": row.lease_id, "status": row.status.value, **only_if}
    moved = await lease_rows.update(tx, where, {"status": after.value, **values}, *conditions)
    if moved is None:
        raise queue.FenceLostError
    return moved


async def move_power(
    db: database.Database,
    tx: Transaction,
    row: lease.Lease,
    only_if: Mapping[str, Any],
    **wanted: Any,
) -> lease.Lease:
    """ACTIVE, due at once, for other moves. Guard: no hold, and what the caller adds."""
    path = {lease.LeaseStatus.ACTIVE: lease.LeaseStatus.ACTIVE}
    due = {"due_at": db.now(), "fence": None, "attempts": 0}
    return await move(tx, row, path, {"hold_order_id": None, **only_if}, **wanted, **due)


def used_now(db: database.Database, row: lease.Lease) -> dict[str, Any]:
    """Return what begins a lease's idle time anew, if its tenant wants it paused after some."""
    return {"active_at": db.now()} if row.idle_pause_minutes else {}


async def note(
    db: database.Database,
    tx: Transaction,
    row: lease.Lease,
    kind: happening.Kind,
    detail: str = "",
) -> None:
    """Write down a move that leaves no time in the row."""
    await happening_rows.add(db, tx, kind, detail, lease_id=row.lease_id)
