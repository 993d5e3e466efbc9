"""What must hold of meters: they say when leases end, and no unit is made or lost by a pause."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from pve402.domain import lease, meter, order

_MS = timedelta(milliseconds=1)
_ROUNDING_MS = 10


def end_of(row: lease.Lease) -> Iterator[str]:
    """Compare the end of a lease with what its meter says."""
    if row.expires_at is None:
        return
    metered = meter.of(row) if row.paused else meter.stored(row)
    if metered is None:
        yield f"lease {row.lease_id} has no meter"
    elif metered.ends_at != row.expires_at:
        yield f"lease {row.lease_id} ends at {row.expires_at}, its meter says {metered.ends_at}"


def value_of(
    row: lease.Lease, settled: Sequence[order.Order], minute_seconds: float
) -> Iterator[str]:
    """Compare what a lease has left with what its settled orders bought, in the meter's units.

    It can have no more than that, and no less than if it had burnt the full rate all the time.
    """
    metered = meter.of(row)
    begun = settled[0].settled_at if settled else None
    if metered is None or begun is None:
        return
    bought = sum(round(one.minutes * minute_seconds * 1000) * metered.burn for one in settled)
    passed_ms = max(0, (metered.metered_at - begun) // _MS) + _ROUNDING_MS
    if metered.balance > bought:
        yield f"lease {row.lease_id} has {metered.balance - bought} more than was bought"
    if metered.balance + passed_ms * metered.burn < bought:
        yield f"lease {row.lease_id} burnt more than the full rate"
