"""A SQLite file owned by this process: one writer and several readers.

Short queries run directly in the event loop: one takes about 50 microseconds, a quarter of the
cost of a round trip to a thread. Anything slower runs in a thread: commits, which wait for the
disk, and queries not known to be short. Transactions that queue for the writer are committed
together, so that they share one commit instead of waiting for all earlier ones.
"""

import asyncio
import collections
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
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
    """The connections to one file. Call `begin` and `read` any number of times, then `close`."""

    def __init__(self, path: str) -> None:
        self._engine = sa.create_engine(
            sa.URL.create("sqlite", database=path),
            poolclass=sa.NullPool,
            hide_parameters=True,
            isolation_level="AUTOCOMMIT",  # we begin and end transactions ourselves, below
            connect_args={"check_same_thread": False, "factory": _Buffering, "timeout": 0},
        )
        self._threads = ThreadPoolExecutor(_READERS + 1, thread_name_prefix="sqlite")
        self._readers = asyncio.Semaphore(_READERS)
        self._writer = _Writer(lambda: self._open(read_only=False))
        self._idle: list[Connection] = []

    async def close(self) -> None:
        """Wait for the last commit and close every connection."""
        await self._writer.close()
        while self._idle:
            self._idle.pop().close()
        self._threads.shutdown(wait=False)

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[transaction.Transaction]:
        """One writing transaction; it is on disk once the block has ended."""
        with failures.translated():
            group = await self._writer.join()
            try:
                yield _Transaction(group.connection)
            except BaseException as error:
                self._writer.undo(group)
                if isinstance(error, Exception):
                    await group.wait_for_others()  # the block may have read what they wrote
                raise
            self._writer.keep(group)
            await asyncio.shield(group.committed)

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[transaction.Transaction]:
        """One reading transaction: it sees one committed state."""
        with failures.translated():
            await _acquire(self._readers)
            try:
                connection = self._idle.pop() if self._idle else await self._open(read_only=True)
                try:
                    connection.run("BEGIN")
                    yield _Transaction(connection)
                finally:
                    connection.roll_back()
                    self._idle.append(connection)
            finally:
                self._readers.release()

    def single(self) -> contextlib.AbstractAsyncContextManager[transaction.Transaction]:
        """One writing statement: the same as a transaction here."""
        return self.begin()

    async def _open(self, *, read_only: bool) -> "Connection":
        """Open a connection once no other program has the file to itself.

        The first program to use the file has, after a crash, and the last one to leave it
        (sqlite.org/wal.html, "Sometimes Queries Return SQLITE_BUSY In WAL Mode").
        """
        connection = self._try_to_open(read_only=read_only)
        if connection is not None:
            return connection
        async with _patience():
            while True:
                await asyncio.sleep(_BUSY_PAUSE_SECONDS)
                connection = self._try_to_open(read_only=read_only)
                if connection is not None:
                    return connection

    def _try_to_open(self, *, read_only: bool) -> "Connection | None":
        made = self._engine.connect()
        try:
            return Connection(made, self._threads, read_only=read_only)
        except sqlite3.OperationalError as error:
            made.close()
            if not _is_busy(error):
                raise
            return None


class _Group:
    """Transactions that are committed together; each can be rolled back on its own."""

    def __init__(self, connection: "Connection") -> None:
        self.connection = connection
        self.committed = asyncio.get_running_loop().create_future()
        self.commit: asyncio.Task[None] | None = None  # set once there is something to commit

    def fail(self, error: Exception) -> None:
        """Tell every waiter that nothing was committed."""
        self.committed.set_exception(error)
        self.committed.exception()  # marks it as retrieved: the writers may be gone

    async def wait_for_others(self) -> None:
        """Wait until the others' writes are on disk; raises the error that prevented it."""
        if self.commit is not None:
            await asyncio.shield(self.committed)


