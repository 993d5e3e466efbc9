"""A database to test on: each test runs on SQLite and on PostgreSQL."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support import migrated

from pve402.storage import database


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def kind(request: pytest.FixtureRequest) -> str:
    """Which kind of database the test runs on."""
    name: str = request.param
    return name


@pytest.fixture
def database_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database without tables."""
    if kind == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/db.sqlite3"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
async def db(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[database.Database]:
    """An open database with the newest tables."""
    url = f"sqlite+aiosqlite:///{tmp_path}/db.sqlite3"
    if kind == "postgresql":
        url = request.getfixturevalue("migrated_url")
    opened = await database.Database(migrated.lay_sqlite(url)).open()
    yield opened
    await opened.close()


@pytest.fixture
async def file(tmp_path: Path) -> AsyncIterator[database.Database]:
    """An open SQLite file, for what PostgreSQL does in another way."""
    url = migrated.lay_sqlite(f"sqlite+aiosqlite:///{tmp_path}/db.sqlite3")
    opened = await database.Database(url).open()
    yield opened
    await opened.close()
