"""What a change of size does to a lease's rates and time: nobody gains by any order of changes."""

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import fake_leases

from pve402.domain import catalogue, errors, lease, meter, price, size_changes

BEGIN = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
MS = timedelta(milliseconds=1)
PLACES = st.integers(10**10, 10**16).map(lambda places: Fraction(places, 10**18))
RATES = st.builds(
    price.Rates,
    base_usd=st.just(Fraction(0)),
    core_minute_usd=PLACES,
    memory_gb_minute_usd=PLACES,
    disk_gb_minute_usd=PLACES,
)
SIZES = st.builds(
    lease.Size,
    cores=st.integers(1, 64),
    memory_mb=st.integers(16, 64 * 1024),
    disk_gb=st.integers(1, 1024),
)
MILLISECONDS = st.one_of(st.integers(0, 5_000), st.integers(0, 10**8))
OUTCOMES = st.sampled_from(["done", "never asked", "asked and undone"])
CHANGES = st.tuples(SIZES, RATES, st.tuples(MILLISECONDS, MILLISECONDS), OUTCOMES)
SOLD = catalogue.parse(Path("src/pve402/domain/default_catalogue.toml").read_text())
SIZE = lease.Size(cores=2, memory_mb=2048, disk_gb=20)


class Lease:
    """A lease that is changed, and the value that it must have left, in fractions."""

    def __init__(self, rates: price.Rates, size: lease.Size, minutes: int) -> None:
        self.rates, self.size = rates.to_strings(), size
        self.first_rates = self.rates
        empty = meter.Meter.empty(meter.burn_of(self.rates, size), BEGIN)
        self.metered = empty.credited(empty.worth(minutes), BEGIN)
        self.now = BEGIN
        self.value = Fraction(self.metered.balance)

    def wait(self, milliseconds: int, burn: int) -> None:
        """Let time pass in which so much must burn."""
        self.now += milliseconds * MS
        self.value -= milliseconds * burn

    def change(self, size: lease.Size, today: price.Rates, pauses: Any, outcome: str) -> None:
        """Change the size; Proxmox is asked after the first pause, and answers after the other."""
        rates = size_changes.rates_after(self.rates, today, self.size, size)
        before, after = self.metered.burn, meter.burn_of(rates, size)
        one = changing(self, size, rates, after)
        self.metered = one.begun(self.metered, self.now)
        self.wait(pauses[0], before)
        if outcome != "never asked":
            one = dataclasses.replace(one, began_at=self.now)
        self.wait(pauses[1], max(before, after) if outcome == "done" else before)
        if outcome == "done":
            self.metered = one.ended(self.metered, self.now)
            self.rates, self.size = rates, size
        else:
            self.metered = one.undone(self.metered, self.now)

    @property
    def cheapest_burn(self) -> int:
        """What its size would burn at the rates that it began with."""
        return meter.burn_of(self.first_rates, self.size)


def changing(
    one: Lease, size: lease.Size, rates: dict[str, str], burn: int
) -> size_changes.SizeChange:
    """A change that has just begun."""
    return size_changes.SizeChange(
        lease_id="l",
        state=size_changes.State.CHANGING,
        created_at=one.now,
        before=one.size,
        after=size,
        burn_before=one.metered.burn,
        burn_after=burn,
        rates_after=rates,
        since=one.now,
        may_restart=False,
    )


@settings(max_examples=80)
@given(rates=RATES, size=SIZES, changes=st.lists(CHANGES, min_size=1, max_size=8))
def test_no_order_of_changes_makes_or_loses_a_unit(
    rates: price.Rates, size: lease.Size, changes: Sequence[Any]
) -> None:
    """More burns from when Proxmox was asked, less from when it was seen, failures not at all."""
    one = Lease(rates, size, minutes=10**9)

    for each in changes:
        one.change(*each)

        assert one.metered.at(one.now).balance == one.value
        assert one.metered.burn == meter.burn_of(one.rates, one.size)


