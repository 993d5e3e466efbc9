"""No order of snapshots, renewals, pauses, held time and ends makes or loses a unit or a minute."""

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import fake_leases

from pve402.domain import lease, meter, price, size_changes, snapshot_burns, snapshots

BEGIN = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
MS = timedelta(milliseconds=1)
MILLISECONDS = st.one_of(st.integers(0, 200_000), st.integers(0, 10**9))
GB = st.integers(1, 64)
EVENTS = st.one_of(
    st.tuples(st.just("wait"), MILLISECONDS),
    st.tuples(st.just("wait for the end"), st.integers(-1, 2)),
    st.tuples(st.just("renew"), st.integers(1, 5_000)),
    st.tuples(st.just("take"), GB),
    st.tuples(st.sampled_from(["delete", "fail"]), st.integers(0, 9)),
    st.tuples(st.just("lose a payment"), st.integers(0, 9)),
    st.tuples(st.just("pause"), MILLISECONDS),
    st.tuples(st.sampled_from(["wake", "hold", "store"]), MILLISECONDS),
)
RATES = {
    "base_usd": "0",
    "core_minute_usd": "0.0002",
    "memory_gb_minute_usd": "0.0001",
    "disk_gb_minute_usd": "0.00001",
    "address_usd_minute": "0.00003",
    "paused_usd_minute": "0.00002",
    "snapshot_gb_usd_minute": "0.000003",
}
UNIT = Fraction(1, meter.UNITS_PER_USD * meter.MINUTE_MS)


