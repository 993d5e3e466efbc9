"""Moves of snapshots: look at a lease's snapshots, stop its guest for a rollback, let it go on."""

from typing import Any

from pve402.domain import happening, lease, power, price, snapshot_burns, snapshots
from pve402.leases.moves import metering, row_moves
from pve402.storage import database, snapshot_rows, transaction

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


async def begin_snapshot(
    db: database.Database, tx: Transaction, row: lease.Lease, today: price.Rates | None
) -> lease.Lease:
    """ACTIVE, due at once: a snapshot is to be taken, and the lease burns for it from now on.

    Guard: no hold, not suspended. Raises TooLittleTimeLeft.
    """
    moved = await look_at_snapshots(db, tx, row)
    burn = snapshot_burns.burn_of_next(moved, today)
    if not burn:
        return moved
    moment = await db.time_in(tx)
    metered = snapshot_burns.taken(metering.whole(moved, moment), burn, moment)
    more = {"snapshot_gb": (moved.snapshot_gb or 0) + moved.size.disk_gb}
    more["snapshot_burn"] = (moved.snapshot_burn or 0) + burn
    return await row_moves.move(tx, moved, _ACTIVE, {}, **metered.facts, **more)


async def end_burning(
    db: database.Database,
    tx: Transaction,
    row: lease.Lease,
    one: snapshots.Snapshot | None = None,
    *,
    failed: bool = False,
) -> lease.Lease:
    """ACTIVE: a snapshot is gone, or could not be taken, and burns no more.

    Without one, burn what the rows of snapshots say, which a replica of an earlier version changed.
    Guard: the fence.
    """
    latest, moment = await metering.latest(tx, row), await db.time_in(tx)
    metered, before = metering.whole(latest, moment), latest.snapshot_burn or 0
    found = {each.pve_name: each for each in await snapshot_rows.of_lease(tx, row.lease_id)}
    gone = None if one is None else found.pop(one.pve_name, None)
    if gone is not None:
        metered = snapshot_burns.ended(metered, gone, moment, failed=failed)
        before -= gone.burn or 0
    values = snapshot_burns.facts(found.values())
    metered = metered.loaded((values["snapshot_burn"] or 0) - before, moment)
    return await row_moves.move(tx, row, _ACTIVE, {"fence": row.fence}, **metered.facts, **values)


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
