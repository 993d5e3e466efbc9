"""The page on snapshots: each figure follows from the meter and the prices."""

import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from tests.support import fake_leases
from tests.support.project import ROOT

from pve402.domain import lease, meter, price, snapshot_burns

TEXT = (ROOT / "docs" / "how-to" / "snapshots.md").read_text(encoding="utf-8")
SIZE = lease.Size(cores=1, memory_mb=512, disk_gb=8)
RATES = {
    "base_usd": "0.002",
    "core_minute_usd": "0.0002",
    "memory_gb_minute_usd": "0.0001",
    "disk_gb_minute_usd": "0.00001",
    "snapshot_gb_usd_minute": "0.000002",
}
BEGIN = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
NUMBERS = ("without a snapshot", "with one", "with two")


def row(name: str) -> Fraction:
    """The figure in a row of the page's table."""
    found = re.search(rf"^\| {re.escape(name)} \| ([0-9.]+) \|$", TEXT, re.MULTILINE)
    assert found is not None
    return Fraction(found[1])


def with_snapshots(count: int) -> lease.Lease:
    """A lease that keeps so many."""
    plain = fake_leases.make_lease("o").evolve(size=SIZE, rates=RATES)
    burn = snapshot_burns.burn_of_next(plain, None)
    return plain.evolve(snapshot_gb=count * SIZE.disk_gb, snapshot_burn=count * burn)


def test_the_example_is_what_the_meter_says() -> None:
    assert f"`snapshot_gb_usd_minute` of {RATES['snapshot_gb_usd_minute']}" in TEXT
    burns = [meter.burn_of_lease(with_snapshots(count)) for count in range(3)]
    empty = meter.Meter.empty(burns[0], BEGIN)
    paid = empty.credited(empty.worth(600), BEGIN)

    for name, burn in zip(NUMBERS, burns, strict=True):
        assert row(f"a minute {name}") == meter.minute_usd(burn)
    last = [
        (paid.loaded(burn - burns[0], BEGIN).ends_at - BEGIN) // timedelta(minutes=1)
        for burn in burns
    ]
    assert f"last {last[1]} minutes with one, {last[2]} with two" in TEXT


def test_the_renewal_of_the_example_is_priced_with_its_snapshots() -> None:
    two, rates = with_snapshots(2), price.Rates.from_strings(RATES)

    minute = price.minute_usd(rates, SIZE) + snapshot_burns.minute_usd(two, rates)

    assert row("a renewal of 60 minutes with two") == 60 * minute
