"""Migrations: up, down, up again, and equal to the tables that the code speaks of."""

import asyncio
import dataclasses
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest
import sqlalchemy as sa
from alembic import autogenerate
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import create_async_engine
from tests.integration.storage.test_queue import new_lease
from tests.integration.storage.test_rows import new_order

from pve402.domain import errors, order
from pve402.storage import address_rows, database, lease_rows, migrate, order_rows, tables

NEWER = sa.text("UPDATE alembic_version SET version_num = '9999'")


async def test_the_migrations_make_the_tables_of_the_code(database_url: str) -> None:
    await (await database.Database(database_url).open()).close()

    differences = await look(database_url, _differences)

    assert differences == []


async def test_down_and_up_again(database_url: str) -> None:
    db = await database.Database(database_url).open()

    await migrate.downgrade(sa.make_url(database_url), "base")
    left = await look(database_url, lambda connection: sa.inspect(connection).get_table_names())
    await migrate.upgrade(sa.make_url(database_url))
    differences = await look(database_url, _differences)
    await db.close()

    assert set(left) <= {"alembic_version"}
    assert differences == []


@pytest.mark.parametrize("revision", ["0003", "0002"])
async def test_a_step_down_and_up_keeps_what_is_stored(database_url: str, revision: str) -> None:
    url = sa.make_url(database_url)
    db = await database.Database(database_url).open()
    async with db.begin() as tx:
        await lease_rows.insert(db, tx, new_lease(1), due=False)
        await order_rows.insert(db, tx, new_order(1), fence=None, due_in_seconds=15)

    await migrate.downgrade(url, revision)
    await migrate.upgrade(url)
    async with db.read() as tx:
        kept = await order_rows.get(tx, "o1"), await lease_rows.list_standing(tx)
    await db.close()

    assert kept[0] is not None
    assert [row.vmid for row in kept[1]] == [new_lease(1).vmid]


async def test_what_settles_at_the_upgrade_has_settled_since_its_order(database_url: str) -> None:
    url = sa.make_url(database_url)
    db = await database.Database(database_url).open()
    async with db.begin() as tx:
        await lease_rows.insert(db, tx, new_lease(1), due=False)
        for number, status in enumerate(order.OrderStatus):
            made = dataclasses.replace(new_order(number, nonce=f"0x{number}"), status=status)
            await order_rows.insert(db, tx, made, fence=None, due_in_seconds=15)

    await migrate.downgrade(url, "0004")
    await migrate.upgrade(url)
    async with db.read() as tx:
        kept = [await order_rows.get(tx, f"o{number}") for number in range(len(order.OrderStatus))]
    await db.close()

    assert [one and one.status for one in kept] == [*order.OrderStatus]
    settling = [one for one in kept if one and one.settling_at]
    assert [one.status for one in settling] == [order.OrderStatus.SETTLING]
    assert settling[0].settling_at == settling[0].created_at


async def test_a_lease_counts_at_the_upgrade_what_it_holds(database_url: str) -> None:
    url, held = sa.make_url(database_url), new_lease(1)
    db = await database.Database(database_url).open()
    async with db.begin() as tx:
        await lease_rows.insert(db, tx, held, due=False)
        for version, address in ((4, "10.0.0.1"), (6, "fd00::1")):
            named = {"version": version, "network": "default", "lease_id": held.lease_id}
            await address_rows.take(db, tx, address, **named)

    await migrate.downgrade(url, "0021")
    await migrate.upgrade(url)
    async with db.read() as tx:
        kept = await lease_rows.get(tx, held.lease_id)
    await db.close()

    assert kept is not None
    assert kept.address_count == 2


async def test_opening_twice_changes_nothing(database_url: str) -> None:
    for _ in range(2):
        db = await database.Database(database_url).open()
        differences = await look(database_url, _differences)
        await db.close()

        assert differences == []


