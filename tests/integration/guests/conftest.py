"""Fixtures of the tests of what is done inside guests, on either database."""

from collections.abc import AsyncIterator

import pytest
from tests.support.chain import chain, facilitator
from tests.support.installation import database_url, installation, proxmox

from pve402.storage import database

__all__ = ["chain", "database_url", "facilitator", "installation", "proxmox"]


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[database.Database]:
    """An open database with the newest tables."""
    drivers = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
    kind, _, rest = database_url.partition(":")
    opened = await database.Database(f"{drivers[kind]}:{rest}").open()
    yield opened
    await opened.close()
