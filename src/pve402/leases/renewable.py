"""Whether a lease can be renewed now."""

from datetime import datetime

from pve402.domain import errors, lease, meter
from pve402.leases import options


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
