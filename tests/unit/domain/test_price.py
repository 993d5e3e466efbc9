"""Prices are exact, rounded up once, and never below one unit."""

import dataclasses
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pve402.domain import lease, price

RATES = price.Rates.from_strings(
    {
        "base_usd": "0.002",
        "core_minute_usd": "0.0002",
        "memory_gb_minute_usd": "0.0001",
        "disk_gb_minute_usd": "0.00001",
    }
)
SMALL = lease.Size(cores=1, memory_mb=512, disk_gb=8)
SIZES = st.builds(
    lease.Size,
    cores=st.integers(1, 512),
    memory_mb=st.integers(16, 4 * 1024 * 1024),
    disk_gb=st.integers(1, 64 * 1024),
)
MINUTES = st.integers(1, 527_040)


def test_the_price_is_base_and_minutes_times_the_size() -> None:
    usd = price.lease_price_usd(RATES, SMALL, 60)

    assert usd == Fraction("0.002") + 60 * (
        Fraction("0.0002") + Fraction("0.0001") / 2 + 8 * Fraction("0.00001")
    )


def test_a_small_lease_of_an_hour_stays_under_ten_cents() -> None:
    assert price.lease_price_usd(RATES, SMALL, 60) < Fraction("0.10")


@given(size=SIZES, minutes=MINUTES)
def test_more_is_never_cheaper(size: lease.Size, minutes: int) -> None:
    bigger = lease.Size(cores=size.cores + 1, memory_mb=size.memory_mb, disk_gb=size.disk_gb)

    usd = price.lease_price_usd(RATES, size, minutes)

    assert price.lease_price_usd(RATES, bigger, minutes) > usd
    assert price.lease_price_usd(RATES, size, minutes + 1) > usd
    assert price.lease_price_usd(RATES, size, minutes, with_base=False) < usd


@given(size=SIZES, minutes=MINUTES, addresses=st.integers(0, 2))
def test_an_address_costs_its_rate_in_every_minute(
    size: lease.Size, minutes: int, addresses: int
) -> None:
    rates = dataclasses.replace(RATES, address_usd_minute=Fraction("0.0001"))

    usd = price.lease_price_usd(rates, size, minutes, addresses=addresses)

    without = price.lease_price_usd(RATES, size, minutes, addresses=addresses)
    assert usd == without + minutes * addresses * Fraction("0.0001")
    assert without == price.lease_price_usd(RATES, size, minutes)


@pytest.mark.parametrize("name", price.OPTIONAL)
def test_a_rate_that_is_left_out_stands_nowhere(name: str) -> None:
    stored = RATES.to_strings()

    assert set(stored) == set(price.NEEDED)
    assert price.Rates.from_strings({**stored, name: "0"}) == RATES
    assert name in price.Rates.from_strings({**stored, name: "0.5"}).to_strings()


@given(usd=st.fractions(min_value=0, max_value=10**6), decimals=st.integers(0, 18))
def test_atomic_units_are_rounded_up_by_less_than_one(usd: Fraction, decimals: int) -> None:
    units = price.atomic_units(usd, decimals)

    exact = usd * 10**decimals
    assert units >= max(1, exact)
    assert units < exact + 1 or units == 1


@given(units=st.integers(0, 10**30), decimals=st.integers(0, 18))
def test_an_amount_written_in_usd_is_the_same_amount(units: int, decimals: int) -> None:
    text = price.usd_of(units, decimals)

    assert Fraction(text) * 10**decimals == units


@pytest.mark.parametrize("text", ["", "x", "-1", "NaN", "Infinity", "1e400", "0." + "0" * 18 + "1"])
def test_what_is_not_a_price_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"price|decimal"):
        price.parse_usd(text)


def test_stored_rates_come_back_exactly() -> None:
    assert price.Rates.from_strings(RATES.to_strings()) == RATES
