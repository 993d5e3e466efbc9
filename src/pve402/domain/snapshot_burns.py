"""What kept snapshots burn: each its guest's disk of then, at a rate that it keeps.

A snapshot burns from the moment at which its row was written until it was seen gone. One that
could not be taken has burnt nothing. The rate is that of its lease, or today's if that is dearer: a
snapshot is more of something, as in a change of size.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

from pve402.domain import lease, meter, price, size_changes, snapshots

_RATE = "snapshot_gb_usd_minute"
_TOO_LITTLE = (
    f"What is paid would last less than {size_changes.LEAST_MINUTES_LEFT} minutes with another"
    " snapshot; renew the lease first. Nothing was changed."
)


def burn_of_next(row: lease.Lease, today: price.Rates | None) -> int:
    """Return what another snapshot of a lease would burn, in units a minute.

    Without today's rates, because the sku is gone, those count that are stored with the lease.
    """
    rate = price.parse_usd(row.rates.get(_RATE, "0"))
    if today is not None:
        rate = max(rate, today.snapshot_gb_usd_minute)
    return int(rate * row.size.disk_gb * meter.UNITS_PER_USD)


def minute_usd(row: lease.Lease, rates: price.Rates) -> Fraction:
    """Return what a lease's snapshots cost in a minute of a renewal at some rates.

    Never less than they burn, or deleting them would make value.
    """
    burnt = meter.minute_usd(row.snapshot_burn or 0)
    return max(burnt, rates.snapshot_gb_usd_minute * (row.snapshot_gb or 0))


def taken(metered: meter.Meter, burn: int, moment: datetime) -> meter.Meter:
    """Return the meter of a lease with another snapshot.

    Raises TooLittleTimeLeft if it would end within minutes.
    """
    after = metered.loaded(burn, moment)
    soon = moment + timedelta(minutes=size_changes.LEAST_MINUTES_LEFT)
    if after.ends_at < min(metered.ends_at, soon):
        raise size_changes.TooLittleTimeLeft(_TOO_LITTLE)
    return after


def ended(
    metered: meter.Meter, one: snapshots.Snapshot, moment: datetime, *, failed: bool
) -> meter.Meter:
    """Return the meter of a lease without a snapshot: as if it had never been, if it failed."""
    burn = one.burn or 0
    if not failed or one.burns_since is None:
        return metered.loaded(-burn, moment)
    back = metered.given_back(metered.burn - burn, one.burns_since, moment, moment)
    return back.loaded(-burn, back.metered_at).at(moment)


def of_new(row: lease.Lease, today: price.Rates | None) -> dict[str, Any]:
    """Return what the row of a snapshot says that a lease has just begun to burn for."""
    burn, metered = burn_of_next(row, today), meter.of(row)
    if not burn or metered is None:
        return {}
    return {"gb": row.size.disk_gb, "burn": burn, "burns_since": metered.metered_at}


def facts(found: Iterable[snapshots.Snapshot]) -> dict[str, Any]:
    """Return what the row of a lease says of its snapshots that burn."""
    burning = [one for one in found if one.burn and one.state is not snapshots.State.FAILED]
    return {
        "snapshot_gb": sum(one.gb or 0 for one in burning) or None,
        "snapshot_burn": sum(one.burn or 0 for one in burning) or None,
    }
