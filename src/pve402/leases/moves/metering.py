"""How moves read and write the meter of a lease; no other way leads to `expires_at`."""

from datetime import datetime

from pve402.domain import lease, meter
from pve402.storage import lease_rows, queue, transaction


async def latest(tx: transaction.Transaction, row: lease.Lease) -> lease.Lease:
    """Return a lease as it is now; nobody else writes it before this transaction ends.

    The caller's may be older, and a meter is computed here and not by the database. Raises
    FenceLostError if the lease is gone.
    """
    found = await lease_rows.get_locked(tx, row.lease_id)
    if found is None:
        raise queue.FenceLostError
    return found


def of(row: lease.Lease, moment: datetime) -> meter.Meter:
    """Return the meter of a lease; a new one, which is empty, before the lease's time begins."""
    return meter.of(row) or meter.Meter.empty(meter.burn_of_lease(row), moment)


def rated(row: lease.Lease, moment: datetime) -> meter.Meter:
    """Return a lease's meter in the unit of its rates, which may be others after a rebuild."""
    found = of(row, moment)
    burn = meter.burn_of_lease(row)
    return found if found.burn == burn else found.rebased(burn)


def whole(row: lease.Lease, moment: datetime) -> meter.Meter:
    """Return a lease's meter as `rated`, unless it is paused: its end would not stay."""
    return rated(row, moment) if row.paused_at is None else of(row, moment)


def burning_until(row: lease.Lease, moment: datetime) -> datetime:
    """Return until when a lease's time has passed: a suspension that holds it ends that."""
    if row.suspension is None or not row.suspension.time_held:
        return moment
    return min(moment, row.suspension.since)