async def test_alembic_is_left_out_where_a_file_is_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = sa.make_url(f"sqlite+aiosqlite:///{tmp_path}/db.sqlite3")
    await migrate.upgrade(url)
    monkeypatch.setattr(migrate, "alembic_config", Mock(side_effect=RuntimeError("Alembic")))
    await migrate.upgrade(url)

    with sqlite3.connect(url.database or "") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    with pytest.raises(RuntimeError, match="Alembic"):
        await migrate.upgrade(url)


async def test_tables_of_a_newer_version_are_refused_in_a_sentence(database_url: str) -> None:
    await (await database.Database(database_url).open()).close()
    await look(database_url, lambda found: found.execute(NEWER) and found.commit())

    with pytest.raises(errors.DatabaseUnavailable, match="newer version of pve402"):
        await database.Database(database_url).open()


@pytest.mark.postgres
async def test_a_change_of_the_tables_lets_those_through_who_use_them(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = sa.make_url(postgres_url)
    old = await database.Database(postgres_url).open()
    await migrate.downgrade(url, "0003")
    pauses: list[str] = []
    monkeypatch.setattr(migrate, "pause", AsyncMock(side_effect=lambda: pauses.append("pause")))

    async with old.begin() as tx:
        await tx.execute(sa.text("SELECT order_id FROM orders"))
        change = asyncio.create_task(migrate.upgrade(url))
        await until_somebody_waits(old)
        await tx.execute(sa.text("UPDATE orders SET attempts = attempts + 1"))
        await tx.execute(sa.text("SELECT lease_id FROM leases"))
    await change
    differences = await look(postgres_url, _differences)
    await old.close()

    assert pauses
    assert differences == []


@pytest.mark.postgres
async def test_a_change_of_the_tables_gives_up_while_they_are_never_free(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = sa.make_url(postgres_url)
    old = await database.Database(postgres_url).open()
    await migrate.downgrade(url, "0003")
    monkeypatch.setattr(migrate, "TRIES", 2)
    monkeypatch.setattr(migrate, "LOCK_MS", 1)
    monkeypatch.setattr(migrate, "pause", AsyncMock())

    async with old.begin() as tx:
        await tx.execute(sa.text("SELECT order_id FROM orders"))
        with pytest.raises(errors.DatabaseUnavailable, match="keeps using them"):
            await migrate.upgrade(url)
    await old.close()


@pytest.mark.postgres
async def test_a_start_with_the_newest_tables_locks_none(postgres_url: str) -> None:
    first = await database.Database(postgres_url).open()

    async with first.begin() as tx:
        await order_rows.insert(first, tx, new_order(1), fence=None, due_in_seconds=15)
        second = await database.Database(postgres_url).open()

    async with second.read() as tx:
        assert await order_rows.get(tx, "o1") is not None
    for opened in (first, second):
        await opened.close()


def test_files_of_migrations_are_named_in_their_order() -> None:
    known = ScriptDirectory.from_config(migrate.alembic_config())

    assert migrate.newest_revision() == known.get_current_head()


async def test_a_second_process_on_one_sqlite_file_is_refused(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/db.sqlite3"
    first = await database.Database(url).open()
    second = database.Database(url)

    with pytest.raises(database.DatabaseBusyError):
        await second.open()

    await first.close()
    await (await second.open()).close()


async def until_somebody_waits(db: database.Database) -> None:
    """Wait until a transaction waits for a lock on a table."""
    waiting = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation IS NOT NULL")
    async with asyncio.timeout(30), db.read() as tx:
        while not await tx.scalar(waiting):  # noqa: ASYNC110 - only looking tells
            await asyncio.sleep(0.01)


async def look(url: str, at: Callable[[sa.Connection], Any]) -> Any:
    engine = create_async_engine(url, poolclass=sa.NullPool)
    async with engine.connect() as connection:
        found = await connection.run_sync(at)
    await engine.dispose()
    return found


def _differences(connection: sa.Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(autogenerate.compare_metadata(context, tables.metadata))
