"""No order of events makes or loses a unit or a minute; a model in fractions is the witness."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import fake_leases

from pve402.domain import lease, mark, meter, power, price

BEGIN = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
MS = timedelta(milliseconds=1)
KEY = b"k" * 32
PLACES = st.integers(0, 10**16).map(lambda places: Fraction(places, 10**18))
RATES = st.builds(
    price.Rates,
    base_usd=PLACES,
    core_minute_usd=PLACES,
    memory_gb_minute_usd=PLACES,
    disk_gb_minute_usd=PLACES,
)
SIZES = st.builds(
    lease.Size,
    cores=st.integers(1, 512),
    memory_mb=st.integers(16, 4 * 1024 * 1024),
    disk_gb=st.integers(1, 64 * 1024),
)
MINUTES = st.integers(1, 100_000)
UNIT_MS = Fraction(1, 60_000 * 1024 * 10**18)
"""What a burn of one unit costs in a millisecond."""
BURNS = st.one_of(st.integers(1, 50), st.integers(10**6, 10**22))
MILLISECONDS = st.one_of(st.integers(0, 200_000), st.integers(0, 10**10))
EVENTS = st.one_of(
    st.tuples(st.just("wait"), MILLISECONDS),
    st.tuples(st.just("wait for the end"), st.integers(-1, 2)),
    st.tuples(st.just("renew"), MINUTES),
    st.tuples(st.just("renew on an old replica"), MINUTES),
    st.tuples(st.just("lose a payment"), st.integers(0, 30)),
    st.tuples(st.just("hold or resume"), st.none()),
    st.tuples(st.sampled_from(["settle", "store", "rebuild"]), st.none()),
)
CHANGES = st.tuples(st.just("change"), BURNS)
PAUSES = st.one_of(
    st.tuples(st.just("pause"), st.tuples(BURNS, MILLISECONDS)),
    st.tuples(st.just("wake"), st.none()),
)


class Model:
    """A lease's value in USD, in fractions, burnt by the millisecond."""

    def __init__(self, burn: int) -> None:
        self.now_ms = 0
        self.value = Fraction(0)
        self.held = False
        self.slow_usd_ms, self.slow_until_ms = Fraction(0), 0
        self.usd_ms = burn * UNIT_MS

    def change(self, burn: int) -> None:
        """Burn another amount a minute."""
        self._forget_what_was_not_paid()
        if self.is_over:  # nothing is left that would last longer at less
            self.value = min(self.value, (burn - 1) * UNIT_MS)
        self.usd_ms = burn * UNIT_MS

    def wait(self, milliseconds: int) -> None:
        """Burn every whole millisecond that the value pays for."""
        if self.held:
            self.slow_until_ms += milliseconds if self.slow_until_ms > self.now_ms else 0
        else:
            burnt_ms = max(0, min(milliseconds, self.left_ms))
            slow_ms = min(burnt_ms, self.slow_ms)
            self.value -= slow_ms * self.slowly + (burnt_ms - slow_ms) * self.usd_ms
        self.now_ms += milliseconds

    def pause(self, burn: int, longest_ms: int) -> None:
        """Burn another amount a minute for a while."""
        self._forget_what_was_not_paid()
        if not self.is_over:
            self.slow_usd_ms = burn * UNIT_MS
            self.slow_until_ms = self.now_ms + longest_ms

    def wake(self) -> None:
        """Burn what is burnt otherwise."""
        self._forget_what_was_not_paid()
        self.slow_until_ms = 0

    def renew(self, minutes: int) -> Fraction:
        """Add what the minutes burn."""
        self._forget_what_was_not_paid()
        added = minutes * 60_000 * self.usd_ms
        self.value += added
        return added

    @property
    def left_ms(self) -> int:
        """The whole milliseconds that are left; below zero if more was lost than was left."""
        if self.value < self.slow_ms * self.slowly:
            return self.value // self.slowly
        return self.slow_ms + (self.value - self.slow_ms * self.slowly) // self.usd_ms

    @property
    def is_over(self) -> bool:
        """Whether less is left than a millisecond burns."""
        return self.left_ms <= 0

    @property
    def slow_ms(self) -> int:
        """How much of a pause is left."""
        return max(0, self.slow_until_ms - self.now_ms)

    @property
    def slowly(self) -> Fraction:
        """What a pause burns, never more than the lease otherwise."""
        return min(self.slow_usd_ms, self.usd_ms) if self.slow_ms else self.usd_ms

    def _forget_what_was_not_paid(self) -> None:
        if self.value < 0:
            self.value %= self.slowly


