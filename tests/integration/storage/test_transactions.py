"""Transactions that fail, are cancelled, or meet others: what they wrote, and who goes on."""

import asyncio
import sqlite3
from pathlib import Path
from unittest.mock import Mock

import pytest
import sqlalchemy as sa

from pve402.domain import errors
from pve402.storage import database, slots, tables

SOON_SECONDS = 30.0
facts = tables.facts


async def test_a_cancelled_task_gives_the_writer_back_at_once(db: database.Database) -> None:
    stuck = await begun(db, "lost")

    stuck.cancel()
    async with asyncio.timeout(SOON_SECONDS):
        await write(db, "kept")
        await asyncio.gather(stuck, return_exceptions=True)

    assert stuck.cancelled()
    assert await names(db) == {"kept"}


async def test_a_task_cancelled_in_a_statement_gives_the_writer_back(db: database.Database) -> None:
    async with db.begin() as tx:
        await tx.execute(facts.insert(), {"name": "held", "value": "1"})
        waiting = [asyncio.create_task(write(db, "held", value=str(n))) for n in range(3)]
        await asyncio.sleep(0.05)
        for task in waiting:
            task.cancel()
        async with asyncio.timeout(SOON_SECONDS):
            await asyncio.gather(*waiting, return_exceptions=True)
    async with asyncio.timeout(SOON_SECONDS):
        await write(db, "kept")

    assert all(task.cancelled() for task in waiting)
    assert await names(db) == {"held", "kept"}


async def test_a_turn_given_to_a_cancelled_task_goes_to_the_next(file: database.Database) -> None:
    holder = await begun(file, "lost")
    first, second = (asyncio.create_task(write(file, name)) for name in ("first", "second"))
    await asyncio.sleep(0)

    holder.cancel()
    await asyncio.sleep(0)  # the turn is passed on in the next step of the loop
    first.cancel()
    async with asyncio.timeout(SOON_SECONDS):
        await second
    await asyncio.gather(holder, first, return_exceptions=True)

    assert "second" in await names(file)
    assert "lost" not in await names(file)


async def test_one_that_fails_takes_nobody_with_it(db: database.Database) -> None:
    async def attempt(number: int) -> None:
        async with db.begin() as tx:
            await tx.execute(facts.insert(), {"name": str(number), "value": ""})
            if number % 3 == 0:
                raise LookupError(number)

    ends = await asyncio.gather(*(attempt(n) for n in range(20)), return_exceptions=True)

    assert [n for n, end in enumerate(ends) if end is None] == [n for n in range(20) if n % 3]
    assert await names(db) == {str(n) for n in range(20) if n % 3}


async def test_a_refused_statement_undoes_its_own_transaction_only(db: database.Database) -> None:
    await write(db, "taken")

    async def attempt(name: str) -> None:
        async with db.begin() as tx:
            await tx.execute(facts.insert(), {"name": f"{name} first", "value": ""})
            await tx.execute(facts.insert(), {"name": name, "value": ""})

    ends = await asyncio.gather(
        *(attempt(name) for name in ("a", "taken", "b")), return_exceptions=True
    )

    assert [type(end) for end in ends] == [type(None), sa.exc.IntegrityError, type(None)]
    assert await names(db) == {"taken", "a", "a first", "b", "b first"}


async def test_nobody_reads_what_is_not_committed(db: database.Database) -> None:
    async with db.begin() as tx:
        await tx.execute(facts.insert(), {"name": "new", "value": ""})
        before = await names(db)

    assert before == set()
    assert await names(db) == {"new"}


async def test_a_read_sees_one_state(file: database.Database) -> None:
    async with file.read() as tx:
        first = await tx.scalar(count())
        await write(file, "new")
        second = await tx.scalar(count())

    assert (first, second, await names(file)) == (0, 0, {"new"})


async def test_a_long_read_leaves_the_loop_to_others(file: database.Database) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    ticking = asyncio.create_task(tick())
    async with file.read() as tx:
        found = await tx.scalar(counted_to(500_000))
    ticking.cancel()

    assert found == 500_000
    assert ticks > 10


async def test_a_long_read_in_a_transaction_undoes_nothing(file: database.Database) -> None:
    async with file.begin() as tx:
        await tx.execute(facts.insert(), {"name": "kept", "value": ""})
        found = await tx.scalar(counted_to(300_000))

    assert found == 300_000
    assert await names(file) == {"kept"}


