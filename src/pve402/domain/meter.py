"""What a lease has left: a balance, of which its size burns so much a minute.

    the unit      10^-18 USD / 1024: rates have at most 18 decimal places, and memory is priced by
                  1024 MB, so a size burns a whole number of units a minute
    the balance   60,000ths of a unit, so that a millisecond takes exactly `burn` of them
    the end       the last whole millisecond that the balance pays for

A lease may burn less for a while, until its guest is woken or a moment comes: its end allows for
both. Nothing is rounded but the end, and what that leaves, which is worth less than a millisecond,
stays in the balance. Minutes that are bought add what they burn, not their price: that was rounded
up to the units of an asset. A meter is settled only when its burn changes or stands still; in
between, the balance at `metered_at` stays what it was, and the end follows from it.
"""

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any, Self

from pve402.domain import lease, price

UNITS_PER_USD = 10**18 * price.MEMORY_MB_PER_GB
MINUTE_MS = 60_000
LEAST_BURN = 1
"""What a size burns that costs nothing a minute, so that its minutes count."""
_MS = timedelta(milliseconds=1)
_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pause:
    """A while during which another amount is burnt; the times are in whole milliseconds."""

    burn: int  # units a minute, at least one
    since: datetime
    until: datetime
    is_idle: bool = False  # nobody asked for it


