"""Moves of a renewal: hold a lease, wake its guest, add minutes or take them back."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from pve402.domain import lease, order
from pve402.leases.moves import metering, row_moves
from pve402.storage import database, snapshot_rows, tables, transaction

Status = lease.LeaseStatus
Transaction = transaction.Transaction


async def hold(tx: Transaction, row: lease.Lease, order_id: str, until: datetime) -> lease.Lease:
    """Same state: a renewal holds the lease, so that it cannot end and no other order can take it.

    Guard: no hold, not suspended. It clears the fence, so a worker that has the row can no longer
    write.
    """
    path = row_moves.stay({Status.ACTIVE, Status.STOPPED, Status.STARTING})
    held = {"hold_order_id": order_id, "hold_until": until}
    only_if = {"hold_order_id": None, "suspended_at": None}
    return await row_moves.move(tx, row, path, only_if, **held, fence=None)


async def hold_longer(
    db: database.Database, tx: Transaction, row: lease.Lease, order_id: str, seconds: float
) -> lease.Lease:
    """Same state: a renewal that was taken over extends its hold, and never shortens it.

    Guard: this order's hold.
    """
    only_if = {"hold_order_id": order_id}
    held = sa.type_coerce(tables.leases.c.hold_until, sa.BigInteger)
    longer = sa.type_coerce(db.now(seconds), sa.BigInteger)
    until = sa.case((held > longer, held), else_=longer)
    return await row_moves.move(tx, row, row_moves.stay(Status), only_if, hold_until=until)


async def wake(tx: Transaction, row: lease.Lease) -> lease.Lease:
    """STOPPED to STARTING: a renewal starts the guest; a lease not in grace stays unchanged.

    It is no longer due by itself: its order ends that state, however that comes out.
    """
    path = row_moves.stay({Status.ACTIVE, Status.STARTING, Status.STOPPING})
    path[Status.STOPPED] = Status.STARTING
    rests: dict[str, Any] = {}
    if row.status is Status.STOPPED:
        rests = {"due_at": None, "fence": None}
    return await row_moves.move(tx, row, path, {}, **rests)


async def extend(
    tx: Transaction, row: lease.Lease, minutes: int, paid_at: datetime, *, worth: int | None = None
) -> lease.Lease:
    """ACTIVE or STARTING to ACTIVE: add minutes to the later of now and the lease's end.

    They are worth what they burnt when they were ordered; None: what they burn now.
    """
    latest = await metering.latest(tx, row)
    before = metering.of(latest, paid_at)
    passed = metering.burning_until(latest, paid_at)
    if latest.snapshot_burn:  # they burnt nothing while the lease had ended
        await snapshot_rows.hold(tx, row.lease_id, before.at(passed).metered_at, passed)
    longer = before.credited(before.worth(minutes) if worth is None else worth, passed)
    path = {Status.ACTIVE: Status.ACTIVE, Status.STARTING: Status.ACTIVE}
    due = latest.due_at if _has_power_change(latest) else longer.ends_at
    none = {"deletes_at": None, "end_reason": None, "fence": None}
    return await row_moves.move(
        tx, row, path, {}, **longer.facts, due_at=due, **none, **row_moves.AFRESH, **_NO_HOLD
    )


async def release_hold(tx: Transaction, row: lease.Lease) -> lease.Lease:
    """A refused renewal releases the lease: STARTING returns to STOPPING, other states stay."""
    path = row_moves.stay(Status) | {Status.STARTING: Status.STOPPING}
    due = row.deletes_at or row.expires_at
    if row.status is Status.STARTING:
        due = row.expires_at
    if row.status in lease.OVER:  # it ended after the hold had expired
        due = None
    return await row_moves.move(tx, row, path, {}, due_at=due, fence=None, **_NO_HOLD)


async def take_minutes_back(
    db: database.Database, tx: Transaction, row: lease.Lease, lost: order.Order, reason: str
) -> lease.Lease:
    """ACTIVE, due at once: take back what an order added whose payment vanished. Guard: no hold.

    It is due so that its new end is written on its guest.
    """
    before = metering.of(await metering.latest(tx, row), row.created_at)
    credit = before.worth(lost.minutes) if lost.credit is None else lost.credit
    shorter = before.debited(credit).facts
    path = {Status.ACTIVE: Status.ACTIVE}
    due = {"due_at": db.now(), "end_reason": reason, "fence": None}
    return await row_moves.move(tx, row, path, {"hold_order_id": None}, **shorter, **due)


def _has_power_change(row: lease.Lease) -> bool:
    """Whether its guest is about to be started or stopped, which a renewal must not delay."""
    if row.status is not Status.ACTIVE or row.due_at is None or row.expires_at is None:
        return False
    return row.due_at < row.expires_at


_NO_HOLD: Mapping[str, Any] = {"hold_order_id": None, "hold_until": None}
