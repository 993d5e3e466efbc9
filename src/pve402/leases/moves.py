"""Every change of a lease's row; nothing else writes the lease table.

A move names the states it begins in and where each of them leads, what must still hold (its guard),
and the columns that it writes. All guards but those of `sell_warm` and `reserve` include that the
lease is in the state it was read in. A move whose guard does not hold writes nothing and raises
FenceLostError: another worker, a renewal or the owner was there first. A move from a state that it
does not name raises ValueError.

    who moves                 guard besides the state
    a creation                the lease's fence: none while an order works on it, the worker's else
    a renewal                 the renewal's order is written under its fence in the same transaction
    the end of a lease        the lease's fence; a hold keeps it from being stopped or destroyed
    the reconciler            no hold, and the guest's node is still the one that was looked at
    the owner                 no hold
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from pve402.domain import lease
from pve402.storage import database, lease_rows, queue, tables, transaction

Status = lease.LeaseStatus
Transaction = transaction.Transaction

DUE = queue.DueRows(tables.leases)
"""Leases that a worker must look at: taken, kept, postponed and given back by their fence."""

_leases = tables.leases
_NO_HOLD: Mapping[str, Any] = {"hold_order_id": None, "hold_until": None}
_AFRESH: Mapping[str, Any] = {"attempts": 0, "last_error": None}
MINUTE_MS = 60_000


# A new row


async def reserve(
    db: database.Database, tx: Transaction, new: lease.Lease, *, due: bool = False
) -> None:
    """Write a new lease, RESERVED; due now if it is made by a worker and not by an order."""
    if new.status is not Status.RESERVED:
        raise ValueError(f"a new lease is not {new.status.value}")
    await lease_rows.insert(db, tx, new, due=due)


async def restore(db: database.Database, tx: Transaction, row: lease.Lease) -> None:
    """Write a lease that was lost as its guest tells of it: ACTIVE until its end, or POOLED."""
    if row.status not in {Status.ACTIVE, Status.POOLED}:
        raise ValueError(f"no lease comes back {row.status.value}")
    await lease_rows.insert(db, tx, row, due=False)
    if row.expires_at is not None:
        path = {Status.ACTIVE: Status.ACTIVE}
        await _move(tx, row, path, {}, expires_at=row.expires_at, due_at=row.expires_at)


# Creation, of an order and ahead of one


async def note_create_sent(db: database.Database, tx: Transaction, row: lease.Lease) -> lease.Lease:
    """RESERVED: Proxmox is about to be asked for the guest."""
    path = {Status.RESERVED: Status.RESERVED}
    return await _move_fenced(tx, row, path, create_sent_at=db.now(), attempts=0)


async def change_vmid(tx: Transaction, row: lease.Lease, vmid: int) -> lease.Lease:
    """RESERVED: the guest is made under another vmid."""
    path = {Status.RESERVED: Status.RESERVED}
    return await _move_fenced(tx, row, path, vmid=vmid, upid=None)


async def begin_creating(tx: Transaction, row: lease.Lease, upid: str | None) -> lease.Lease:
    """RESERVED to CREATING; without a task's UPID the guest was found made."""
    path = {Status.RESERVED: Status.CREATING}
    return await _move_fenced(tx, row, path, upid=upid, attempts=0)


async def begin_starting(tx: Transaction, row: lease.Lease) -> lease.Lease:
    """CREATING to STARTING: the guest exists."""
    return await _move_fenced(tx, row, {Status.CREATING: Status.STARTING}, attempts=0)


async def begin_settling(tx: Transaction, row: lease.Lease) -> lease.Lease:
    """STARTING to SETTLING: the guest runs. CREATING to SETTLING: it is started once it is paid."""
    path = {Status.STARTING: Status.SETTLING, Status.CREATING: Status.SETTLING}
    return await _move_fenced(tx, row, path)


async def start_paid(tx: Transaction, row: lease.Lease) -> lease.Lease:
    """SETTLING to STARTING: the lease is paid, and its guest is to run."""
    return await _move_fenced(tx, row, {Status.SETTLING: Status.STARTING})


async def make_anew(tx: Transaction, row: lease.Lease, node: str, vmid: int) -> lease.Lease:
    """RESERVED, CREATING or STARTING to RESERVED: a paid guest is made again, somewhere else."""
    path = dict.fromkeys((Status.RESERVED, Status.CREATING, Status.STARTING), Status.RESERVED)
    place = {"node": node, "vmid": vmid, "upid": None, "create_sent_at": None}
    return await _move_fenced(tx, row, path, **place, attempts=0)


