"""The page on prices: each figure follows from those before it, and from the price code."""

from __future__ import annotations

import dataclasses
import re
from fractions import Fraction

import pytest
from tests.support import pages
from tests.support.project import ROOT

from pve402.domain import catalogue, lease, price

PAGE = ROOT / "docs" / "how-to" / "pricing.md"
TEXT = PAGE.read_text(encoding="utf-8")
MINUTES = {"1 hour": 60, "1 day": 1440, "30 days": 43200}


def rows(head: str) -> list[list[str]]:
    """The rows of the table that begins so."""
    table = TEXT.partition(f"| {head} | ")[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


@pytest.fixture(scope="module")
def sold() -> catalogue.Catalogue:
    """The catalogue of the page."""
    (text,) = [one.text for one in pages.examples("toml") if one.page.name == "pricing.md"]
    return catalogue.parse(text)


def _usd(sku: catalogue.Sku, size: lease.Size, minutes: int, *, with_base: bool = True) -> str:
    usd = sku.price_usd(size, minutes, with_base=with_base)
    return price.usd_of(price.atomic_units(usd, 6), 6)


def test_the_costs_add_up() -> None:
    *parts, (_, in_all) = rows("cost")

    assert sum(int(usd) for _, usd in parts) == int(in_all)


def test_the_shares_add_up() -> None:
    shares = [int(share.removesuffix(" %")) for *_, share in rows("resource")]

    assert sum(shares) == 100


def test_what_a_minute_costs_follows_from_costs_and_use(sold: catalogue.Catalogue) -> None:
    (*_, (_, costs)) = rows("cost")
    rented = Fraction(int(re.search(r"on average: (\d+) %", TEXT)[1]), 100)  # type: ignore[index]
    rates = sold.sku("standard-lxc").rates.to_strings()

    for (_, amount, _, share), (name, shown, rate) in zip(
        rows("resource"), rows("rate"), strict=True
    ):
        part = Fraction(int(costs)) * int(share.removesuffix(" %")) / 100
        cost = part / (int(amount) * 43200 * rented)
        assert shown == f"{float(cost):.10f}"
        assert rates[name.strip("`")] == rate
        assert 2 * cost <= Fraction(rate) <= Fraction(22, 10) * cost


def test_the_table_of_prices_is_what_quotes_say(sold: catalogue.Catalogue) -> None:
    sku = sold.sku("standard-lxc")

    found = rows("size: cores")

    assert len(found) == 3
    for cores, memory_mb, disk_gb, *prices in found:
        size = lease.Size(cores=int(cores), memory_mb=int(memory_mb), disk_gb=int(disk_gb))
        assert prices == [_usd(sku, size, minutes) for minutes in MINUTES.values()]


def test_the_table_of_addresses_is_what_quotes_say(sold: catalogue.Catalogue) -> None:
    rate = Fraction(re.search(r'`address_usd_minute = "([0-9.]+)"`', TEXT)[1])  # type: ignore[index]
    standard = sold.sku("standard-lxc")
    rates = dataclasses.replace(standard.rates, address_usd_minute=rate)
    size = lease.Size(cores=1, memory_mb=1024, disk_gb=8)

    found = rows("1 core, 1024 MiB, 8 GiB")

    for count, (_, *prices) in enumerate(found):
        sku = dataclasses.replace(standard, rates=rates, address_count=count)
        assert prices == [_usd(sku, size, minutes) for minutes in (60, 43200)]
    assert len(found) == 3


def test_the_smallest_renewal_may_be_worth_less_than_its_settlement(
    sold: catalogue.Catalogue,
) -> None:
    sku = sold.sku("standard-lxc")
    settlement = Fraction(re.search(r"Take ([0-9.]+) USD", TEXT)[1])  # type: ignore[index]
    (_, a_minute), (_, an_hour) = rows("the smallest renewal")

    assert a_minute == _usd(sku, sku.smallest, 1, with_base=False)
    assert an_hour == _usd(sku, sku.smallest, 60, with_base=False)
    assert Fraction(a_minute) < settlement < Fraction(an_hour)
    assert settlement <= min(sku.rates.base_usd, sold.management_fee_usd)