@settings(max_examples=80)
@given(rates=RATES, size=SIZES, changes=st.lists(CHANGES, min_size=1, max_size=8))
def test_nobody_gets_cheaper_rates_by_going_up_and_down(
    rates: price.Rates, size: lease.Size, changes: Sequence[Any]
) -> None:
    one = Lease(rates, size, minutes=10**9)

    for each in changes:
        one.change(*each)

        assert one.metered.burn >= one.cheapest_burn


@settings(max_examples=80)
@given(
    rates=RATES,
    today=RATES,
    pauses=st.tuples(MILLISECONDS, MILLISECONDS),
    held=MILLISECONDS,
    minutes=st.integers(1, 100),
)
def test_a_change_that_fails_leaves_the_end_as_it_was_even_if_time_was_held_or_ran_out(
    rates: price.Rates, today: price.Rates, pauses: Any, held: int, minutes: int
) -> None:
    one = Lease(rates, SIZE, minutes)
    wanted = dataclasses.replace(SIZE, cores=64)
    after = size_changes.rates_after(one.rates, today, SIZE, wanted)
    change = changing(one, wanted, after, meter.burn_of(after, wanted))
    end = one.metered.ends_at

    burning = change.begun(one.metered, BEGIN)
    since = BEGIN + pauses[0] * MS
    until = since + held * MS
    burning, change = burning.held(since, until), change.held(until - since)
    undone = change.undone(burning, until + pauses[1] * MS)

    if burning.ends_at > until:  # time that had run out is not held
        assert undone.ends_at == end + held * MS
    assert undone.burn == one.metered.burn


def test_a_lease_that_gets_less_keeps_the_rates_of_its_time() -> None:
    stored = {**zero_rates(), "core_minute_usd": "0.5"}

    kept = size_changes.rates_after(
        stored, price.Rates.from_strings(zero_rates()), SIZE, dataclasses.replace(SIZE, cores=1)
    )

    assert kept == stored


def test_a_lease_that_gets_more_of_anything_has_todays_rates_where_they_are_dearer() -> None:
    stored = {**zero_rates(), "core_minute_usd": "0.5", "disk_gb_minute_usd": "0.1"}
    today = {**zero_rates(), "core_minute_usd": "0.2", "memory_gb_minute_usd": "0.3"}
    mixed = dataclasses.replace(SIZE, cores=1, memory_mb=4096)

    after = size_changes.rates_after(stored, price.Rates.from_strings(today), SIZE, mixed)

    assert after == {
        **zero_rates(),
        "core_minute_usd": "0.5",
        "memory_gb_minute_usd": "0.3",
        "disk_gb_minute_usd": "0.1",
    }


@pytest.mark.parametrize(
    ("wish", "refusal"),
    [
        ({"cores": 9}, errors.OutOfBounds),
        ({"memory_mb": 127}, errors.OutOfBounds),
        ({"disk_gb": 19}, errors.InvalidRequest),
        ({"disk_gb": 129}, errors.OutOfBounds),
    ],
)
def test_a_size_that_is_not_sold_is_refused(
    wish: dict[str, int], refusal: type[errors.Pve402Error]
) -> None:
    row = fake_leases.make_lease("o").evolve(size=SIZE, sku="standard-lxc")

    with pytest.raises(refusal):
        size_changes.Wish(**wish).size_for(row, SOLD)


def test_what_stays_as_it_is_may_be_outside_todays_bounds() -> None:
    huge = dataclasses.replace(SIZE, cores=99)
    row = fake_leases.make_lease("o").evolve(size=huge, sku="standard-lxc")

    wanted = size_changes.Wish(memory_mb=1024).size_for(row, SOLD)

    assert wanted == dataclasses.replace(huge, memory_mb=1024)


def test_a_lease_whose_sku_is_gone_is_not_changed() -> None:
    row = fake_leases.make_lease("o").evolve(size=SIZE, sku="gone")

    with pytest.raises(size_changes.NoLongerSold):
        size_changes.Wish(cores=1).size_for(row, SOLD)


def zero_rates() -> dict[str, str]:
    """Rates at which everything is free."""
    return dict.fromkeys(price.NEEDED, "0")