class _Writer:
    """The one connection that writes; waiters use it in turn.

    The first writer begins a transaction and, when done, queues a commit. Writers that were
    already waiting write into the same transaction, each after its own savepoint.
    """

    def __init__(self, open_one: Callable[[], Awaitable["Connection"]]) -> None:
        self._open = open_one
        self._connection: Connection | None = None
        self._turn = asyncio.Semaphore(1)  # its locked() counts waiters; a Lock's does not
        self._group: _Group | None = None

    async def join(self) -> _Group:
        """Wait for a turn, then write in the open group or a new one."""
        await _acquire(self._turn)
        try:
            if self._group is None:
                self._group = _Group(await self._begin())
            else:
                self._group.connection.run("SAVEPOINT mine")
        except BaseException:
            self._turn.release()
            raise
        return self._group

    def keep(self, group: _Group) -> None:
        """Pass the turn on; the group is committed once the current waiters have written too."""
        try:
            if group.commit is None:
                group.commit = asyncio.create_task(self._commit(group), name="sqlite-commit")
            else:
                group.connection.run("RELEASE mine")
        except sqlite3.Error as error:
            self._give_up(group, error)
        finally:
            self._turn.release()

    def undo(self, group: _Group) -> None:
        """Roll back what this turn wrote, and pass the turn on."""
        connection = group.connection
        try:
            if group.commit is None:  # nobody wrote before us
                self._group = None
                connection.roll_back()
            else:
                connection.run("ROLLBACK TO mine")
                connection.run("RELEASE mine")
        except sqlite3.Error as error:  # the database has rolled back everything
            self._give_up(group, error)
        finally:
            self._turn.release()

    async def close(self) -> None:
        """Wait for the last commit and close the connection."""
        if self._group is not None and self._group.commit is not None:
            await asyncio.wait([self._group.commit])
        async with self._turn:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    async def _begin(self) -> "Connection":
        """Begin a writing transaction once no other program is writing to the file."""
        if self._connection is None:
            self._connection = await self._open()
        if self._connection.try_to_write():
            return self._connection
        async with _patience():
            while True:
                await asyncio.sleep(_BUSY_PAUSE_SECONDS)
                if self._connection.try_to_write():
                    return self._connection

    async def _commit(self, group: _Group) -> None:
        async with self._turn:
            if self._group is not group:
                return  # the group was given up
            try:
                await group.connection.in_thread(group.connection.run, "COMMIT")
            except sqlite3.Error as error:
                self._give_up(group, error)
            except BaseException:  # the event loop is ending
                self._give_up(group, sqlite3.OperationalError("not committed"))
                raise
            else:
                self._group = None
                group.committed.set_result(None)

    def _give_up(self, group: _Group, error: Exception) -> None:
        self._group = None
        group.fail(error)
        group.connection.roll_back()


class Connection:
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
        """Run a statement without parameters."""
        self._driver.execute(sql)

    def try_to_write(self) -> bool:
        """Begin a writing transaction; False if another program is writing."""
        try:
            self.run("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not _is_busy(error):
                raise
            return False
        return True

    def roll_back(self) -> None:
        """Roll back uncommitted work; do nothing without a transaction."""
        if self._driver.in_transaction:
            self.run("ROLLBACK")

    def execute(self, query: transaction.Query, values: Any) -> transaction.Found:
        """Run a query."""
        return self._connection.execute(query, values)

    async def in_thread(self, work: Callable[..., _Answer], *arguments: Any) -> _Answer:
        """Run one of the above in a thread, which has finished however this call ends."""
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
            running.exception()  # from a statement that nobody is waiting for any longer
            raise

    def close(self) -> None:
        """Close it."""
        self._connection.close()


class _Transaction:
    """Runs queries on a connection with an open transaction."""

    def __init__(self, connection: Connection) -> None:
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
    """A cursor that holds its fetched rows."""

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


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


async def _acquire(turn: asyncio.Semaphore) -> None:
    """Acquire the semaphore; a free one without setting a timer, which would cost more."""
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
        raise errors.DatabaseUnavailable from error
