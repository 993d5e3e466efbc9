"""What must hold of meters: they say when leases end, and no unit is made or lost on the way.

Snapshots, pauses and sizes change what a lease burns. Whatever it did, it can have no more than its
orders put in, and no less than if it had burnt the most that it ever may all the time. While it has
no guest because that is made anew, its time stands still.
"""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from pve402.domain import lease, meter, order, snapshot_burns, snapshots

MOST_SNAPSHOTS = 2
SMALLEST = lease.Size(cores=1, memory_mb=128, disk_gb=1)
LARGEST = lease.Size(cores=2, memory_mb=256, disk_gb=2)
"""What tenants of the loop make of their leases."""
_MS = timedelta(milliseconds=1)
_ROUNDING_MS = 10
_SLACK_SECONDS = 0.05


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
    row: lease.Lease,
    settled: Sequence[order.Order],
    minute_seconds: float,
    *,
    stood_still: bool = False,
) -> Iterator[str]:
    """Compare what a lease has left with what its settled orders put in, in the meter's units.

    With one order and no time that stood still, it burnt the least that it may all the time, as
    long as it had anything left.
    """
    metered = meter.of(row)
    begun = min((one.settled_at for one in settled if one.settled_at), default=None)
    if metered is None or begun is None:
        return
    spent = sum(_put_in(one, metered, minute_seconds) for one in settled) - metered.balance
    passed_ms = max(0, (metered.metered_at - begun) // _MS)
    if spent < 0:
        yield f"lease {row.lease_id} has {-spent} more than was put in"
    if spent > (passed_ms + _ROUNDING_MS) * most_burn(row):
        yield f"lease {row.lease_id} burnt {spent} in {passed_ms} ms, more than it can"
    has_left = metered.balance > _ROUNDING_MS * most_burn(row)
    is_simple = len(settled) == 1 and not stood_still
    if is_simple and has_left and spent < (passed_ms - _ROUNDING_MS) * least_burn(row):
        yield f"lease {row.lease_id} burnt {spent} in {passed_ms} ms, less than it can"


def stood_still(
    row: lease.Lease,
    settled: Sequence[order.Order],
    minute_seconds: float,
    still: tuple[float, float],
) -> Iterator[str]:
    """Compare how much later a lease ends than its orders say with the times without a guest.

    `still` is for how long it had no guest, and for how long none that ran. Whoever renewed it
    after its end has nothing left of a time that stood still before.
    """
    late_seconds, end, has_lapsed = 0.0, None, False
    for one in settled:
        if one.settled_at is None or one.expires_at is None:
            yield f"order {one.order_id} is settled without its times"
            return
        has_lapsed |= end is not None and end < one.settled_at
        begin = one.settled_at if end is None else max(end, one.settled_at)
        bought = timedelta(seconds=one.minutes * minute_seconds)
        late_seconds += (one.expires_at - begin - bought).total_seconds()
        end = one.expires_at
    if end is None or row.expires_at is None:
        return
    late_seconds += (row.expires_at - end).total_seconds()
    absent, down = still
    is_there = row.status is lease.LeaseStatus.ACTIVE and not has_lapsed
    if is_there and late_seconds < absent - _SLACK_SECONDS:
        yield f"lease {row.lease_id} had no guest for {absent:.1f} s, and {late_seconds:.1f} more"
    if late_seconds > down + _SLACK_SECONDS or late_seconds < -_SLACK_SECONDS:
        yield f"lease {row.lease_id} ends {late_seconds:.1f} s late, its guest was down {down:.1f}"


def burn_of(row: lease.Lease, kept: Sequence[snapshots.Snapshot]) -> Iterator[str]:
    """Compare what an active lease burns with its size and the snapshots that it keeps."""
    if row.status is not lease.LeaseStatus.ACTIVE:
        return
    told = {"snapshot_gb": row.snapshot_gb, "snapshot_burn": row.snapshot_burn}
    expected = snapshot_burns.facts(kept)
    if told != expected:
        yield f"lease {row.lease_id} burns for {told}, its snapshots are {expected}"
    if row.burn is not None and row.burn != meter.burn_of_lease(row):
        yield f"lease {row.lease_id} burns {row.burn}, not {meter.burn_of_lease(row)}"


def most_burn(row: lease.Lease) -> int:
    """Return what a lease burns with the largest size and as many snapshots as it may have."""
    largest = row.evolve(size=LARGEST)
    return meter.burn_of(row.rates, LARGEST) + MOST_SNAPSHOTS * snapshot_burns.burn_of_next(
        largest, None
    )


def least_burn(row: lease.Lease) -> int:
    """Return what a lease burns with the smallest size and no snapshot, or during a pause."""
    paused = meter.paused_burn_of(row.rates) if row.is_paused or row.wakes else None
    return meter.burn_of(row.rates, SMALLEST) if paused is None else paused


def _put_in(one: order.Order, metered: meter.Meter, minute_seconds: float) -> int:
    if one.credit is not None:
        return one.credit
    return round(one.minutes * minute_seconds * 1000) * metered.burn
