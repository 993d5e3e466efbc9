"""SQLite: transactions that wait for each other share a commit, and nothing else."""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.integration.storage.test_transactions import names, write

from pve402.domain import errors
from pve402.storage import database, sqlite, tables

SOON_SECONDS = 30.0
facts = tables.facts


@dataclass
class Commits:
    """How often something was committed, and what stands in the way of that."""

    count: int = 0
    fails: bool = False
    begun: threading.Event = field(default_factory=threading.Event)
    may_go: threading.Event = field(default_factory=threading.Event)

    async def until_begun(self) -> None:
        """Wait until something is about to be committed."""
        assert await asyncio.to_thread(self.begun.wait, SOON_SECONDS)

    def commit(self) -> None:
        self.begun.set()
        assert self.may_go.wait(SOON_SECONDS)
        self.count += 1
        if self.fails:
            raise sqlite3.OperationalError("disk I/O error")


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> Iterator[Commits]:
    """The commits of this test; they go at once unless `may_go` is cleared."""
    seen = Commits()
    run = sqlite.Connection.run

    def watched(connection: Any, sql: str) -> None:
        if sql == "COMMIT":
            seen.commit()
        run(connection, sql)

    monkeypatch.setattr(sqlite.Connection, "run", watched)
    seen.may_go.set()
    yield seen
    seen.may_go.set()


async def one_after_another(
    file: database.Database, *bodies: Callable[[Any], Any]
) -> list[BaseException | None]:
    """Run bodies in transactions, each of which waits while the one before has its turn."""

    async def attempt(body: Callable[[Any], Any]) -> None:
        async with file.begin() as tx:
            await asyncio.sleep(0)
            await body(tx)

    async with asyncio.timeout(SOON_SECONDS):
        return await asyncio.gather(*map(attempt, bodies), return_exceptions=True)


def writing(name: str) -> Callable[[Any], Any]:
    async def body(tx: Any) -> None:
        await tx.execute(facts.insert(), {"name": name, "value": ""})

    return body


def failing(name: str, *, with_all: bool = False) -> Callable[[Any], Any]:
    async def body(tx: Any) -> None:
        await tx.execute(facts.insert(), {"name": name, "value": ""})
        if with_all:  # as SQLite does by itself where a disk is full
            await tx.execute(sa.text("ROLLBACK"))
        raise LookupError(name)

    return body


@pytest.mark.parametrize("is_read", [True, False])
async def test_a_file_that_another_program_has_to_itself_is_waited_for(
    tmp_path: Path, *, is_read: bool
) -> None:
    path = tmp_path / "file.sqlite3"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("CREATE TABLE there (name TEXT)")  # takes the lock, and keeps it
        file = sqlite.SqliteFile(str(path))

        async def use() -> int:
            async with file.read() if is_read else file.begin() as tx:
                found = await tx.execute(sa.text("SELECT count(*) FROM there"))
                return int(found.scalar_one())

        asking = asyncio.create_task(use())
        await asyncio.sleep(0.1)
        assert not asking.done()
    async with asyncio.timeout(SOON_SECONDS):
        assert await asking == 0
    await file.close()


async def test_four_read_at_once_and_the_fifth_waits(tmp_path: Path) -> None:
    file = sqlite.SqliteFile(str(tmp_path / "file.sqlite3"))
    done, reading = asyncio.Event(), 0

    async def read() -> None:
        nonlocal reading
        async with file.read():
            reading += 1
            await done.wait()

    crowd = [asyncio.create_task(read()) for _ in range(6)]
    async with asyncio.timeout(SOON_SECONDS):
        while reading < 4:  # noqa: ASYNC110 -- only looking tells
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    at_once = reading
    done.set()
    await asyncio.gather(*crowd)
    await file.close()

    assert (at_once, reading) == (4, 6)


async def test_those_who_wait_for_each_other_share_a_commit(
    file: database.Database, commits: Commits
) -> None:
    ends = await one_after_another(file, *(writing(str(n)) for n in range(6)))

    assert ends == [None] * 6
    assert commits.count == 1
    assert await names(file) == {str(n) for n in range(6)}


async def test_one_of_them_is_undone_alone(file: database.Database, commits: Commits) -> None:
    bodies = (failing("a"), writing("b"), failing("c"), failing("d"), writing("e"))

    ends = await one_after_another(file, *bodies)

    assert [type(end) for end in ends] == [
        *(LookupError, type(None), LookupError),
        *(LookupError, type(None)),
    ]
    assert await names(file) == {"b", "e"}


async def test_a_commit_that_fails_fails_all_of_them_and_nobody_later(
    file: database.Database, commits: Commits
) -> None:
    commits.fails = True
    ends = await one_after_another(file, writing("a"), failing("b"), writing("c"))
    commits.fails = False
    await write(file, "later")

    assert [type(end) for end in ends] == [errors.DatabaseUnavailable] * 3
    assert await names(file) == {"later"}


async def test_a_transaction_taken_back_by_the_database_is_kept_by_nobody(
    file: database.Database, commits: Commits
) -> None:
    ends = await one_after_another(
        file, writing("a"), failing("b", with_all=True), writing("in a new one")
    )

    assert [type(end) for end in ends] == [
        errors.DatabaseUnavailable,
        errors.DatabaseUnavailable,
        type(None),
    ]
    assert await names(file) == {"in a new one"}


async def test_who_goes_away_while_it_is_committed_has_written(
    file: database.Database, commits: Commits
) -> None:
    commits.may_go.clear()
    gone, other = (asyncio.create_task(write(file, name)) for name in ("gone", "other"))
    await commits.until_begun()
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    before = await names(file)
    commits.may_go.set()
    async with asyncio.timeout(SOON_SECONDS):
        await other

    assert gone.cancelled()
    assert before == set()
    assert await names(file) == {"gone", "other"}


async def test_a_refusal_is_told_when_what_it_rests_on_is_on_disk(
    file: database.Database, commits: Commits
) -> None:
    async def refuse_if_taken() -> None:
        async with file.begin() as tx:
            if await tx.scalar(sa.select(sa.func.count()).select_from(facts)):
                raise LookupError("taken")

    commits.may_go.clear()
    first = asyncio.create_task(write(file, "first"))
    second = asyncio.create_task(refuse_if_taken())
    await commits.until_begun()
    await asyncio.sleep(0.05)
    told_before = second.done()
    commits.may_go.set()
    async with asyncio.timeout(SOON_SECONDS):
        ends = await asyncio.gather(first, second, return_exceptions=True)

    assert not told_before
    assert [type(end) for end in ends] == [type(None), LookupError]


async def test_closing_waits_for_what_is_written(
    file: database.Database, tmp_path: Path, commits: Commits
) -> None:
    commits.may_go.clear()
    last = asyncio.create_task(write(file, "last"))
    await commits.until_begun()
    closing = asyncio.create_task(file.close())
    await asyncio.sleep(0.05)
    closed_before = closing.done()
    commits.may_go.set()
    async with asyncio.timeout(SOON_SECONDS):
        await asyncio.gather(last, closing)

    again = await database.Database(f"sqlite+aiosqlite:///{tmp_path}/db.sqlite3").open()
    found = await names(again)
    await again.close()
    assert not closed_before
    assert found == {"last"}
