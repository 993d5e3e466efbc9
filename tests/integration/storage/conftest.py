"""A database to test on: each test runs on SQLite and on PostgreSQL."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pve402.storage import database


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/db.sqlite3"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[database.Database]:
    """An open database with the newest tables."""
    opened = await database.Database(database_url).open()
    yield opened
    await opened.close()


@pytest.fixture
async def file(tmp_path: Path) -> AsyncIterator[database.Database]:
    """An open SQLite file, for what PostgreSQL does in another way."""
    opened = await database.Database(f"sqlite+aiosqlite:///{tmp_path}/db.sqlite3").open()
    yield opened
    await opened.close()
