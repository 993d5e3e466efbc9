"""An installation whose containers may be paused at a tenth of their price."""

from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path

import pytest
from tests.support.installation import Installation, World, running

from pve402.domain import lease, meter

RATE = "0.000033"
SLOWER = 10
"""How many times as much the container of `Installation.lease` burns if it is not paused."""


def write_catalogue(folder: Path, more: str = "", end: str = "") -> Path:
    """The catalogue that ships with the program, with a rate for pauses, and more for its sku.

    What stands at the end is the last sku's, and tables.
    """
    text = resources.files("pve402.domain").joinpath("default_catalogue.toml").read_text()
    first = "[sku.standard-lxc]\n"
    file = folder / "pausing.toml"
    file.write_text(text.replace(first, f'{first}paused_usd_minute = "{RATE}"\n{more}\n') + end)
    return file


@pytest.fixture
def pausing_catalogue(tmp_path: Path) -> Path:
    """The same for one test."""
    return write_catalogue(tmp_path)


@pytest.fixture
async def shop(
    tmp_path: Path, world: World, pausing_catalogue: Path
) -> AsyncIterator[Installation]:
    """A running installation on a SQLite file."""
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *world, pve402_catalogue=pausing_catalogue) as made:
        yield made


@pytest.fixture
async def either_shop(
    database_url: str, world: World, pausing_catalogue: Path
) -> AsyncIterator[Installation]:
    """The same on either kind of database."""
    async with running(database_url, *world, pve402_catalogue=pausing_catalogue) as made:
        yield made


def metered(row: lease.Lease) -> meter.Meter:
    """The meter of a lease that has one."""
    found = meter.of(row)
    assert found is not None
    return found


async def left_ms(shop: Installation, row: lease.Lease) -> int:
    """How many milliseconds at the full burn a lease's balance is worth now."""
    return metered(row).paid_ahead_ms(await shop.parts.db.time())
