"""Migrations: up, down, up again, and equal to the tables that the code speaks of."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import autogenerate
from alembic.migration import MigrationContext

from pve402.storage import database, migrate, tables


async def test_the_migrations_make_the_tables_of_the_code(db: database.Database) -> None:
    async with db.begin() as tx:
        differences = await tx.run_sync(_differences)

    assert differences == []


async def test_down_and_up_again(database_url: str) -> None:
    db = await database.Database(database_url).open()

    await migrate.downgrade(db._writer, "base")
    async with db.begin() as tx:
        left = await tx.run_sync(lambda connection: sa.inspect(connection).get_table_names())
    await migrate.upgrade(db._writer)
    async with db.begin() as tx:
        differences = await tx.run_sync(_differences)
    await db.close()

    assert set(left) <= {"alembic_version"}
    assert differences == []


async def test_opening_twice_changes_nothing(database_url: str) -> None:
    for _ in range(2):
        db = await database.Database(database_url).open()
        async with db.begin() as tx:
            differences = await tx.run_sync(_differences)
        await db.close()

        assert differences == []


async def test_a_second_process_on_one_sqlite_file_is_refused(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/db.sqlite3"
    first = await database.Database(url).open()
    second = database.Database(url)

    with pytest.raises(database.DatabaseBusyError):
        await second.open()

    await first.close()
    await (await second.open()).close()


def _differences(connection: sa.Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(autogenerate.compare_metadata(context, tables.metadata))
