"""A catalogue is checked before it is put in place, and put on sale at a word."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import sqlalchemy as sa
from rich.console import Console
from tests.support.installation import Installation, creation, running, settings

from pve402 import bootstrap
from pve402.ops import catalogue
from pve402.storage import migrate
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator
from pve402_devnet.pve.simulator import SimulatedProxmox

SHIPPED = Path("src/pve402/domain/default_catalogue.toml").read_text()
NETWORK = """
[network.lan]
default = true
bridge = "vmbr0"
isolation = "none"
ipv4 = { subnet = "10.7.0.0/24", ranges = ["10.7.0.10-10.7.0.19"], gateway = "10.7.0.1" }
"""
CHANGED = SHIPPED.replace('"0.0002"\n', '"0.0004"\naddress_usd_minute = "0.0001"\n').replace(
    "[sku.basic-lxc]", "[sku.other]"
).replace('management_usd = "0.001"', 'management_usd = "0.002"') + NETWORK.replace(
    ".10-10.7.0.19", ".100-10.7.0.109"
).replace('"none"', '"tenant"')


def screen() -> Console:
    return Console(file=io.StringIO(), width=300)


def shown(console: Console) -> str:
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


async def test_a_check_says_what_would_change(
    tmp_path: Path,
    proxmox: SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
) -> None:
    sold, new = tmp_path / "sold.toml", tmp_path / "new.toml"
    pausing = '[sku.standard-lxc]\npaused_usd_minute = "0.0003"'
    sold.write_text(SHIPPED.replace("[sku.standard-lxc]", pausing) + NETWORK)
    new.write_text(CHANGED)
    url, console = f"sqlite:///{tmp_path}/db.sqlite3", screen()
    world = (proxmox, chain, facilitator)
    async with running(url, *world, pve402_catalogue=sold) as made:
        await made.lease()
        code = await catalogue.check(made.parts, console, file=new)

    lines = [line.strip() for line in shown(console).splitlines()]
    assert code == 0
    assert lines == [
        "it can be used; on sale: other, standard-lxc",
        "compared with version 1, which is on sale:",
        "sku basic-lxc: no longer on sale; its leases run on, renewed at their own rates",
        "sku other: new",
        "sku standard-lxc: core_minute_usd 0.0002 -> 0.0004",
        "sku standard-lxc: paused_usd_minute 0.0003 -> none",
        "sku standard-lxc: address_usd_minute none -> 0.0001",
        "sku standard-lxc: containers are made differently; its warm ones are made anew",
        "fee of a call: 0.001 -> 0.002 USD",
        "network lan: isolation none -> tenant, for new containers alone",
        "network lan: 10.7.0.10 is in use and in no pool any more; its lease keeps it",
    ]


async def test_a_check_of_what_is_on_sale_finds_no_change(installation: Installation) -> None:
    console = screen()

    code = await catalogue.check(installation.parts, console, file=None)

    assert code == 0
    assert "nothing changes" in shown(console)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[sku.free]\ncores = 1\n", "sku.free"),
        ("\x00", "not TOML"),
        (SHIPPED + 'templates = { odd = "local" }\n', "templates.odd"),
        ("#" * 2**20 + "\n", "larger than 1 MiB"),
    ],
)
async def test_a_check_says_what_is_wrong(
    installation: Installation,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str,
    reason: str,
) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text)

    code = await catalogue.check(installation.parts, screen(), file=file)

    assert code == 1
    assert reason in capsys.readouterr().err
    assert installation.leases.prices.version == 1


async def test_a_reload_puts_the_file_on_sale(
    tmp_path: Path,
    proxmox: SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "catalogue.toml"
    file.write_text(SHIPPED)
    url, world = f"sqlite:///{tmp_path}/db.sqlite3", (proxmox, chain, facilitator)
    async with running(url, *world, pve402_catalogue=file) as made:
        said: list[str] = []
        for text in (SHIPPED, CHANGED, "nothing"):
            console = screen()
            file.write_text(text)
            await catalogue.reload(made.parts, console)
            said.append(shown(console).strip())

        assert said == [
            "the file is version 1 already, which is on sale",
            "version 2 is on sale; replicas follow within seconds",
            "",
        ]
        assert "what is on sale stays on sale" in capsys.readouterr().err
        assert made.price_of(creation()) == 39_800  # of an address, 6_000


@pytest.mark.parametrize("revision", ["0012", None])
async def test_a_command_goes_by_the_file_where_no_version_can_be_read(
    tmp_path: Path,
    proxmox: SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
    revision: str | None,
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    if revision is not None:
        await migrate.upgrade(sa.make_url(url.replace("sqlite", "sqlite+aiosqlite")), revision)
    else:
        url = "postgresql://nobody@127.0.0.1:9/none"
    key = {"pve402_secret_key": "k" * 32}
    parts = bootstrap.build(settings(url, proxmox, chain, facilitator, **key))

    await parts.versions.adopt()

    assert parts.leases.prices.version == 0
    assert "standard-lxc" in parts.leases.catalogue.skus
    await parts.close()
