"""What a lease has left: a balance, of which its size burns so much a minute.

    the unit      10^-18 USD / 1024: rates have at most 18 decimal places, and memory is priced by
                  1024 MB, so a size burns a whole number of units a minute
    the balance   60,000ths of a unit, so that a millisecond takes exactly `burn` of them
    the end       the last whole millisecond that the balance pays for

Nothing is rounded but the end, and what that leaves, which is worth less than a millisecond, stays
in the balance. Minutes that are bought add what they burn, not their price: that was rounded up to
the units of an asset. A meter is settled only when its burn changes or stands still; in between,
the balance at `metered_at` stays what it was, and the end follows from it.
"""

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from pve402.domain import lease, price

UNITS_PER_USD = 10**18 * price.MEMORY_MB_PER_GB
MINUTE_MS = 60_000
LEAST_BURN = 1
"""What a size burns that costs nothing a minute, so that its minutes count."""
_MS = timedelta(milliseconds=1)
_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Meter:
    """A balance that is burnt from a moment on."""

    balance: int  # at `metered_at`; below zero if a payment was lost whose time was used
    burn: int  # units a minute, at least one
    metered_at: datetime  # in whole milliseconds

    @classmethod
    def empty(cls, burn: int, moment: datetime) -> Self:
        """Return a meter without a balance, which ends as it begins."""
        return cls(balance=0, burn=burn, metered_at=_whole(moment))

    @property
    def ends_at(self) -> datetime:
        """When the balance is burnt, but for less than a millisecond's worth.

        An end beyond the calendar of a database is its first or last day; the balance is kept.
        """
        earliest, latest = _FIRST - self.metered_at, _LAST - self.metered_at
        return self.metered_at + _MS * min(max(self._left_ms, earliest // _MS), latest // _MS)

    @property
    def facts(self) -> dict[str, Any]:
        """What a lease's row says of its meter, and the end that follows from it."""
        return dataclasses.asdict(self) | {"expires_at": self.ends_at}

    def at(self, moment: datetime) -> Self:
        """Take off what was burnt until a moment, or until the end if that came first.

        A meter never goes back: a moment before `metered_at` takes nothing off. Once the end has
        come, time that was used and not paid for, because its payment was lost, is forgotten.
        """
        burnt_ms = max(0, (moment - self.metered_at) // _MS)
        if burnt_ms >= self._left_ms:
            left, settled_at = self.balance % self.burn, self.ends_at
        else:
            left = self.balance - burnt_ms * self.burn
            settled_at = self.metered_at + burnt_ms * _MS
        return dataclasses.replace(self, balance=left, metered_at=settled_at)

    def worth(self, minutes: int) -> int:
        """Return what some minutes add to the balance."""
        return minutes * MINUTE_MS * self.burn

    def credited(self, amount: int, moment: datetime) -> Self:
        """Add to the balance; a lease that has ended goes on from that moment."""
        settled = self.at(moment)
        return dataclasses.replace(
            settled,
            balance=settled.balance + amount,
            metered_at=max(settled.metered_at, _whole(moment)),
        )

    def debited(self, amount: int) -> Self:
        """Take back what a payment added that was lost, whether or not it was burnt meanwhile."""
        return dataclasses.replace(self, balance=self.balance - amount)

    def changed(self, burn: int, moment: datetime) -> Self:
        """Burn another amount a minute from a moment on."""
        return dataclasses.replace(self.credited(0, moment), burn=burn)

    def held(self, since: datetime, until: datetime) -> Self:
        """Go on at `until`, as if the time since `since` had not passed."""
        settled = self.at(since)
        passed = max(timedelta(0), _whole(until) - max(_whole(since), settled.metered_at))
        return dataclasses.replace(settled, metered_at=settled.metered_at + passed)

    def ending(self, ends_at: datetime) -> Self:
        """Return the meter with another end: the time in between counts at the present burn."""
        left_ms = (ends_at - self.metered_at) // _MS
        left = left_ms * self.burn + self.balance % self.burn
        return dataclasses.replace(self, balance=left)

    @property
    def _left_ms(self) -> int:
        return self.balance // self.burn


def burn_of(rates: Mapping[str, str], size: lease.Size) -> int:
    """Return what a size burns a minute, in units; at stored rates, or for nothing if none are."""
    if not rates:
        return LEAST_BURN
    units = price.minute_usd(price.Rates.from_strings(rates), size) * UNITS_PER_USD
    return max(LEAST_BURN, units.numerator)


def of(row: lease.Lease) -> Meter | None:
    """Return the meter of a lease; None before its time begins.

    Replicas of earlier versions write the end alone. Their leases have no meter, or one that ends
    at another time; so the end counts, and the time in between at the present burn.
    """
    if row.expires_at is None:
        return None
    found = stored(row) or Meter.empty(burn_of(row.rates, row.size), _begun_at(row))
    return found if found.ends_at == row.expires_at else found.ending(row.expires_at)


def stored(row: lease.Lease) -> Meter | None:
    """Return the meter in a lease's row as it was written; None if there is none."""
    if row.balance is None or row.burn is None or row.metered_at is None:
        return None
    return Meter(balance=row.balance, burn=row.burn, metered_at=row.metered_at)


def _begun_at(row: lease.Lease) -> datetime:
    """Return a moment from which a new meter can count: time that is held must not precede it.

    A lease that was rebuilt from its guest may be younger than its suspension.
    """
    if row.suspension is None:
        return row.created_at
    return min(row.created_at, row.suspension.since)


def _whole(moment: datetime) -> datetime:
    """Return the millisecond that a moment is in, as a database keeps it."""
    return _FIRST + (moment - _FIRST) // _MS * _MS
