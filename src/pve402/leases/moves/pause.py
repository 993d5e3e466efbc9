"""Moves that pause a lease, wake it, and burn what follows from that."""

from datetime import timedelta
from typing import Any

from pve402.domain import happening, lease, meter, power
from pve402.leases.moves import metering, row_moves
from pve402.storage import database, transaction

Status = lease.LeaseStatus
Transaction = transaction.Transaction

_ACTIVE = row_moves.stay({Status.ACTIVE})


async def ask_pause(
    db: database.Database, tx: Transaction, row: lease.Lease, by: power.WantedBy
) -> lease.Lease:
    """ACTIVE, due at once: the guest should be down, and the lease burn less once it is.

    Guard: no hold, not suspended, not paused.
    """
    stopped = {"wanted": power.Wanted.STOPPED.value, "wanted_by": by.value}
    only_if = {"suspended_at": None, "paused_at": None}
    asked = {**stopped, "pause_asked_at": db.now()}
    moved = await row_moves.move_power(db, tx, row, only_if, **asked)
    await row_moves.note(db, tx, row, happening.Kind.STOP, f"by the {by.value}, to pause")
    return moved


async def pause_idle(db: database.Database, tx: Transaction, row: lease.Lease) -> lease.Lease:
    """ACTIVE, due at once: as `ask_pause`, by the service, as the lease was idle for long.

    Guard: no hold, not suspended, to run, no pause asked for, and not used since it was read.
    """
    stopped = {"wanted": power.Wanted.STOPPED.value, "wanted_by": power.WantedBy.SERVICE.value}
    only_if = {"suspended_at": None, "paused_at": None, "pause_asked_at": None}
    as_read = {"wanted": power.Wanted.RUNNING.value, "active_at": row.active_at}
    asked = {**stopped, "pause_asked_at": db.now()}
    moved = await row_moves.move_power(db, tx, row, {**only_if, **as_read}, **asked)
    await row_moves.note(db, tx, row, happening.Kind.STOP, "by the service, to pause: idle")
    return moved


async def begin_pause(
    db: database.Database, tx: Transaction, row: lease.Lease, longest: timedelta
) -> lease.Lease:
    """ACTIVE: the guest was seen down, so the lease burns less from now on, for so long at most.

    A lease whose time has just ended is not paused. Guard: the fence, a pause is asked for.
    """
    latest, moment = await metering.latest(tx, row), await db.time_in(tx)
    burn = meter.paused_burn_of_lease(latest)
    metered = metering.rated(latest, moment)
    if burn is None or metered.ends_at <= moment:
        return row
    is_idle = latest.wanted_by is power.WantedBy.SERVICE
    paused = metered.paused(burn, moment, longest, is_idle=is_idle)
    values: dict[str, Any] = {**paused.facts, "pause_asked_at": None}
    only_if = {"fence": row.fence, "pause_asked_at": row.pause_asked_at}
    return await row_moves.move(tx, row, _ACTIVE, only_if, **values)


async def wake_paused(
    db: database.Database,
    tx: Transaction,
    row: lease.Lease,
    by: power.WantedBy,
    *,
    first_of_hour: bool,
) -> lease.Lease:
    """ACTIVE, due at once: a paused lease burns everything from now on, and its guest should run.

    The caller has found room for it, under the placement lock. Guard: no hold, not suspended, still
    paused, and woken as often as it was read.
    """
    moment = await db.time_in(tx)
    awake = metering.of(await metering.latest(tx, row), moment).woken(moment)
    counted: dict[str, Any] = {"wakes": 1, "wakes_since": moment}
    if not first_of_hour:
        counted = {"wakes": row.wakes + 1}
    wanted = {"wanted": power.Wanted.RUNNING.value, "wanted_by": by.value}
    only_if: dict[str, Any] = {"suspended_at": None, "paused_at": row.paused_at, "wakes": row.wakes}
    used = row_moves.used_now(db, row)
    values = {**awake.facts, **wanted, **counted, **used}
    moved = await row_moves.move_power(db, tx, row, only_if, **values)
    await row_moves.note(db, tx, row, happening.Kind.START, f"by the {by.value}, from a pause")
    return moved


async def correct_pause(db: database.Database, tx: Transaction, row: lease.Lease) -> lease.Lease:
    """ACTIVE: a replica of an earlier version changed a lease without its pause.

    If it had the guest started, the pause is over, or no longer asked for. Minutes that it added or
    took back count. Guard: the fence, same wish.
    """
    latest, moment = await metering.latest(tx, row), await db.time_in(tx)
    metered, values = metering.of(latest, moment), {}
    if latest.is_to_run:
        metered, values = metered.woken(moment), {"pause_asked_at": None}
    only_if = {"fence": row.fence, "wanted": row.wanted.value}
    return await row_moves.move(tx, row, _ACTIVE, only_if, **metered.facts, **values)
