"""Who had an address: one line for an abuse mail."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from rich.console import Console
from tests.support.installation import Installation, running

from pve402 import bootstrap
from pve402.domain import lease
from pve402.ops import who
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator
from pve402_devnet.pve.simulator import SimulatedProxmox

ADDRESS, ADDRESS6 = "10.7.0.10", "fd00:7::10"
NETWORK = """
[network.lan]
default = true
bridge = "vmbr0"
ipv4 = { subnet = "10.7.0.0/24", ranges = ["10.7.0.10-10.7.0.11"], gateway = "10.7.0.1" }
ipv6 = { subnet = "fd00:7::/64", ranges = ["fd00:7::10-fd00:7::11"], gateway = "fd00:7::1" }
"""


@pytest.fixture
async def installation(
    tmp_path: Path,
    proxmox: SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
) -> AsyncIterator[Installation]:
    """An installation that assigns addresses, and gives them to somebody else at once."""
    shipped = Path(bootstrap.__file__).parent.parent / "domain" / "default_catalogue.toml"
    file = tmp_path / "catalogue.toml"
    file.write_text(shipped.read_text() + NETWORK)
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, proxmox, chain, facilitator, pve402_catalogue=file) as made:
        yield made


async def asked(
    installation: Installation, address: str, at: str | None = None, **more: bool
) -> tuple[int, str]:
    """The exit code, and what the operator reads."""
    file = io.StringIO()
    question = who.Who(address=address, at=at, **more)
    code = await question.run(installation.parts, Console(file=file, width=300))
    return code, file.getvalue()


@pytest.mark.parametrize("address", [ADDRESS, ADDRESS6, "FD00:7:0::10", f" {ADDRESS} "])
async def test_the_holder_of_an_address_is_named_with_wallet_and_payment(
    installation: Installation, address: str
) -> None:
    answer = await installation.lease()
    row = answer.lease

    code, text = await asked(installation, address)

    assert code == 0
    assert answer.order.transaction is not None
    for fact in (row.lease_id, row.owner, answer.order.transaction, "to now", "ops suspend"):
        assert fact in text


async def test_each_holder_is_found_at_the_times_it_had_the_address(
    installation: Installation,
) -> None:
    first = (await installation.lease()).lease
    during_first = await installation.parts.db.time()
    await installation.leases.end(first)
    await installation.settled_down()
    installation.pass_time(7200)
    between = await installation.parts.db.time() - timedelta(hours=1)
    second, third = [(await installation.lease()).lease for _ in range(2)]
    holder = second if ADDRESS in second.addresses.values() else third
    now = await installation.parts.db.time()

    _, then = await asked(installation, ADDRESS, during_first.isoformat())
    code, nobody = await asked(installation, ADDRESS, between.isoformat())
    _, later = await asked(installation, ADDRESS, now.isoformat())

    assert first.lease_id in then
    assert "ops suspend" not in then
    assert (code, "no lease had" in nobody) == (who.EXIT_UNKNOWN, True)
    assert holder.lease_id in later
    assert first.lease_id not in later


async def test_a_time_may_have_an_offset_and_is_utc_without(installation: Installation) -> None:
    row = (await installation.lease()).lease
    now = await installation.parts.db.time()
    elsewhere = now.astimezone(timezone(timedelta(hours=5, minutes=30)))
    naive = now.replace(tzinfo=None)

    texts = [
        (await asked(installation, ADDRESS, moment.isoformat()))[1]
        for moment in (now, elsewhere, naive)
    ]

    assert all(row.lease_id in text for text in texts)


async def test_programs_get_json(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    row: lease.Lease = (await installation.lease()).lease

    capsys.readouterr()
    await asked(installation, ADDRESS, as_json=True)

    (facts,) = json.loads(capsys.readouterr().out)
    assert facts["lease_id"] == row.lease_id
    assert datetime.fromisoformat(facts["taken_at"]).tzinfo is not None


@pytest.mark.parametrize(
    ("address", "at"),
    [
        ("10.7.0.300", None),
        ("web1", None),
        ("10.7.0.0/24", None),
        (ADDRESS, "yesterday"),
        (ADDRESS, "29/Nov/2026:08:15:00"),
    ],
)
async def test_what_is_no_address_or_time_is_refused(
    installation: Installation, address: str, at: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _ = await asked(installation, address, at)

    assert code == who.EXIT_REFUSED
    assert (at or address) in capsys.readouterr().err