class Play:
    """A lease with a meter, and what happens to it."""

    def __init__(self, burn: int) -> None:
        self.model = Model(burn)
        self.row = self.written(fake_leases.make_lease("o"), meter.Meter.empty(burn, BEGIN))
        self.credits: list[tuple[int, Fraction]] = []
        self.held_since = BEGIN

    @property
    def now(self) -> datetime:
        """The time on the model's clock."""
        return BEGIN + self.model.now_ms * MS

    @property
    def burns_until(self) -> datetime:
        """Now, or when the time began to be held."""
        return self.held_since if self.model.held else self.now

    @property
    def is_far(self) -> bool:
        """Whether the end may be beyond the calendar."""
        return self.model.left_ms > 10**14

    @property
    def metered(self) -> meter.Meter:
        """The meter that the row tells."""
        found = meter.of(self.row)
        assert found is not None
        return found

    @staticmethod
    def written(row: lease.Lease, metered: meter.Meter) -> lease.Lease:
        """The row with a meter."""
        return row.evolve(**metered.facts)

    def happens(self, event: str, value: Any) -> None:
        """Let something happen to the lease, its meter and its model."""
        if event == "wait":
            self.model.wait(value)
        elif event == "wait for the end":
            self.model.wait(max(0, min(self.model.left_ms, 10**10) + value))
        elif event == "hold or resume":
            self._hold_or_resume()
        elif event == "renew on an old replica":
            if not self.is_far:
                self._renew_by_the_end_alone(value)
        else:
            self.row = self.written(self.row, self._changed(event, value))

    def _changed(self, event: str, value: Any) -> meter.Meter:
        if event == "renew":
            amount = self.metered.worth(value)
            self.credits.append((amount, self.model.renew(value)))
            return self.metered.credited(amount, self.burns_until)
        if event == "lose a payment" and self.credits:
            amount, usd = self.credits.pop(value % len(self.credits))
            self.model.value -= usd
            return self.metered.debited(amount)
        if event == "change":
            self.model.change(value)
            return self.metered.changed(value, self.burns_until)
        if event in {"pause", "wake"}:
            return self._paused(event, value)
        if event == "rebuild":
            return rebuilt(self.row)
        # As one does who is killed and does it again, or who writes what it read.
        return (
            self.metered.at(self.burns_until).at(self.burns_until)
            if event == "settle"
            else self.metered
        )

    def _paused(self, event: str, value: Any) -> meter.Meter:
        if event == "wake":
            self.model.wake()
            return self.metered.woken(self.burns_until)
        self.model.pause(*value)
        return self.metered.paused(value[0], self.burns_until, value[1] * MS)

    def _hold_or_resume(self) -> None:
        if self.model.held:
            self.row = self.written(self.row, self.metered.held(self.held_since, self.now))
        self.held_since = self.now
        self.model.held = not self.model.held

    def _renew_by_the_end_alone(self, minutes: int) -> None:
        """Add minutes to the later of now and the end, and know nothing of meters."""
        end = self.row.expires_at
        assert end is not None
        amount = self.metered.worth(minutes)
        self.credits.append((amount, self.model.renew(minutes)))
        self.row = self.row.evolve(expires_at=max(end, self.burns_until) + minutes * 60_000 * MS)

    def check(self) -> None:
        """Compare the meter with the model, in units and in milliseconds."""
        left = self.metered.at(self.burns_until)
        if self.model.value >= 0:
            assert usd(left.balance) == self.model.value
            ahead_ms = self.model.value // self.model.usd_ms
            assert self.metered.paid_ahead_ms(self.burns_until) == ahead_ms
        if self.is_far:
            assert self.metered.ends_at.year > 5000
        elif self.model.left_ms > 0:
            assert self.metered.ends_at == self.burns_until + self.model.left_ms * MS
        else:
            assert self.metered.ends_at <= self.burns_until


