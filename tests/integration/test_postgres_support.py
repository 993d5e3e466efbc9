"""The databases that tests run on."""

import asyncio
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.engine import make_url
from tests.support import migrated, postgres

from pve402.storage import database

pytestmark = pytest.mark.postgres


async def _connect(url: str) -> asyncpg.Connection:
    parts = make_url(url)
    return await asyncpg.connect(
        host=parts.query["host"], user=parts.username, database=parts.database
    )


async def _query(url: str, statement: str) -> list[asyncpg.Record]:
    connection = await _connect(url)
    try:
        return await connection.fetch(statement)
    finally:
        await connection.close()


async def test_each_test_gets_an_empty_database_of_its_own(
    postgres_server: postgres.PostgresServer, postgres_url: str
) -> None:
    other_url = postgres_server.create_database()

    await _query(postgres_url, "create table leases (id int)")

    count = "select count(*) from pg_tables where tablename = 'leases'"
    assert (await _query(postgres_url, count))[0][0] == 1
    assert (await _query(other_url, count))[0][0] == 0


async def test_rows_and_connections_of_one_test_are_gone_in_the_next(
    postgres_server: postgres.PostgresServer,
) -> None:
    made = migrated.MigratedDatabase.made(postgres_server)
    unfinished = await _connect(made.url)
    await unfinished.execute("begin")
    await unfinished.execute("insert into facts (name, value) values ('kept', '1')")
    await _query(made.url, "insert into facts (name, value) values ('left', '1')")

    following = await asyncio.to_thread(made.emptied)

    assert following.url == made.url
    assert await _query(following.url, "select * from facts") == []
    with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError)):
        await unfinished.execute("commit")


@pytest.mark.parametrize(
    "change",
    [
        "drop table facts",
        "alter table facts add more text",
        "create index more on facts (value)",
        "update alembic_version set version_num = '0001'",
    ],
)
async def test_tables_that_a_test_changed_are_not_used_again(
    postgres_server: postgres.PostgresServer, change: str
) -> None:
    made = migrated.MigratedDatabase.made(postgres_server)
    await _query(made.url, change)

    following = await asyncio.to_thread(made.emptied)

    assert following.url != made.url
    assert following.shape == made.shape


async def test_a_sqlite_file_is_laid_where_none_is(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/db"
    (tmp_path / "taken").write_text("taken")

    for name in ("db", "taken"):
        migrated.lay_sqlite(f"sqlite:///{tmp_path}/{name}")

    db = await database.Database(url).open()
    await db.check()
    await db.close()
    assert (tmp_path / "db").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "taken").read_text() == "taken"


async def test_a_dropped_database_is_gone_even_while_somebody_is_connected(
    postgres_server: postgres.PostgresServer,
) -> None:
    url = postgres_server.create_database()
    connection = await _connect(url)

    postgres_server.drop_database(url)

    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await _query(url, "select 1")
    connection.terminate()


def test_a_missing_server_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres.Path, "glob", lambda *_: iter(()))
    monkeypatch.setattr(postgres.shutil, "which", lambda _: None)

    with (
        pytest.raises(postgres.PostgresMissing, match="package `postgresql`"),
        postgres.running_server(),
    ):
        pass
