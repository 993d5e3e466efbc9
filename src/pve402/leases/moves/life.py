"""Moves that switch the guest of an active lease, keep it running, and end the lease."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from pve402.domain import happening, inbound, lease, power
from pve402.leases.moves import row_moves
from pve402.storage import database, lease_rows, queue, tables, transaction

Status = lease.LeaseStatus
Transaction = transaction.Transaction


async def want_running(
    db: database.Database, tx: Transaction, row: lease.Lease, by: power.WantedBy
) -> lease.Lease:
    """ACTIVE, due at once: the guest should run, and no pause is asked for any more.

    Guard: no hold, not suspended, not paused: a paused lease is woken.
    """
    return await _want(db, tx, row, power.Wanted.RUNNING, by)


async def want_stopped(
    db: database.Database, tx: Transaction, row: lease.Lease, by: power.WantedBy
) -> lease.Lease:
    """ACTIVE, due at once: the guest should be down; its paid time continues.

    Guard: no hold, not suspended.
    """
    return await _want(db, tx, row, power.Wanted.STOPPED, by)


async def note_reboot(db: database.Database, tx: Transaction, row: lease.Lease) -> None:
    """Write down that the tenant asked for a reboot; the row stays as it is."""
    await row_moves.note(db, tx, row, happening.Kind.REBOOT, "by the tenant")


async def want_inbound(
    db: database.Database,
    tx: Transaction,
    row: lease.Lease,
    openings: Sequence[inbound.Opening] | None,
) -> lease.Lease:
    """ACTIVE, due at once: the tenant chose what is let in to the guest; its rules are outdated.

    Guard: no hold, not suspended.
    """
    wanted = lease_rows.stored_openings(openings)
    outdated = {"openings": wanted, "rules_key": None}
    return await row_moves.move_power(db, tx, row, {"suspended_at": None}, **outdated)


async def note_isolated(
    db: database.Database, tx: Transaction, row: lease.Lease, key: str
) -> lease.Lease:
    """ACTIVE or STOPPED, unchanged: a connected guest from before got isolation rules."""
    path = row_moves.stay({Status.ACTIVE, Status.STOPPED})
    return await row_moves.move(tx, row, path, {}, rules_at=db.now(), rules_key=key)


async def check_power(db: database.Database, tx: Transaction, row: lease.Lease) -> lease.Lease:
    """ACTIVE, due at once: the guest is not in the wanted power state."""
    return await row_moves.move_power(db, tx, row, {})


async def wait(tx: Transaction, row: lease.Lease, until: datetime) -> lease.Lease:
    """ACTIVE or STOPPED, unchanged: there is nothing to do before `until`."""
    path = row_moves.stay({Status.ACTIVE, Status.STOPPED})
    return await row_moves.move_fenced(tx, row, path, due_at=until, fence=None, attempts=0)


async def begin_stopping(
    db: database.Database, tx: Transaction, row: lease.Lease, reason: str
) -> lease.Lease:
    """ACTIVE to STOPPING: the time is over. Guard: no hold, or an expired one."""
    path = {Status.ACTIVE: Status.STOPPING}
    if row.hold_until is None:
        only_if = {"fence": row.fence, "hold_until": None}
        return await row_moves.move(tx, row, path, only_if, end_reason=reason, **row_moves.AFRESH)
    over = sa.or_(tables.leases.c.hold_until.is_(None), tables.leases.c.hold_until <= db.now())
    return await row_moves.move(
        tx, row, path, {"fence": row.fence}, over, end_reason=reason, **row_moves.AFRESH
    )


async def keep_stopped(tx: Transaction, row: lease.Lease, deletes_at: Any) -> lease.Lease:
    """STOPPING to STOPPED: the guest is down, and kept until `deletes_at` for a renewal."""
    path = {Status.STOPPING: Status.STOPPED}
    due = {"deletes_at": deletes_at, "due_at": deletes_at, "fence": None}
    return await row_moves.move_fenced(tx, row, path, **due, **row_moves.AFRESH)


async def begin_deleting(tx: Transaction, row: lease.Lease) -> lease.Lease:
    """STOPPING or STOPPED to DELETING: the guest must be destroyed.

    Guard: no hold, not even an expired one: while its order is open, the money may have moved.
    """
    path = {Status.STOPPING: Status.DELETING, Status.STOPPED: Status.DELETING}
    return await row_moves.move(
        tx, row, path, {"fence": row.fence, "hold_order_id": None}, **row_moves.AFRESH
    )


async def end(db: database.Database, tx: Transaction, row: lease.Lease, reason: str) -> lease.Lease:
    """STOPPING or DELETING to ENDED, UNWINDING to FAILED: the guest is gone."""
    path = {
        Status.STOPPING: Status.ENDED,
        Status.DELETING: Status.ENDED,
        Status.UNWINDING: Status.FAILED,
    }
    rests = {"due_at": None, "fence": None}
    return await row_moves.move_fenced(tx, row, path, ended_at=db.now(), end_reason=reason, **rests)


async def end_early(db: database.Database, tx: Transaction, row: lease.Lease) -> lease.Lease:
    """ACTIVE to STOPPING, STOPPED to DELETING: the owner ends the lease.

    Guard: no hold of an order, not suspended.
    """
    path = {Status.STOPPING: Status.STOPPING, **_END}
    due: dict[str, Any] = {"deletes_at": db.now(), "due_at": db.now(), "fence": None}
    due |= {"attempts": 0, "hold_order_id": None, "hold_until": None}
    reason = "ended_by_owner"
    only_if = {**row_moves.unless_ordered(row), "suspended_at": None}
    moved = await row_moves.move(tx, row, path, only_if, end_reason=reason, **due)
    await row_moves.note(db, tx, row, happening.Kind.END, "by the owner")
    return moved


async def follow_when_due(
    db: database.Database, tx: Transaction, row: lease.Lease, node: str
) -> None:
    """Any state, unchanged and due at once: the guest is on another node.

    Guard: only the fence, since the worker may have moved the lease since it read the row.
    """
    where = {"lease_id": row.lease_id, "fence": row.fence}
    values = {"node": node, "due_at": db.now(), "fence": None}
    if await lease_rows.update(tx, where, values) is None:
        raise queue.FenceLostError


async def follow(tx: Transaction, row: lease.Lease, node: str) -> lease.Lease:
    """ACTIVE, STOPPED or POOLED, unchanged: the guest is on another node."""
    path = row_moves.stay({Status.ACTIVE, Status.STOPPED, Status.POOLED})
    return await row_moves.move(tx, row, path, row_moves.unheld(row), node=node)


async def count_restart(
    db: database.Database, tx: Transaction, row: lease.Lease, *, first_of_hour: bool
) -> lease.Lease:
    """ACTIVE: the guest is restarted. If several replicas saw it down, only one counts it."""
    path = {Status.ACTIVE: Status.ACTIVE}
    to_run = {"wanted": power.Wanted.RUNNING.value, "restarts": row.restarts}
    only_if = {**row_moves.unheld(row), **to_run}
    counted: dict[str, Any] = {"restarts": row.restarts + 1}
    if first_of_hour:
        counted = {"restarts": 1, "restarts_since": db.now()}
    moved = await row_moves.move(tx, row, path, only_if, **counted)
    await row_moves.note(db, tx, row, happening.Kind.RESTARTED, "its guest was down")
    return moved


async def note_trouble(tx: Transaction, row: lease.Lease, reason: str) -> lease.Lease:
    """ACTIVE: record why the guest did not start, for the operator."""
    path = {Status.ACTIVE: Status.ACTIVE}
    return await row_moves.move(tx, row, path, {}, last_error=reason[:500])


async def stop_again(db: database.Database, tx: Transaction, row: lease.Lease) -> lease.Lease:
    """STOPPED to STOPPING: the guest was running during grace; its grace period stays the same."""
    path = {Status.STOPPED: Status.STOPPING}
    return await row_moves.move(tx, row, path, row_moves.unheld(row), due_at=db.now(), fence=None)


async def end_vanished(db: database.Database, tx: Transaction, row: lease.Lease) -> lease.Lease:
    """ACTIVE to STOPPING, STOPPED to DELETING: the guest is gone."""
    due = {"due_at": db.now(), "fence": None}
    return await row_moves.move(
        tx, row, _END, row_moves.unheld(row), **due, end_reason="guest_vanished"
    )


_END = {Status.ACTIVE: Status.STOPPING, Status.STOPPED: Status.DELETING}


async def _want(
    db: database.Database,
    tx: Transaction,
    row: lease.Lease,
    wanted: power.Wanted,
    by: power.WantedBy,
) -> lease.Lease:
    values: dict[str, Any] = {"wanted": wanted.value, "wanted_by": by.value}
    only_if = {"suspended_at": None}
    is_start = wanted is power.Wanted.RUNNING
    if is_start:
        values |= {"pause_asked_at": None, **row_moves.used_now(db, row)}
        only_if["paused_at"] = None
    moved = await row_moves.move_power(db, tx, row, only_if, **values)
    kind = happening.Kind.START if is_start else happening.Kind.STOP
    await row_moves.note(db, tx, row, kind, f"by the {by.value}")
    return moved
