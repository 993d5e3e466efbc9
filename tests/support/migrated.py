"""Databases with the newest tables, without the wait for their migrations.

A SQLite file is a copy of one that is migrated once a process. On PostgreSQL a database is emptied
for the next test; one whose tables a test has changed is replaced.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import shutil
import tempfile
from collections.abc import Coroutine, Iterator
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest
import sqlalchemy as sa
from tests.support import postgres

from pve402.storage import migrate, tables

T = TypeVar("T")

_SHAPE = """
    SELECT md5(string_agg(concat_ws(' ', relname, relkind, attnum, attname, atttypid, attnotnull),
        ',' ORDER BY attrelid, attnum)) || (SELECT version_num FROM alembic_version)
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
    WHERE relnamespace = 'public'::regnamespace
"""
_LEAVE = """
    SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


@dataclass(kw_only=True)
class MigratedDatabase:
    """A database of a server that tests use in turn, and what its tables looked like at first."""

    server: postgres.PostgresServer
    url: str
    shape: str

    @classmethod
    def made(cls, server: postgres.PostgresServer) -> MigratedDatabase:
        """Make one by all migrations, as a first start does."""
        url = server.create_database()
        _migrate(url)
        return cls(server=server, url=url, shape=server.query(url, _SHAPE))

    def emptied(self) -> MigratedDatabase:
        """Take every row out of it, and whoever is still connected; the same one, or a new one."""
        emptying = "; ".join(f'DELETE FROM "{name}"' for name in tables.metadata.tables)
        try:
            shape = _apart(_ask(self.url, f"{_LEAVE}; {emptying}", _SHAPE))
        except asyncpg.PostgresError:  # a table is gone
            shape = ""
        if shape == self.shape:
            return self
        self.server.drop_database(self.url)
        return self.made(self.server)


@pytest.fixture(scope="session")
def migrated_databases(postgres_server: postgres.PostgresServer) -> list[MigratedDatabase]:
    """The databases that no test uses now."""
    return []


@pytest.fixture
def migrated_url(
    postgres_server: postgres.PostgresServer, migrated_databases: list[MigratedDatabase]
) -> Iterator[str]:
    """URL (`postgresql+asyncpg://...`) of a database with the newest tables, all without rows."""
    made = (
        migrated_databases.pop() if migrated_databases else MigratedDatabase.made(postgres_server)
    )
    yield made.url
    migrated_databases.append(made.emptied())


def lay_sqlite(url: str) -> str:
    """Put a file with the newest tables where a SQLite URL points, unless one is there."""
    path = Path(sa.make_url(url).database or "")
    if url.startswith("sqlite") and not path.exists() and path.parent.exists():
        shutil.copy(_sqlite_file(), path)  # nobody else may read it, nor the copy
    return url


@functools.cache
def _sqlite_file() -> Path:
    folder = tempfile.mkdtemp(prefix="pve402-tables-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder) / "db.sqlite3"
    path.touch(mode=0o600)
    _migrate(f"sqlite+aiosqlite:///{path}")
    return path


def _migrate(url: str) -> None:
    _apart(migrate.upgrade(sa.make_url(url)))


async def _ask(url: str, statements: str, question: str) -> str:
    """Run statements in one transaction, then ask for one text."""
    named = sa.make_url(url)
    connection = await asyncpg.connect(
        host=str(named.query["host"]), user=named.username, database=named.database
    )
    try:
        await connection.execute(statements)
        return str(await connection.fetchval(question))
    finally:
        await connection.close()


def _apart(work: Coroutine[Any, Any, T]) -> T:
    """Run something in a loop of its own; the test's may be running."""
    with futures.ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
