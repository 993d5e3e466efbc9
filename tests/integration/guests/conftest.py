"""Fixtures of the tests of what is done inside guests, on either database."""

from collections.abc import AsyncIterator

import pytest
from tests.support import migrated
from tests.support.chain import chain, facilitator
from tests.support.installation import database_url, installation, proxmox

from pve402.storage import database

__all__ = ["chain", "database_url", "facilitator", "installation", "proxmox"]


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[database.Database]:
    """An open database with the newest tables."""
    drivers = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
    kind, _, rest = database_url.partition(":")
    url = migrated.lay_sqlite(f"{drivers[kind]}:{rest}")
    opened = await database.Database(url).open()
    yield opened
    await opened.close()