def usd(balance: int) -> Fraction:
    """A balance in USD."""
    return Fraction(balance, meter.UNITS_PER_USD * meter.MINUTE_MS)


def rebuilt(row: lease.Lease) -> meter.Meter:
    """The meter that the description of a lease's guest tells."""
    assert row.expires_at is not None
    record = mark.GuestRecord(
        lease_id=row.lease_id,
        owner=row.owner,
        sku=row.sku,
        size=row.size,
        expires_at=row.expires_at,
        metered=meter.of(row),
    )
    read = mark.read_description(mark.describe(record, KEY), KEY)
    assert read is not None
    assert read.metered is not None
    return read.metered


@settings(max_examples=50)
@given(rates=RATES, size=SIZES, minutes=MINUTES)
def test_what_minutes_add_is_their_price_to_the_unit(
    rates: price.Rates, size: lease.Size, minutes: int
) -> None:
    burn = meter.burn_of(rates.to_strings(), size)
    added = meter.Meter.empty(burn, BEGIN).worth(minutes)

    exact = price.lease_price_usd(rates, size, minutes, with_base=False)
    assert usd(added) == exact or (exact == 0 and burn == meter.LEAST_BURN)


@settings(max_examples=60)
@given(burn=BURNS, events=st.lists(EVENTS | CHANGES | PAUSES, min_size=8, max_size=20))
def test_no_order_of_events_makes_or_loses_a_unit(
    burn: int, events: Sequence[tuple[str, Any]]
) -> None:
    play = Play(burn)

    for event in events:
        play.happens(*event)
        play.check()


@settings(max_examples=40)
@given(burn=BURNS, events=st.lists(EVENTS, min_size=8, max_size=20))
def test_the_end_of_a_lease_that_never_changes_is_that_of_its_minutes(
    burn: int, events: Sequence[tuple[str, Any]]
) -> None:
    """As it was computed before there was a meter: in minutes, whatever they cost."""
    play, end = Play(burn), BEGIN
    bought: list[int] = []

    for event, value in events:
        since, was_held = play.held_since, play.model.held
        play.happens(event, value)
        if event.startswith("renew"):
            bought.append(value)
            end = max(end, play.burns_until) + timedelta(minutes=value)
        elif event == "lose a payment" and bought:
            end -= timedelta(minutes=bought.pop(value % len(bought)))
        elif event == "hold or resume" and was_held:
            end += play.now - since

        assert play.row.expires_at == end


@pytest.mark.parametrize("moment", [BEGIN - timedelta(days=1), BEGIN])
def test_a_meter_never_goes_back(moment: datetime) -> None:
    metered = meter.Meter(balance=1000, burn=7, metered_at=BEGIN)

    assert metered.at(moment) == metered


def test_what_the_end_leaves_stays_in_the_balance() -> None:
    metered = meter.Meter(balance=100, burn=7, metered_at=BEGIN)

    over = metered.at(BEGIN + timedelta(days=1))

    assert metered.ends_at == over.ends_at == BEGIN + 14 * MS
    assert over.balance == 2
    assert over.credited(5, BEGIN + timedelta(days=1)).ends_at == BEGIN + timedelta(days=1) + MS


