"""A SQLite file of this process: one writer, and readers beside it.

A short query runs where it is asked for, in the event loop: it takes some 50 microseconds, a
quarter of what its way to a thread and back costs. What may take longer does not: a commit waits
for the disk in a thread, and any query that is not known to be short is run in one.
"""

import asyncio
import collections
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

import sqlalchemy as sa
from typing_extensions import override

from pve402.domain import errors
from pve402.storage import failures, transaction

_PATIENCE_SECONDS = 30.0
_BUSY_PAUSE_SECONDS = 0.02
_READERS = 4

_Answer = TypeVar("_Answer")


class SqliteFile:
    """The connections to one file. Begin and read as often as you like; then close."""

    def __init__(self, path: str) -> None:
        self._engine = sa.create_engine(
            sa.URL.create("sqlite", database=path),
            poolclass=sa.NullPool,
            hide_parameters=True,
            isolation_level="AUTOCOMMIT",  # transactions are begun and ended below
            connect_args={"check_same_thread": False, "factory": _Buffering, "timeout": 0},
        )
        self._threads = ThreadPoolExecutor(_READERS + 1, thread_name_prefix="sqlite")
        self._turn = asyncio.Semaphore(1)  # its locked() counts who waits; a Lock's does not
        self._readers = asyncio.Semaphore(_READERS)
        self._writer: _Connection | None = None
        self._idle: list[_Connection] = []

    async def close(self) -> None:
        """Wait for the last commit and close every connection."""
        async with self._turn:
            for connection in (*self._idle, *([self._writer] if self._writer else [])):
                connection.close()
            self._idle, self._writer = [], None
        self._threads.shutdown(wait=False)

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[transaction.Transaction]:
        """One writing transaction; on disk when the block has been left."""
        with failures.translated():
            await _acquire(self._turn)
            try:
                connection = await self._begin_writing()
                try:
                    yield _Transaction(connection)
                    await connection.in_thread(connection.run, "COMMIT")
                finally:
                    connection.roll_back()
            finally:
                self._turn.release()

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[transaction.Transaction]:
        """One reading transaction: it sees one committed state."""
        with failures.translated():
            await _acquire(self._readers)
            try:
                connection = self._idle.pop() if self._idle else self._connect(read_only=True)
                try:
                    connection.run("BEGIN")
                    yield _Transaction(connection)
                finally:
                    connection.roll_back()
                    self._idle.append(connection)
            finally:
                self._readers.release()

    def single(self) -> contextlib.AbstractAsyncContextManager[transaction.Transaction]:
        """One writing statement: here no different from a transaction."""
        return self.begin()

    async def _begin_writing(self) -> "_Connection":
        """Begin on the one writer, when no other program writes to the file."""
        if self._writer is None:
            self._writer = self._connect(read_only=False)
        if self._writer.try_to_write():
            return self._writer
        async with _patience():
            while True:
                await asyncio.sleep(_BUSY_PAUSE_SECONDS)
                if self._writer.try_to_write():
                    return self._writer

    def _connect(self, *, read_only: bool) -> "_Connection":
        return _Connection(self._engine.connect(), self._threads, read_only=read_only)


class _Connection:
    """One connection, used by one task at a time."""

    def __init__(
        self, connection: sa.Connection, threads: ThreadPoolExecutor, *, read_only: bool
    ) -> None:
        self._connection = connection
        self._driver = cast("sqlite3.Connection", connection.connection.driver_connection)
        self._threads = threads
        self._read_only = read_only
        for pragma in ("journal_mode=WAL", "synchronous=FULL", f"query_only={read_only:d}"):
            self.run(f"PRAGMA {pragma}")

    def run(self, sql: str) -> None:
        """Run a statement without values."""
        self._driver.execute(sql)

    def try_to_write(self) -> bool:
        """Begin a writing transaction; False if another program is writing."""
        try:
            self.run("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            return False
        return True

    def roll_back(self) -> None:
        """Undo what was not committed; nothing if there is no transaction."""
        if self._driver.in_transaction:
            self.run("ROLLBACK")

    def execute(self, query: transaction.Query, values: Any) -> transaction.Found:
        """Run a query."""
        return self._connection.execute(query, values)

    async def in_thread(self, work: Callable[..., _Answer], *arguments: Any) -> _Answer:
        """Run one of the above in a thread; however this ends, the thread has finished then."""
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._threads, work, *arguments)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            if self._read_only:
                self._driver.interrupt()
            while not running.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([running])
            running.exception()  # of a statement that nobody waits for any more
            raise

    def close(self) -> None:
        """Close it."""
        self._connection.close()


class _Transaction:
    """Runs queries on a connection that has begun."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    async def run(self, query: transaction.Query, /, **values: Any) -> transaction.Found:
        return self._connection.execute(query, transaction.filled(values))

    async def execute(
        self,
        query: transaction.Query,
        values: transaction.Values | Sequence[transaction.Values] | None = None,
    ) -> transaction.Found:
        return await self._connection.in_thread(self._connection.execute, query, values)

    async def scalar(self, query: transaction.Query) -> Any:
        return (await self.execute(query)).scalar()


class _Buffering(sqlite3.Connection):
    """A connection whose cursors fetch all rows at once, in the thread that runs the query."""

    @override
    def cursor(self, factory: Any = None) -> Any:
        del factory
        return super().cursor(_BufferingCursor)


class _BufferingCursor(sqlite3.Cursor):
    """A cursor that holds what it has found."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self._rows: collections.deque[Any] = collections.deque()

    @override
    def execute(self, sql: str, parameters: Any = (), /) -> "_BufferingCursor":
        super().execute(sql, parameters)
        self._rows = collections.deque(super().fetchall() if self.description else ())
        return self

    @override
    def fetchone(self) -> Any:
        return self._rows.popleft() if self._rows else None

    @override
    def fetchmany(self, size: int | None = None) -> list[Any]:
        count = min(self.arraysize if size is None else size, len(self._rows))
        return [self._rows.popleft() for _ in range(count)]

    @override
    def fetchall(self) -> list[Any]:
        rows, self._rows = list(self._rows), collections.deque()
        return rows


async def _acquire(turn: asyncio.Semaphore) -> None:
    """Take a turn; a free one without setting a timer, which costs more than the turn."""
    if turn.locked():
        async with _patience():
            await turn.acquire()
    else:
        await turn.acquire()


@contextlib.asynccontextmanager
async def _patience() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            yield
    except TimeoutError as error:
        raise errors.DatabaseUnavailable(retry_after_seconds=2) from error
