"""Moves of the operator: suspend a lease, resume it, end it."""

from typing import Any

from pve402.domain import happening, lease, power
from pve402.leases.moves import metering, row_moves
from pve402.storage import database, size_change_rows, snapshot_rows, transaction

Status = lease.LeaseStatus
Transaction = transaction.Transaction

_SAME = row_moves.stay({Status.ACTIVE, Status.STOPPED})


async def suspend(
    db: database.Database, tx: Transaction, row: lease.Lease, reason: str, *, time_held: bool
) -> lease.Lease:
    """ACTIVE or STOPPED, due at once: the guest should be down.

    Guard: no hold of an order, same wish.

    With `time_held`, the worker does not end the lease meanwhile, and `resume` moves its end.
    """
    moment = await db.time_in(tx)
    held = time_held and row.status is Status.ACTIVE
    values: dict[str, Any] = {
        "wanted": power.Wanted.SUSPENDED.value,
        "wanted_by": power.WantedBy.OPERATOR.value,
        "resumes_to": row.wanted.value,
        "suspended_at": moment,
        "suspend_reason": reason,
        "time_held": held,
    }
    if held:
        metered = metering.of(await metering.latest(tx, row), moment)
        if row.is_emptied:  # its time stands still anyway
            metered = metered.held(metered.metered_at, moment)
        values |= metered.at(moment).facts
    moved = await row_moves.move(tx, row, _SAME, _as_read(row), **values, **_due(db))
    await row_moves.note(db, tx, row, happening.Kind.SUSPENDED, reason)
    return moved


async def resume(db: database.Database, tx: Transaction, row: lease.Lease) -> lease.Lease:
    """ACTIVE or STOPPED, due at once: back to what was wanted before. Guard: still suspended."""
    suspension = row.suspension
    before = suspension.resumes_to if suspension is not None else power.Wanted.RUNNING
    values: dict[str, Any] = {"wanted": before.value, "wanted_by": power.WantedBy.OPERATOR.value}
    values |= dict.fromkeys(("resumes_to", "suspended_at", "suspend_reason"))
    if suspension is not None and suspension.time_held and row.status is Status.ACTIVE:
        moment = await db.time_in(tx)
        metered = metering.of(await metering.latest(tx, row), moment)
        values |= metered.held(suspension.since, moment).facts
        await size_change_rows.hold(tx, row.lease_id, suspension.since, moment)
        await snapshot_rows.hold(tx, row.lease_id, suspension.since, moment)
    only_if = {**_as_read(row), "suspended_at": _since(row)}
    moved = await row_moves.move(tx, row, _SAME, only_if, **values, time_held=False, **_due(db))
    await row_moves.note(db, tx, row, happening.Kind.RESUMED)
    return moved


async def end_by_operator(db: database.Database, tx: Transaction, row: lease.Lease) -> lease.Lease:
    """ACTIVE to STOPPING, STOPPED to DELETING: the operator ends the lease.

    Guard: no hold of an order.
    """
    path = {
        Status.ACTIVE: Status.STOPPING,
        Status.STOPPING: Status.STOPPING,
        Status.STOPPED: Status.DELETING,
    }
    ends: dict[str, Any] = {"deletes_at": db.now(), "end_reason": "ended_by_operator"}
    ends |= {"hold_order_id": None, "hold_until": None}
    moved = await row_moves.move(tx, row, path, row_moves.unless_ordered(row), **ends, **_due(db))
    await row_moves.note(db, tx, row, happening.Kind.END, "by the operator")
    return moved


def columns(suspension: power.Suspension | None) -> dict[str, Any]:
    """Return the columns of a suspension that was read from a guest's description."""
    if suspension is None:
        return {}
    return {
        "suspended_at": suspension.since,
        "suspend_reason": suspension.reason,
        "time_held": suspension.time_held,
        "resumes_to": suspension.resumes_to.value,
        "wanted_by": power.WantedBy.OPERATOR.value,
    }


def _as_read(row: lease.Lease) -> dict[str, Any]:
    return {**row_moves.unless_ordered(row), "wanted": row.wanted.value}


def _since(row: lease.Lease) -> Any:
    return None if row.suspension is None else row.suspension.since


def _due(db: database.Database) -> dict[str, Any]:
    return {"due_at": db.now(), "fence": None, "attempts": 0}