async def activate(
    tx: Transaction, row: lease.Lease, minutes: int, paid_at: datetime
) -> lease.Lease:
    """SETTLING or STARTING to ACTIVE: the lease is paid and runs, and its minutes begin."""
    ends = paid_at + timedelta(milliseconds=minutes * MINUTE_MS)
    path = {Status.SETTLING: Status.ACTIVE, Status.STARTING: Status.ACTIVE}
    return await _move_fenced(tx, row, path, expires_at=ends, due_at=ends, upid=None)


async def unwind(
    db: database.Database, tx: Transaction, row: lease.Lease, refusal: str
) -> lease.Lease:
    """From any state of a creation to UNWINDING: its guest is to be destroyed."""
    due = {"due_at": db.now(), "fence": None}
    return await _move_fenced(tx, row, _UNWIND, **due, end_reason=refusal)


async def follow_in_order(tx: Transaction, row: lease.Lease, node: str) -> lease.Lease:
    """Same state: an order found the lease's guest on another node."""
    return await _move(tx, row, _stay(Status), {}, node=node)


# The warm pool


async def enter_warm_pool(db: database.Database, tx: Transaction, row: lease.Lease) -> lease.Lease:
    """STARTING to POOLED: the guest waits for a tenant."""
    rests = {"due_at": None, "fence": None, "attempts": 0}
    path = {Status.STARTING: Status.POOLED}
    return await _move_fenced(tx, row, path, pooled_at=db.now(), **rests)


async def give_up_making(
    db: database.Database, tx: Transaction, row: lease.Lease, refusal: str, reason: str
) -> lease.Lease:
    """As `unwind`, for a guest without a tenant; the reason is for the operator."""
    due = {"due_at": db.now(), "fence": None}
    return await _move_fenced(tx, row, _UNWIND, **due, end_reason=refusal, last_error=reason[:500])


async def sell_warm(
    db: database.Database, tx: Transaction, wanted: lease.Lease, nodes: Collection[str]
) -> lease.Lease | None:
    """POOLED to SETTLING: the guest that waited longest, of this kind and on these nodes, is sold.

    It takes the wanted owner, host name, rates and metadata, and keeps its own leaseId. None if
    there is no such guest. Two buyers never get the same one.
    """
    return await lease_rows.take_warm(db, tx, wanted, nodes)


async def discard_warm(
    db: database.Database, tx: Transaction, row: lease.Lease, reason: str
) -> lease.Lease:
    """POOLED to UNWINDING: a guest that waits is not wanted, or is broken."""
    due = {"due_at": db.now(), "fence": None}
    path = {Status.POOLED: Status.UNWINDING}
    return await _move(tx, row, path, _unheld(row), **due, end_reason=reason)


async def discard_sold(
    db: database.Database, tx: Transaction, row: lease.Lease, reason: str
) -> lease.Lease:
    """SETTLING to UNWINDING: a guest was found broken before it was paid, and is nobody's again."""
    due = {"due_at": db.now(), "fence": None}
    nobody = {"owner": lease.NOBODY, "metadata": {}}
    path = {Status.SETTLING: Status.UNWINDING}
    return await _move_fenced(tx, row, path, **due, **nobody, end_reason=reason)


# Renewal


async def hold(tx: Transaction, row: lease.Lease, order_id: str, until: datetime) -> lease.Lease:
    """Same state: a renewal takes the lease, so that neither its end nor another order passes it.

    Guard: no hold. It clears the fence, so whoever works on the row writes nothing more.
    """
    path = _stay({Status.ACTIVE, Status.STOPPED, Status.STARTING})
    held = {"hold_order_id": order_id, "hold_until": until}
    return await _move(tx, row, path, {"hold_order_id": None}, **held, fence=None)


async def hold_longer(
    db: database.Database, tx: Transaction, row: lease.Lease, order_id: str, seconds: float
) -> lease.Lease:
    """Same state: a renewal that was taken over lengthens its hold. Guard: it is this order's."""
    only_if = {"hold_order_id": order_id}
    return await _move(tx, row, _stay(Status), only_if, hold_until=db.now(seconds))


