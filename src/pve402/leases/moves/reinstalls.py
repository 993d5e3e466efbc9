"""Moves of a reinstallation: stop the guest for it, give the guest up, have another in its place.

From the moment that the old guest is given up, the lease is held as if by an order, so that nobody
takes it for one whose guest has vanished, a process of an earlier version included; and its time
stands still. Its end by owner or operator, and a suspension, pass that hold.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from pve402.domain import happening, lease, networks, power, reinstalls
from pve402.leases.moves import metering, row_moves
from pve402.storage import database, transaction

Status = lease.LeaseStatus
Transaction = transaction.Transaction

_ACTIVE = row_moves.stay({Status.ACTIVE})
_HOLD_TIME = timedelta(days=365)
"""Processes of an earlier version end a lease whose hold is over; this one looks at the row."""
_NO_HOLD = {"hold_order_id": None, "hold_until": None}


async def begin_reinstall(
    db: database.Database, tx: Transaction, row: lease.Lease, template: str
) -> lease.Lease:
    """ACTIVE, due at once: the guest should be down until it has another in its place.

    Guard: no hold, not suspended, not paused, same wish.
    """
    only_if = dict.fromkeys(("hold_order_id", "suspended_at", "paused_at", "pause_asked_at"))
    values = {"wanted": power.Wanted.STOPPED.value, "wanted_by": power.WantedBy.TENANT.value}
    moved = await row_moves.move(
        tx, row, _ACTIVE, {**only_if, "wanted": row.wanted.value}, **values, **_due(db)
    )
    await row_moves.note(db, tx, row, happening.Kind.REINSTALL, f"of {template}")
    return moved


async def look_at_begun(db: database.Database, tx: Transaction, row: lease.Lease) -> lease.Lease:
    """ACTIVE, due at once: something that was begun about its guest goes on.

    Guard: not suspended, and the same hold: none, or a reinstallation's.
    """
    only_if = {**row_moves.unless_ordered(row), "suspended_at": None}
    return await row_moves.move(tx, row, _ACTIVE, only_if, **_due(db))


async def give_guest_up(tx: Transaction, row: lease.Lease, moment: datetime) -> lease.Lease:
    """ACTIVE: the guest is to be destroyed and should be down, and from now on no time passes.

    The next guest of an isolated network gets its rules before its link. Guard: the fence, no hold,
    not suspended, same wish.
    """
    only_if = {**_as_ours(row), "hold_order_id": None}
    latest = await metering.latest(tx, row)
    values: dict[str, Any] = {**metering.of(latest, moment).at(moment).facts}
    values |= {"hold_order_id": lease.REINSTALL_HOLD, "hold_until": moment + _HOLD_TIME}
    values["wanted"] = power.Wanted.STOPPED.value
    if row.rules_at is not None or row.link is networks.Link.PENDING:
        values |= {"link": networks.Link.PENDING.value, "rules_at": None, "rules_key": None}
    return await row_moves.move(tx, row, _ACTIVE, only_if, **values)


async def hold_emptied_time(tx: Transaction, row: lease.Lease, moment: datetime) -> lease.Lease:
    """ACTIVE: there is still no guest, so the end moves on. Guard: the fence."""
    values = await _held(tx, row, moment)
    return await row_moves.move(tx, row, _ACTIVE, {"fence": row.fence}, **values)


async def end_reinstall(
    tx: Transaction,
    row: lease.Lease,
    done: reinstalls.Reinstall,
    moment: datetime,
    kept: Mapping[str, Any],
) -> lease.Lease:
    """ACTIVE: the new guest was seen, and time passes again. Guard: the fence, not suspended."""
    values: dict[str, Any] = {**await _held(tx, row, moment), "metadata": dict(kept)}
    values |= {"template": done.template, "base": None, **_NO_HOLD}
    return await row_moves.move(tx, row, _ACTIVE, _as_ours(row), **values, **_back(row, done))


async def cancel_reinstall(
    tx: Transaction, row: lease.Lease, one: reinstalls.Reinstall
) -> lease.Lease:
    """ACTIVE: the old guest stays, and what was wanted of it is wanted again.

    A suspension stays, and so does the hold of a renewal. Guard: the fence, same wish.
    """
    only_if = {"fence": row.fence, "wanted": row.wanted.value}
    return await row_moves.move(tx, row, _ACTIVE, only_if, **_back(row, one))


async def end_lone_hold(tx: Transaction, row: lease.Lease, moment: datetime) -> lease.Lease:
    """ACTIVE: nothing is known of the reinstallation that held it, and time passes again.

    Guard: the fence, that hold, not suspended.
    """
    values: dict[str, Any] = {**await _held(tx, row, moment), **_NO_HOLD}
    only_if = {**_as_ours(row), "hold_order_id": lease.REINSTALL_HOLD}
    return await row_moves.move(tx, row, _ACTIVE, only_if, **values)


async def _held(tx: Transaction, row: lease.Lease, moment: datetime) -> dict[str, Any]:
    metered = metering.of(await metering.latest(tx, row), moment)
    return dict(metered.held(metered.metered_at, moment).facts)


def _back(row: lease.Lease, one: reinstalls.Reinstall) -> dict[str, Any]:
    if one.resumes_to is None or row.wanted is not power.Wanted.STOPPED:
        return {}
    return {"wanted": one.resumes_to}


def _as_ours(row: lease.Lease) -> dict[str, Any]:
    return {"fence": row.fence, "suspended_at": None, "wanted": row.wanted.value}


def _due(db: database.Database) -> dict[str, Any]:
    return {"due_at": db.now(), "fence": None, "attempts": 0}