@dataclasses.dataclass(frozen=True, kw_only=True)
class Meter:
    """A balance that is burnt from a moment on."""

    balance: int  # at `metered_at`; below zero if a payment was lost whose time was used
    burn: int  # units a minute, at least one
    metered_at: datetime  # in whole milliseconds
    pause: Pause | None = None

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
        """What a lease's row says of its meter, and the end that follows from it.

        A paused one has its own column: replicas of earlier versions then find no meter, and change
        the end alone.
        """
        plain = {"balance": self.balance, "burn": self.burn, "metered_at": self.metered_at}
        end = {"expires_at": self.ends_at}
        if self.pause is None:
            return {**plain, **end, "paused_at": None, "paused": None}
        return {
            **dict.fromkeys(plain),
            **end,
            "paused_at": self.pause.since,
            "paused": to_words(self) | {"ends_at": milliseconds(self.ends_at)},
        }

    def at(self, moment: datetime) -> Self:
        """Take off what was burnt until a moment, or until the end if that came first.

        A meter never goes back: a moment before `metered_at` takes nothing off. Once the end has
        come, time that was used and not paid for, because its payment was lost, is forgotten.
        """
        burnt_ms = max(0, (moment - self.metered_at) // _MS)
        if burnt_ms >= self._left_ms:
            left, settled_at = self.balance - self._burnt(self._left_ms), self.ends_at
        else:
            left = self.balance - self._burnt(burnt_ms)
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
        """Burn another amount a minute from a moment on; a pause goes on.

        Time that has run out stays so.
        """
        settled = self.at(moment)
        if self.ends_at <= moment:
            return settled.rebased(burn)
        return dataclasses.replace(settled, burn=burn)

    def loaded(self, more: int, moment: datetime) -> Self:
        """Burn so much more a minute from a moment on, or less, during a pause and otherwise.

        Time that has run out stays so.
        """
        settled, pause = self.at(moment), self.pause
        if pause is not None:
            pause = dataclasses.replace(pause, burn=max(LEAST_BURN, pause.burn + more))
        return dataclasses.replace(settled, burn=max(LEAST_BURN, settled.burn + more), pause=pause)

    def paused(
        self, burn: int, moment: datetime, longest: timedelta, *, is_idle: bool = False
    ) -> Self:
        """Burn that much a minute from a moment on, for so long at most. Not after the end."""
        settled = self.at(moment)
        if self.ends_at <= moment:
            return settled
        since = settled.metered_at
        pause = Pause(burn=burn, since=since, until=since + longest, is_idle=is_idle)
        return dataclasses.replace(settled, pause=pause)

    def woken(self, moment: datetime) -> Self:
        """End a pause."""
        return dataclasses.replace(self.at(moment), pause=None)

    def paid_ahead_ms(self, moment: datetime, *, added: int = 0, less: int = 0) -> int:
        """Return how long the balance would last from a moment on, were it not for a pause.

        With what is added to it, and if so much less were burnt.
        """
        left = max(0, self.at(moment).balance) + added
        return left // max(LEAST_BURN, self.burn - less)

    def rebased(self, burn: int) -> Self:
        """Burn another amount a minute, and end at the same millisecond: a change of unit."""
        left_ms, rest = divmod(self.balance, self.burn)
        balance = left_ms * burn + min(rest, burn - 1)
        return dataclasses.replace(self, balance=balance, burn=burn)

    def given_back(self, burn: int, since: datetime, until: datetime, moment: datetime) -> Self:
        """Have burnt only `burn` from `since` to `until`, where more was burnt.

        It burns as much as before from `moment` on. Only time counts that was there to be burnt.
        """
        settled = self.at(moment)
        burnt_ms = max(0, (min(until, settled.metered_at) - since) // _MS)
        too_much = max(0, self.burn - burn) * burnt_ms
        return dataclasses.replace(settled, balance=settled.balance + too_much)

    def held(self, since: datetime, until: datetime) -> Self:
        """Go on at `until`, as if the time since `since` had not passed."""
        settled = self.at(since)
        passed = max(timedelta(0), _whole(until) - max(_whole(since), settled.metered_at))
        pause = settled.pause
        if pause is not None:
            pause = dataclasses.replace(pause, until=pause.until + passed)
        return dataclasses.replace(settled, metered_at=settled.metered_at + passed, pause=pause)

    def ending(self, ends_at: datetime) -> Self:
        """Return the meter with another end: the time in between counts at the present burn."""
        left_ms = (ends_at - self.metered_at) // _MS
        left = left_ms * self.burn + self.balance % self.burn
        return dataclasses.replace(self, balance=left)

    @property
    def _left_ms(self) -> int:
        slow_ms = self._slow_ms
        if self.balance < slow_ms * self.slow_burn:
            return self.balance // self.slow_burn
        return slow_ms + (self.balance - slow_ms * self.slow_burn) // self.burn

    def _burnt(self, passed_ms: int) -> int:
        """Return what some milliseconds from `metered_at` on take off the balance."""
        slow_ms = min(passed_ms, self._slow_ms)
        return slow_ms * self.slow_burn + (passed_ms - slow_ms) * self.burn

    @property
    def _slow_ms(self) -> int:
        """How much of a pause is left at `metered_at`."""
        return 0 if self.pause is None else max(0, (self.pause.until - self.metered_at) // _MS)

    @property
    def slow_burn(self) -> int:
        """What a pause burns: never more than the lease does otherwise."""
        if self.pause is None or self._slow_ms == 0:
            return self.burn
        return min(self.pause.burn, self.burn)


def burn_of(rates: Mapping[str, str], size: lease.Size, *, addresses: int = 0) -> int:
    """Return what a size and so many addresses burn a minute, in units.

    At stored rates, or for nothing if none are.
    """
    if not rates:
        return LEAST_BURN
    found = price.Rates.from_strings(rates)
    units = price.minute_usd(found, size, addresses=addresses) * UNITS_PER_USD
    return max(LEAST_BURN, units.numerator)


def burn_of_lease(row: lease.Lease) -> int:
    """Return what a lease burns a minute while it is not paused, at its stored rates."""
    burn = burn_of(row.rates, row.size, addresses=row.address_count)
    return burn + (row.snapshot_burn or 0)


def paused_burn_of_lease(row: lease.Lease) -> int | None:
    """Return what a lease burns a minute while it is paused; None if it cannot be.

    Its snapshots burn on.
    """
    burn = paused_burn_of(row.rates, addresses=row.address_count)
    return None if burn is None else burn + (row.snapshot_burn or 0)


def paused_burn_of(rates: Mapping[str, str], *, addresses: int = 0) -> int | None:
    """Return what a paused lease burns a minute, at stored rates; None if none was sold.

    The rate of a pause is in the place of what the size burns; addresses burn on.
    """
    paused = price.parse_usd(rates.get("paused_usd_minute", "0"))
    if not paused:
        return None
    each = price.parse_usd(rates.get("address_usd_minute", "0"))
    return int((paused + addresses * each) * UNITS_PER_USD)


def minute_usd(burn: int) -> Fraction:
    """Return what so many units a minute are in USD."""
    return Fraction(burn, UNITS_PER_USD)


def of(row: lease.Lease) -> Meter | None:
    """Return the meter of a lease; None before its time begins.

    Replicas of earlier versions write the end alone. Their leases have no meter, or one that ends
    at another time; so the end counts, and the time in between at the present burn. Of a paused
    lease it counts at the full burn, because such replicas add and take back minutes at that.
    """
    if row.expires_at is None:
        return None
    if row.paused:
        metered, left_at = from_words(row.paused), moment_of(row.paused["ends_at"])
        return metered.debited((left_at - row.expires_at) // _MS * metered.burn)
    found = stored(row) or Meter.empty(burn_of_lease(row), _begun_at(row))
    return found if found.ends_at == row.expires_at else found.ending(row.expires_at)


def stored(row: lease.Lease) -> Meter | None:
    """Return the meter in the row of a lease that is not paused; None if there is none."""
    if row.balance is None or row.burn is None or row.metered_at is None:
        return None
    return Meter(balance=row.balance, burn=row.burn, metered_at=row.metered_at)


def is_outdated(row: lease.Lease) -> bool:
    """Return whether a replica of an earlier version changed a lease without its pause."""
    if row.is_to_run or not row.paused:
        return row.is_to_run and row.is_paused
    found = of(row)
    return found is not None and found.ends_at != row.expires_at


def _begun_at(row: lease.Lease) -> datetime:
    """Return a moment from which a new meter can count: time that is held must not precede it.

    A lease that was rebuilt from its guest may be younger than its suspension.
    """
    if row.suspension is None:
        return row.created_at
    return min(row.created_at, row.suspension.since)


def to_words(metered: Meter) -> dict[str, Any]:
    """Return a meter as a JSON object; times are milliseconds since 1970."""
    words = dataclasses.asdict(metered) | {"metered_at": milliseconds(metered.metered_at)}
    if metered.pause is None:
        del words["pause"]
    else:
        times = {name: milliseconds(getattr(metered.pause, name)) for name in ("since", "until")}
        words["pause"] |= times
    return words


def from_words(words: Mapping[str, Any]) -> Meter:
    """Return the meter that a JSON object tells, whatever else it tells."""
    pause = words.get("pause")
    if pause is not None:
        times = {name: moment_of(pause[name]) for name in ("since", "until")}
        pause = Pause(burn=pause["burn"], is_idle=pause.get("is_idle", False), **times)
    return Meter(
        balance=words["balance"],
        burn=words["burn"],
        metered_at=moment_of(words["metered_at"]),
        pause=pause,
    )


def milliseconds(moment: datetime) -> int:
    """Return the milliseconds from 1970 to a moment."""
    return (moment - _FIRST) // _MS


def moment_of(milliseconds_since_1970: int) -> datetime:
    """Return the moment so many milliseconds after 1970."""
    return _FIRST + milliseconds_since_1970 * _MS


def _whole(moment: datetime) -> datetime:
    """Return the millisecond that a moment is in, as a database keeps it."""
    return moment_of(milliseconds(moment))