async def wake(tx: Transaction, row: lease.Lease) -> lease.Lease:
    """STOPPED to STARTING: a renewal starts the guest; one that is not in grace stays as it is."""
    path = _stay({Status.ACTIVE, Status.STARTING, Status.STOPPING})
    path[Status.STOPPED] = Status.STARTING
    return await _move(tx, row, path, {})


async def extend(tx: Transaction, row: lease.Lease, minutes: int, paid_at: datetime) -> lease.Lease:
    """ACTIVE or STARTING to ACTIVE: minutes are added to the later of now and the lease's end."""
    end = sa.type_coerce(_leases.c.expires_at, sa.BigInteger)
    moment = sa.literal(tables.to_milliseconds(paid_at), sa.BigInteger)
    ends = sa.case((end > moment, end), else_=moment) + minutes * MINUTE_MS
    path = {Status.ACTIVE: Status.ACTIVE, Status.STARTING: Status.ACTIVE}
    none = {"deletes_at": None, "end_reason": None, "fence": None}
    return await _move(
        tx, row, path, {}, expires_at=ends, due_at=ends, **none, **_AFRESH, **_NO_HOLD
    )


async def release_hold(tx: Transaction, row: lease.Lease) -> lease.Lease:
    """A refused renewal lets the lease go: STARTING goes back to STOPPING, others stay."""
    path = _stay(Status) | {Status.STARTING: Status.STOPPING}
    due = row.deletes_at or row.expires_at
    if row.status is Status.STARTING:
        due = row.expires_at
    if row.status in lease.OVER:  # it ended when the hold had run out
        due = None
    return await _move(tx, row, path, {}, due_at=due, fence=None, **_NO_HOLD)


async def take_minutes_back(
    tx: Transaction, row: lease.Lease, minutes: int, reason: str
) -> lease.Lease:
    """ACTIVE: the minutes of an order whose money vanished are taken off. Guard: no hold."""
    end = sa.type_coerce(_leases.c.expires_at, sa.BigInteger) - minutes * MINUTE_MS
    path = {Status.ACTIVE: Status.ACTIVE}
    shorter = {"expires_at": end, "due_at": end, "end_reason": reason, "fence": None}
    return await _move(tx, row, path, {"hold_order_id": None}, **shorter)


# The end of a lease


async def wait(tx: Transaction, row: lease.Lease, until: datetime) -> lease.Lease:
    """ACTIVE or STOPPED, unchanged: nothing is to be done before `until`."""
    path = _stay({Status.ACTIVE, Status.STOPPED})
    return await _move_fenced(tx, row, path, due_at=until, fence=None, attempts=0)


async def begin_stopping(
    db: database.Database, tx: Transaction, row: lease.Lease, reason: str
) -> lease.Lease:
    """ACTIVE to STOPPING: the time is over. Guard: no hold, or one that ran out."""
    path = {Status.ACTIVE: Status.STOPPING}
    if row.hold_until is None:
        only_if = {"fence": row.fence, "hold_until": None}
        return await _move(tx, row, path, only_if, end_reason=reason, **_AFRESH)
    over = sa.or_(_leases.c.hold_until.is_(None), _leases.c.hold_until <= db.now())
    return await _move(tx, row, path, {"fence": row.fence}, over, end_reason=reason, **_AFRESH)


async def keep_stopped(tx: Transaction, row: lease.Lease, deletes_at: Any) -> lease.Lease:
    """STOPPING to STOPPED: the guest is down, and kept until `deletes_at` for a renewal."""
    path = {Status.STOPPING: Status.STOPPED}
    due = {"deletes_at": deletes_at, "due_at": deletes_at, "fence": None}
    return await _move_fenced(tx, row, path, **due, **_AFRESH)


async def begin_deleting(tx: Transaction, row: lease.Lease) -> lease.Lease:
    """STOPPING or STOPPED to DELETING: the guest is to be destroyed.

    Guard: no hold, even one that ran out: while its order is open, the money may have moved.
    """
    path = {Status.STOPPING: Status.DELETING, Status.STOPPED: Status.DELETING}
    return await _move(tx, row, path, {"fence": row.fence, "hold_order_id": None}, **_AFRESH)


async def end(db: database.Database, tx: Transaction, row: lease.Lease, reason: str) -> lease.Lease:
    """STOPPING or DELETING to ENDED, UNWINDING to FAILED: the guest is gone."""
    path = {
        Status.STOPPING: Status.ENDED,
        Status.DELETING: Status.ENDED,
        Status.UNWINDING: Status.FAILED,
    }
    rests = {"due_at": None, "fence": None}
    return await _move_fenced(tx, row, path, ended_at=db.now(), end_reason=reason, **rests)