async def test_a_cancelled_long_read_ends_soon(file: database.Database) -> None:
    async def read() -> None:
        async with file.read() as tx:
            await tx.scalar(counted_to(10**12))

    reading = asyncio.create_task(read())
    await asyncio.sleep(0.1)
    reading.cancel()
    async with asyncio.timeout(SOON_SECONDS):
        await asyncio.gather(reading, return_exceptions=True)

    assert reading.cancelled()
    assert await names(file) == set()


async def test_a_read_writes_nothing(file: database.Database) -> None:
    async def write_in_a_read() -> None:
        async with file.read() as tx:
            await tx.execute(facts.insert(), {"name": "new", "value": ""})

    with pytest.raises(errors.DatabaseUnavailable):
        await write_in_a_read()

    assert await names(file) == set()


async def test_another_program_that_writes_is_waited_for(
    file: database.Database, tmp_path: Path
) -> None:
    other = sqlite3.connect(tmp_path / "db.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waiting = asyncio.create_task(write(file, "late"))
    await asyncio.sleep(0.1)
    before = waiting.done()
    other.execute("ROLLBACK")
    other.close()
    async with asyncio.timeout(SOON_SECONDS):
        await waiting

    assert not before
    assert await names(file) == {"late"}


@pytest.mark.postgres
async def test_connections_that_the_server_closed_are_replaced(migrated_url: str) -> None:
    db = await database.Database(migrated_url).open()
    await asyncio.gather(*(names(db) for _ in range(4)))
    async with db.read() as tx:
        ending = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE"
        others = "pid <> pg_backend_pid() AND datname = current_database()"
        await tx.execute(sa.text(f"{ending} {others}"))
    await asyncio.sleep(0.2)

    await asyncio.gather(*(write(db, str(n)) for n in range(4)))
    found = await names(db)
    await db.close()

    assert found == {"0", "1", "2", "3"}


@pytest.mark.postgres
async def test_a_single_statement_is_single(migrated_url: str) -> None:
    db = await database.Database(migrated_url).open()

    async def write_two() -> None:
        async with db.single() as tx:
            await tx.execute(facts.insert(), {"name": "first", "value": ""})
            await tx.execute(facts.insert(), {"name": "second", "value": ""})

    with pytest.raises(RuntimeError, match="second statement"):
        await write_two()
    found = await names(db)
    await db.close()

    assert found == {"first"}


@pytest.mark.postgres
async def test_a_slot_that_cannot_be_given_back_costs_no_answer(
    migrated_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = await database.Database(migrated_url).open()
    node_slots = slots.NodeSlots(db, per_node=lambda _node: 1)

    async with node_slots.hold("pve"):
        monkeypatch.setattr(db, "single", Mock(side_effect=errors.DatabaseUnavailable))
        answer = "UPID"
    await db.close()

    assert answer == "UPID"


async def begun(db: database.Database, name: str) -> asyncio.Task[None]:
    """A task that has written a fact in a transaction and goes no further."""
    written = asyncio.Event()

    async def stay() -> None:
        async with db.begin() as tx:
            await tx.execute(facts.insert(), {"name": name, "value": ""})
            written.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(stay())
    await written.wait()
    return task


async def write(db: database.Database, name: str, *, value: str = "") -> None:
    async with db.begin() as tx:
        await tx.execute(facts.insert(), {"name": name, "value": value})


async def names(db: database.Database) -> set[str]:
    async with db.read() as tx:
        return set((await tx.execute(sa.select(facts.c.name))).scalars())


def count() -> sa.Select[tuple[int]]:
    return sa.select(sa.func.count()).select_from(facts)


def counted_to(limit: int) -> sa.Select[tuple[int]]:
    """A query that takes as long as it is told to."""
    numbers = sa.select(sa.literal(1).label("n")).cte("numbers", recursive=True)
    following = sa.select(numbers.c.n + 1).where(numbers.c.n < limit)
    return sa.select(sa.func.max(numbers.union_all(following).c.n))


async def test_tables_are_there_once_they_were_made(database_url: str) -> None:
    db = database.Database(database_url)
    before = await db.has_tables()
    await db.open()

    assert not before
    assert await db.has_tables()
    await db.close()


async def test_a_check_asks_the_database(db: database.Database) -> None:
    await db.check()
    async with db.begin() as tx:
        await tx.execute(sa.text("DROP TABLE facts"))

    with pytest.raises((sa.exc.DBAPIError, errors.DatabaseUnavailable)):
        await db.check()