class Play:
    """A lease with snapshots, and in fractions of USD what it must have left.

    The witness keeps what each snapshot has burnt, too: that is given back if it fails.
    """

    def __init__(self) -> None:
        row = fake_leases.make_lease("o").evolve(rates=RATES, address_count=1)
        self.now, self.value = BEGIN, Fraction(0)
        self.burnt: dict[str, Fraction] = {}
        self.kept: list[snapshots.Snapshot] = []
        self.credits: list[int] = []
        self.slow_until = BEGIN
        self.row = row.evolve(**meter.Meter.empty(meter.burn_of_lease(row), BEGIN).facts)

    @property
    def metered(self) -> meter.Meter:
        found = meter.of(self.row)
        assert found is not None
        return found

    def usd_ms(self, moment: datetime) -> Fraction:
        """What a millisecond costs."""
        rates, size = price.Rates.from_strings(RATES), self.row.size
        extras = rates.address_usd_minute + sum(
            rates.snapshot_gb_usd_minute * (one.gb or 0) for one in self.kept
        )
        slow = rates.paused_usd_minute if moment < self.slow_until else None
        whole = price.minute_usd(rates, size)
        return ((whole if slow is None else min(slow, whole)) + extras) / 60_000

    def wait(self, milliseconds: int) -> None:
        """Burn every whole millisecond that the value pays for."""
        slow_ms = min(milliseconds, max(0, (self.slow_until - self.now) // MS))
        for part in (slow_ms, milliseconds - slow_ms):
            each = self.usd_ms(self.now)
            spent = max(0, min(part, self.value // each))
            self.value -= spent * each
            for one in self.kept:
                self.burnt[one.pve_name] += spent * UNIT * (one.burn or 0)
            self.now += part * MS

    def happens(self, event: str, value: int) -> None:
        if event == "wait":
            self.wait(value)
        elif event == "wait for the end":
            self.wait(max(0, (self.metered.ends_at - self.now) // MS + value))
        else:
            done = getattr(self, f"_{event.replace(' ', '_')}")(value)
            self.row = self.row.evolve(**done.facts, **snapshot_burns.facts(self.kept))

    def _renew(self, minutes: int) -> meter.Meter:
        if self.value < 0:
            self.value %= self.usd_ms(self.now)
        amount = self.metered.worth(minutes)
        self.value += amount * UNIT
        self.credits.append(amount)
        gone_since = self.metered.at(self.now).metered_at
        self.kept = [held(one, gone_since, self.now) for one in self.kept]
        return self.metered.credited(amount, self.now)

    def _lose_a_payment(self, which: int) -> meter.Meter:
        amount = self.credits.pop(which % len(self.credits)) if self.credits else 0
        if self.value < amount * UNIT:  # what is forgotten then, the tests of meters tell
            self.credits.append(amount)
            return self.metered
        self.value -= amount * UNIT
        return self.metered.debited(amount)

    def _take(self, gb: int) -> meter.Meter:
        row = self.row.evolve(size=dataclasses.replace(self.row.size, disk_gb=gb))
        burn = snapshot_burns.burn_of_next(row, None)
        try:
            after = snapshot_burns.taken(self.metered, burn, self.now)
        except size_changes.TooLittleTimeLeft:
            return self.metered
        if after.ends_at <= self.now:
            return self.metered
        name = f"s{len(self.burnt)}"
        self.burnt[name] = Fraction(0)
        self.kept.append(made(name, gb, burn, self.now))
        return after

    def _delete(self, which: int, *, failed: bool = False) -> meter.Meter:
        if not self.kept:
            return self.metered
        one = self.kept[which % len(self.kept)]
        after = snapshot_burns.ended(self.metered, one, self.now, failed=failed)
        end, now = self.metered.ends_at, self.now
        self.kept.remove(one)
        if failed:
            self.value += self.burnt[one.pve_name]
        if end <= now:  # what is left may pay for more of the time that has passed, at less
            self.now = end
            self.wait((now - end) // MS)
        return after

    def _fail(self, which: int) -> meter.Meter:
        return self._delete(which, failed=True)

    def _pause(self, longest_ms: int) -> meter.Meter:
        if self.metered.ends_at <= self.now:
            return self.metered
        self.slow_until = self.now + longest_ms * MS
        burn = meter.paused_burn_of_lease(self.row)
        assert burn is not None
        return self.metered.paused(burn, self.now, longest_ms * MS)

    def _wake(self, _: int) -> meter.Meter:
        if self.metered.ends_at <= self.now:
            return self.metered
        self.slow_until = self.now
        return self.metered.woken(self.now)

    def _hold(self, milliseconds: int) -> meter.Meter:
        since = self.now
        if self.metered.ends_at <= since:
            return self.metered
        self.now += milliseconds * MS
        if self.slow_until > since:
            self.slow_until += milliseconds * MS
        self.kept = [held(one, since, self.now) for one in self.kept]
        return self.metered.held(since, self.now)

    def _store(self, _: int) -> meter.Meter:
        return self.metered


def made(name: str, gb: int, burn: int, since: datetime) -> snapshots.Snapshot:
    """A snapshot that has just begun to burn."""
    return snapshots.Snapshot(
        lease_id="l",
        name=name,
        pve_name=name,
        state=snapshots.State.TAKING,
        created_at=since,
        gb=gb,
        burn=burn,
        burns_since=since,
    )


def held(one: snapshots.Snapshot, since: datetime, until: datetime) -> snapshots.Snapshot:
    """A snapshot after some time in which nothing burnt, as `snapshot_rows.hold` writes it."""
    began = one.burns_since
    assert began is not None
    passed = max(timedelta(0), until - max(since, began))
    return dataclasses.replace(one, burns_since=began + passed)


@settings(max_examples=120)
@given(events=st.lists(EVENTS, min_size=8, max_size=24))
def test_no_order_of_events_makes_or_loses_a_unit(events: Sequence[tuple[str, Any]]) -> None:
    play = Play()
    play.happens("renew", 600)

    for event in events:
        play.happens(*event)

        assert play.metered.at(play.now).balance * UNIT == play.value
        assert play.metered.burn == meter.burn_of_lease(play.row)


@settings(max_examples=60)
@given(waits=st.tuples(MILLISECONDS, MILLISECONDS), gb=GB, minutes=st.integers(30, 5_000))
def test_a_snapshot_that_fails_leaves_the_end_as_it_was(
    waits: tuple[int, int], gb: int, minutes: int
) -> None:
    play = Play()
    play.happens("renew", minutes)
    end = play.metered.ends_at
    play.happens("wait", min(waits[0], minutes * 30_000))

    play.happens("take", gb)
    play.happens("wait", min(waits[1], (play.metered.ends_at - play.now) // MS))
    play.happens("fail", 0)

    assert play.metered.ends_at == end


def test_a_snapshot_that_would_leave_less_than_five_minutes_is_refused() -> None:
    row = fake_leases.make_lease("o").evolve(rates=RATES)
    empty = meter.Meter.empty(meter.burn_of_lease(row), BEGIN)
    burn = snapshot_burns.burn_of_next(row, None)
    short, long = (empty.credited(empty.worth(minutes), BEGIN) for minutes in (5, 6))

    with pytest.raises(size_changes.TooLittleTimeLeft, match="snapshot"):
        snapshot_burns.taken(short, burn, BEGIN)

    assert snapshot_burns.taken(long, burn, BEGIN).ends_at > BEGIN + timedelta(minutes=5)


@pytest.mark.parametrize(
    ("stored", "today", "rate"),
    [("0", "0.5", "0.5"), ("0.5", "0", "0.5"), ("0.2", "0.1", "0.2"), ("0", "0", "0")],
)
def test_a_snapshot_burns_at_the_dearer_of_the_rates_of_its_lease_and_of_today(
    stored: str, today: str, rate: str
) -> None:
    row = fake_leases.make_lease("o")
    row = row.evolve(rates={**row.rates, "snapshot_gb_usd_minute": stored})
    rates = price.Rates.from_strings({**RATES, "snapshot_gb_usd_minute": today})

    burn = snapshot_burns.burn_of_next(row, rates)

    assert meter.minute_usd(burn) == Fraction(rate) * row.size.disk_gb


@given(burn=st.integers(0, 10**22), gb=st.integers(0, 1000), rate=st.integers(0, 10**15))
def test_a_renewal_never_pays_less_for_snapshots_than_they_burn(
    burn: int, gb: int, rate: int
) -> None:
    """Or a tenant could renew, delete them, and have more than was paid for."""
    row = fake_leases.make_lease("o").evolve(snapshot_burn=burn, snapshot_gb=gb)
    today = dataclasses.replace(
        price.Rates.from_strings(RATES), snapshot_gb_usd_minute=Fraction(rate, 10**18)
    )

    usd = snapshot_burns.minute_usd(row, today)

    assert usd >= meter.minute_usd(burn)
    assert usd >= today.snapshot_gb_usd_minute * gb


def test_a_lease_without_snapshots_burns_and_costs_what_it_did() -> None:
    row = fake_leases.make_lease("o")
    size = lease.Size(cores=1, memory_mb=512, disk_gb=8)
    plain = row.evolve(size=size, rates={name: RATES[name] for name in price.NEEDED})

    assert meter.burn_of_lease(plain) == 337_920_000_000_000_000  # 0.00033 USD, as ever
    assert snapshot_burns.burn_of_next(plain, None) == 0
    assert snapshot_burns.minute_usd(plain, price.Rates.from_strings(plain.rates)) == 0
    assert meter.paused_burn_of_lease(plain) is None
