"""The page on pausing: each figure follows from those before it, and from the meter."""

import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from tests.support.project import ROOT

from pve402.domain import lease, meter, power

TEXT = (ROOT / "docs" / "how-to" / "pausing.md").read_text(encoding="utf-8")
SIZE = lease.Size(cores=1, memory_mb=512, disk_gb=8)
RATES = {
    "base_usd": "0.002",
    "core_minute_usd": "0.0002",
    "memory_gb_minute_usd": "0.0001",
    "disk_gb_minute_usd": "0.00001",
    "paused_usd_minute": "0.00002",
}
BEGIN = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def row(name: str) -> Fraction:
    """The figure in a row of the page's table."""
    found = re.search(rf"^\| {re.escape(name)} \| ([0-9.]+) \|$", TEXT, re.MULTILINE)
    assert found is not None
    return Fraction(found[1])


def usd(balance: int) -> Fraction:
    """A balance in USD."""
    return Fraction(balance, meter.UNITS_PER_USD * meter.MINUTE_MS)


def test_the_example_is_what_the_meter_says() -> None:
    burn, slow = meter.burn_of(RATES, SIZE), meter.paused_burn_of(RATES)
    assert slow is not None
    empty = meter.Meter.empty(burn, BEGIN)
    paid = empty.credited(empty.worth(600), BEGIN)

    paused = paid.paused(slow, BEGIN, power.LONGEST_PAUSE)
    woken = paused.woken(BEGIN + timedelta(days=1))

    assert row("a minute while it is not paused") == Fraction(burn, meter.UNITS_PER_USD)
    assert row("a minute while it is paused") == Fraction(slow, meter.UNITS_PER_USD)
    assert row("10 hours, paid and not used yet") == usd(paid.balance)
    assert row("burnt by 7 days of pause") == usd(slow * meter.MINUTE_MS * 7 * 1440)
    assert row("burnt by 24 hours of pause") == usd(paid.balance - woken.balance)
    assert row("left after those 24 hours") == usd(woken.balance)
    assert f"would last {(paused.ends_at - BEGIN) // timedelta(minutes=1)} minutes" in TEXT
    left = (woken.ends_at - woken.metered_at) // timedelta(minutes=1)
    assert f"{left} minutes are left at the full rate" in TEXT