async def end_early(db: database.Database, tx: Transaction, row: lease.Lease) -> lease.Lease:
    """ACTIVE to STOPPING, STOPPED to DELETING: the owner ends the lease. Guard: no hold."""
    path = {Status.STOPPING: Status.STOPPING, **_END}
    due = {"deletes_at": db.now(), "due_at": db.now(), "fence": None, "attempts": 0}
    reason = "ended_by_owner"
    return await _move(tx, row, path, {"hold_order_id": None}, end_reason=reason, **due)


async def follow_when_due(
    db: database.Database, tx: Transaction, row: lease.Lease, node: str
) -> None:
    """Any state, unchanged and due at once: the guest stands on another node.

    Guard: the fence alone, since the worker may have moved the lease since it read the row.
    """
    where = {"lease_id": row.lease_id, "fence": row.fence}
    values = {"node": node, "due_at": db.now(), "fence": None}
    if await lease_rows.update(tx, where, values) is None:
        raise queue.FenceLostError


# The reconciler


async def follow(tx: Transaction, row: lease.Lease, node: str) -> lease.Lease:
    """ACTIVE, STOPPED or POOLED, unchanged: the guest stands on another node."""
    path = _stay({Status.ACTIVE, Status.STOPPED, Status.POOLED})
    return await _move(tx, row, path, _unheld(row), node=node)


async def count_restart(
    db: database.Database, tx: Transaction, row: lease.Lease, *, first_of_hour: bool
) -> lease.Lease:
    """ACTIVE: the guest is started again. Of several replicas that saw it down, one counts it."""
    path = {Status.ACTIVE: Status.ACTIVE}
    only_if = {**_unheld(row), "restarts": row.restarts}
    counted: dict[str, Any] = {"restarts": row.restarts + 1}
    if first_of_hour:
        counted = {"restarts": 1, "restarts_since": db.now()}
    return await _move(tx, row, path, only_if, **counted)


async def stop_again(db: database.Database, tx: Transaction, row: lease.Lease) -> lease.Lease:
    """STOPPED to STOPPING: the guest was found running in grace, which goes on as it was."""
    path = {Status.STOPPED: Status.STOPPING}
    return await _move(tx, row, path, _unheld(row), due_at=db.now(), fence=None)


async def end_vanished(db: database.Database, tx: Transaction, row: lease.Lease) -> lease.Lease:
    """ACTIVE to STOPPING, STOPPED to DELETING: the guest is gone."""
    due = {"due_at": db.now(), "fence": None}
    return await _move(tx, row, _END, _unheld(row), **due, end_reason="guest_vanished")


_UNWIND = {
    Status.RESERVED: Status.UNWINDING,
    Status.CREATING: Status.UNWINDING,
    Status.STARTING: Status.UNWINDING,
    Status.SETTLING: Status.UNWINDING,
}
_END = {Status.ACTIVE: Status.STOPPING, Status.STOPPED: Status.DELETING}

_Path = Mapping[lease.LeaseStatus, lease.LeaseStatus]


def _stay(states: Iterable[lease.LeaseStatus]) -> dict[lease.LeaseStatus, lease.LeaseStatus]:
    return {status: status for status in states}


def _unheld(row: lease.Lease) -> dict[str, Any]:
    return {"hold_order_id": None, "node": row.node}


async def _move_fenced(
    tx: Transaction, row: lease.Lease, path: _Path, **values: Any
) -> lease.Lease:
    return await _move(tx, row, path, {"fence": row.fence}, **values)


async def _move(
    tx: Transaction,
    row: lease.Lease,
    path: _Path,
    only_if: Mapping[str, Any],
    *conditions: sa.ColumnElement[bool],
    **values: Any,
) -> lease.Lease:
    """Write a move; `only_if` maps columns to what they must hold, a condition costs more."""
    after = path.get(row.status)
    if after is None:
        raise ValueError(f"no such move of a lease that is {row.status.value}")
    where = {"lease_id": row.lease_id, "status": row.status.value, **only_if}
    moved = await lease_rows.update(tx, where, {"status": after.value, **values}, *conditions)
    if moved is None:
        raise queue.FenceLostError
    return moved
