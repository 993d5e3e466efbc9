"""Whether a lease can be renewed now."""

from datetime import datetime

from pve402.domain import errors, lease, meter, size_changes
from pve402.leases import options
from pve402.storage import database, size_change_rows, transaction, unfinished_rows


def check(
    row: lease.Lease | None, minutes: int, now: datetime, settings: options.LeaseOptions
) -> None:
    """Check that the lease's state allows a renewal.

    Raises LeaseNotFound, LeaseOver, LeaseNotReady (not handed over yet), LeaseSuspended,
    LeaseBusy (held, or being stopped), PaidTooFarAhead.
    """
    if row is None:
        raise errors.LeaseNotFound
    if row.status in lease.OVER or row.status is lease.LeaseStatus.DELETING:
        raise errors.LeaseOver
    if row.expires_at is None:
        raise errors.LeaseNotReady
    row.check_not_suspended()
    if row.status is lease.LeaseStatus.STOPPING or row.hold_order_id is not None:
        raise errors.LeaseBusy
    if row.deletes_at is not None and row.deletes_at <= now:
        raise errors.LeaseOver
    metered = meter.of(row)
    ahead_ms = minutes * meter.MINUTE_MS
    if metered is not None:  # as if it had no snapshots, so that deleting one needs no check
        less = row.snapshot_burn or 0
        ahead_ms = metered.paid_ahead_ms(now, added=metered.worth(minutes), less=less)
    ahead = ahead_ms / 1000
    if ahead > settings.paid_ahead_limit_seconds:
        days = settings.paid_ahead_limit_seconds / 86400
        raise errors.PaidTooFarAhead(f"at most {days:g} days may be paid ahead")


async def check_now(
    db: database.Database, row: lease.Lease, minutes: int, settings: options.LeaseOptions
) -> None:
    """Check a lease that was just read as `check` and `check_idle` do."""
    async with db.read() as tx:
        check(row, minutes, await db.time_in(tx), settings)
        await check_idle(tx, row)


async def check_idle(tx: transaction.Transaction, row: lease.Lease) -> None:
    """Raise LeaseBusy while nobody knows which size is renewed, or another guest is to be made.

    A lease that ended meanwhile is renewed all the same: it would be lost otherwise.
    """
    begun = await unfinished_rows.kinds(tx, row.lease_id)
    if unfinished_rows.Kind.REINSTALL in begun and row.status is lease.LeaseStatus.ACTIVE:
        raise errors.LeaseBusy
    if unfinished_rows.Kind.SIZE_CHANGE in begun:
        change = await size_change_rows.unfinished(tx, row.lease_id)
        if change is not None and change.state is size_changes.State.CHANGING:
            raise errors.LeaseBusy