def test_what_has_ended_stays_so_at_any_burn() -> None:
    over, later = meter.Meter(balance=100, burn=7, metered_at=BEGIN), BEGIN + 90 * MS

    changed, paused = over.changed(1, later), over.paused(1, later, timedelta(days=1))

    assert (changed.ends_at, changed.burn) == (over.ends_at, 1)
    assert paused == over.at(later)
    assert paused.woken(later).ends_at == over.ends_at


def test_time_that_is_held_does_not_pass_even_if_its_beginning_was_rounded() -> None:
    since = BEGIN + 123 * MS
    stopped = meter.Meter(balance=600_000, burn=1, metered_at=BEGIN).at(since)

    resumed = stopped.held(since.replace(microsecond=0), since + timedelta(days=3))

    assert resumed.balance == stopped.balance
    assert resumed.metered_at == since + timedelta(days=3)


@pytest.mark.parametrize(("balance", "year"), [(10**40, 9999), (-(10**40), 1970)])
def test_an_end_beyond_the_calendar_loses_nothing(balance: int, year: int) -> None:
    metered = meter.Meter(balance=balance, burn=1, metered_at=BEGIN)

    assert metered.ends_at.year == year
    assert play_row(metered) == metered
    assert metered.debited(balance).ends_at == BEGIN


def test_a_size_that_costs_nothing_is_sold_by_the_minute_all_the_same() -> None:
    burn = meter.burn_of({}, lease.Size(cores=1, memory_mb=512, disk_gb=8))
    empty = meter.Meter.empty(burn, BEGIN)

    assert empty.credited(empty.worth(90), BEGIN).ends_at == BEGIN + timedelta(minutes=90)


def test_a_lease_of_an_earlier_version_has_what_its_end_is_worth() -> None:
    row = fake_leases.make_lease("o").evolve(created_at=BEGIN, expires_at=BEGIN + 90_061 * MS)

    metered = meter.of(row)

    assert metered is not None
    assert metered.ends_at == row.expires_at
    assert metered.burn == meter.burn_of(row.rates, row.size) > 1
    assert metered.balance == 90_061 * metered.burn


@pytest.mark.parametrize("left", [timedelta(hours=-1), timedelta(hours=2), timedelta(hours=9)])
def test_all_the_time_that_is_held_counts_on_a_lease_rebuilt_meanwhile(left: timedelta) -> None:
    """Its guest was described by an earlier version, so its row is younger than its suspension."""
    held = power.Suspension(reason="abuse", since=BEGIN, time_held=True)
    row = fake_leases.make_lease("o").evolve(
        created_at=BEGIN + timedelta(hours=5), expires_at=BEGIN + left, suspension=held
    )

    metered = meter.of(row)

    assert metered is not None
    assert metered.ends_at == row.expires_at
    resumed = metered.held(held.since, BEGIN + timedelta(days=3))
    assert resumed.ends_at == BEGIN + left + timedelta(days=3)


@pytest.mark.parametrize(("addresses", "more"), [(0, 0), (2, 2 * 7 * 10**11 * 1024)])
def test_addresses_burn_while_a_lease_is_paused_and_while_it_is_not(
    addresses: int, more: int
) -> None:
    row = fake_leases.make_lease("o").evolve(address_count=addresses)
    rates = {**row.rates, "paused_usd_minute": "0.00001", "address_usd_minute": "0.0000007"}
    paused = 10**13 * 1024

    burn = meter.burn_of_lease(row.evolve(rates=rates))

    assert burn == meter.burn_of_lease(row) + more
    assert meter.paused_burn_of(rates, addresses=addresses) == paused + more
    assert meter.paused_burn_of({**rates, "paused_usd_minute": "0"}, addresses=addresses) is None


def test_a_lease_has_no_meter_before_its_time_begins() -> None:
    assert meter.of(fake_leases.make_lease("o").evolve(expires_at=None)) is None


def play_row(metered: meter.Meter) -> meter.Meter | None:
    """The meter that a row tells after it was written."""
    return meter.of(Play.written(fake_leases.make_lease("o"), metered))
