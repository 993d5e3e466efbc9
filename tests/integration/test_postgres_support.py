"""The PostgreSQL server that tests run on."""

import asyncpg
import pytest
from sqlalchemy.engine import make_url
from tests.support import postgres

pytestmark = pytest.mark.postgres


async def _query(url: str, statement: str) -> list[asyncpg.Record]:
    parts = make_url(url)
    connection = await asyncpg.connect(
        host=parts.query["host"], user=parts.username, database=parts.database
    )
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


async def test_a_database_is_copied_from_its_template(
    postgres_server: postgres.PostgresServer, postgres_url: str
) -> None:
    await _query(postgres_url, "create table leases (id int)")

    copy_url = postgres_server.create_database(template=postgres_url)

    assert await _query(copy_url, "select * from leases") == []


async def test_a_dropped_database_is_gone_even_while_somebody_is_connected(
    postgres_server: postgres.PostgresServer,
) -> None:
    url = postgres_server.create_database()
    parts = make_url(url)
    connection = await asyncpg.connect(
        host=parts.query["host"], user=parts.username, database=parts.database
    )

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
