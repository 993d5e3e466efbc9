"""Fixtures of the tests of what is done inside guests, on either database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.chain import chain, facilitator
from tests.support.installation import Installation, proxmox, running

from pve402.storage import database
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator
from pve402_devnet.pve.simulator import SimulatedProxmox

__all__ = ["chain", "facilitator", "proxmox"]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database, as an operator writes it."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/pve402.sqlite3"
    url: str = request.getfixturevalue("postgres_url")
    return url.replace("postgresql+asyncpg://", "postgresql://")


@pytest.fixture
async def installation(
    database_url: str,
    proxmox: SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
) -> AsyncIterator[Installation]:
    """A running installation."""
    async with running(database_url, proxmox, chain, facilitator) as made:
        yield made


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[database.Database]:
    """An open database with the newest tables."""
    drivers = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
    kind, _, rest = database_url.partition(":")
    opened = await database.Database(f"{drivers[kind]}:{rest}").open()
    yield opened
    await opened.close()
