"""A SQLite file of this process: one writer, readers beside it, commits in groups.

Statements run where they are asked for, in the event loop: one takes tens of microseconds, which is
less than a thread's turn costs. What may take long does not: a commit waits for the disk in a
thread, a read that needs more than some milliseconds is begun again in one, and so does whatever
writes without having been prepared.

Commits in groups: a transaction that ends while others wait for the writer leaves the commit to
the last of them. Each waits until its own writes are on disk, and readers see none before. A
transaction that fails is taken back to its savepoint and leaves the rest of its group untouched.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future as ThreadFuture
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy.dialects.sqlite import pysqlite

from pve402.domain import errors
from pve402.storage import statements, transaction, turns

_PATIENCE_SECONDS = 30.0
_BUSY_PAUSE_SECONDS = 0.02
_LARGEST_GROUP = 64
_READERS = 4
_OPERATIONS_A_STEP = 1000
_STEPS_IN_LOOP = 60
"""A read that takes more steps than these (60,000 operations, a few ms) is left to a thread."""


class SqliteFile:
    """The connections to one file. Open and close it; then begin and read as often as you like."""

    def __init__(self, path: str) -> None:
        dialect = pysqlite.dialect(dbapi=sqlite3, paramstyle="qmark")
        self._compiler = statements.Compiler(dialect)
        self._path = path
        self._threads = ThreadPoolExecutor(_READERS + 1, thread_name_prefix="sqlite")
        self._turns = turns.Turns(self._next)
        self._writer: _Connection | None = None
        self._group: _Group | None = None
        self._idle: list[_Connection] = []
        self._readers = asyncio.Semaphore(_READERS)

    async def close(self) -> None:
        """Wait for the last commit and close every connection."""
        await self._turns.take()
        for connection in (*self._idle, *([self._writer] if self._writer else [])):
            connection.close()
        self._idle, self._writer = [], None
        self._turns.give_back()
        self._threads.shutdown(wait=False)

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[transaction.Transaction]:
        """One writing transaction; on disk when the block has been left."""
        with _translated():
            if not self._turns.try_take():
                async with _patience():
                    await self._turns.take()
            try:
                group = await self._join()
                try:
                    yield _Transaction(self._compiler, group.connection)
                except BaseException:
                    self._take_back(group)
                    raise
                self._leave(group)
            finally:
                self._next()
            await group.committed()

    def single(self) -> contextlib.AbstractAsyncContextManager[transaction.Transaction]:
        """One writing statement; a transaction like any other."""
        return self.begin()

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[transaction.Transaction]:
        """One reading transaction: it sees one committed state."""
        with _translated():
            if self._readers.locked():
                async with _patience():
                    await self._readers.acquire()
            else:
                await self._readers.acquire()
            connection = None
            try:
                connection = self._idle.pop() if self._idle else self._connect(read_only=True)
                connection.run("BEGIN")
                yield _Transaction(self._compiler, connection)
            finally:
                self._readers.release()
                if connection is not None:
                    connection.end_read()
                    self._idle.append(connection)

    async def _join(self) -> "_Group":
        """Return the open group, or begin one, when no other program writes to the file."""
        if self._group is not None:
            self._group.connection.run("SAVEPOINT member")
            return self._group
        if self._writer is None:
            self._writer = self._connect(read_only=False)
        if not self._writer.try_begin():
            async with _patience():
                while not self._writer.try_begin():  # noqa: ASYNC110 - a lock of others
                    await asyncio.sleep(_BUSY_PAUSE_SECONDS)
        self._group = _Group(self._writer)
        return self._group

    def _leave(self, group: "_Group") -> None:
        if group.members:
            group.connection.run("RELEASE member")
        group.members += 1

    def _take_back(self, group: "_Group") -> None:
        """Undo what one member wrote; the whole group where SQLite has undone it already."""
        if not group.connection.in_transaction:
            self._group = None
            group.end(sqlite3.OperationalError("the transaction was rolled back"))
        elif group.members:
            group.connection.run("ROLLBACK TO member")
            group.connection.run("RELEASE member")
        else:
            group.connection.run("ROLLBACK")
            self._group = None

    def _next(self) -> None:
        """Pass the turn on; who has nobody after it, or many before it, has the group committed."""
        group = self._group
        if group is not None and group.members < _LARGEST_GROUP and self._turns.pass_on():
            return
        if group is None:
            self._turns.give_back()
            return
        self._group = None
        writing = self._threads.submit(group.connection.run, "COMMIT")
        loop = asyncio.get_running_loop()
        writing.add_done_callback(
            lambda done: loop.call_soon_threadsafe(self._committed, group, done)
        )

    def _committed(self, group: "_Group", writing: ThreadFuture[Any]) -> None:
        error = writing.exception()
        if error is not None and group.connection.in_transaction:
            group.connection.run("ROLLBACK")
        group.end(error)
        self._turns.give_back()

    def _connect(self, *, read_only: bool) -> "_Connection":
        return _Connection(self._path, self._threads, read_only=read_only)


class _Group:
    """Transactions that are committed together."""

    def __init__(self, connection: "_Connection") -> None:
        self.connection = connection
        self.members = 0
        self._end: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    def end(self, error: BaseException | None) -> None:
        """Tell every member how it ended."""
        self._end.set_result(error)

    async def committed(self) -> None:
        """Wait until everything is on disk; raise why it is not."""
        error = await asyncio.shield(self._end)
        if error is not None:
            raise errors.DatabaseUnavailable(retry_after_seconds=2) from error


class _Connection:
    """One connection, used by one task at a time."""

    def __init__(self, path: str, threads: ThreadPoolExecutor, *, read_only: bool) -> None:
        self._threads = threads
        self._read_only = read_only
        self._steps = 0.0
        self._raw = sqlite3.connect(
            path, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=500
        )
        for pragma in ("journal_mode=WAL", "synchronous=FULL", f"query_only={int(read_only)}"):
            self._raw.execute(f"PRAGMA {pragma}")
        self._raw.set_progress_handler(self._step, _OPERATIONS_A_STEP)

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open; SQLite ends one by itself on some errors."""
        return self._raw.in_transaction

    def try_begin(self) -> bool:
        """Begin to write; False while another program writes to the file."""
        try:
            self.run("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not _is_busy(error):
                raise
            return False
        return True

    def run(self, sql: str) -> None:
        """Run a statement without values, here and now."""
        self._steps = float("inf")
        self._raw.execute(sql)

    def end_read(self) -> None:
        """End a reading transaction, if there is one."""
        if self._raw.in_transaction:
            self.run("ROLLBACK")

    def fetch(
        self, sql: str, values: Sequence[Any], steps: float = float("inf")
    ) -> tuple[list[tuple[Any, ...]], int]:
        """Run a statement here and now; return its rows and how many it wrote.

        Raises TimeoutError after so many steps of a thousand operations, or if the file is busy.
        """
        self._steps = steps
        try:
            cursor = self._raw.execute(sql, values)
            return cursor.fetchall(), cursor.rowcount
        except sqlite3.OperationalError as error:
            if self._steps < 0 or (_is_busy(error) and steps < float("inf")):
                raise TimeoutError from error
            raise

    def fetch_patiently(self, sql: str, values: Sequence[Any]) -> tuple[list[tuple[Any, ...]], int]:
        """Run a statement however long it takes, and wait for a file that is busy."""
        self._raw.execute(f"PRAGMA busy_timeout={int(_PATIENCE_SECONDS * 1000)}")
        try:
            return self.fetch(sql, values)
        finally:
            self._raw.execute("PRAGMA busy_timeout=0")

    def fetch_for_each(self, sql: str, values: Sequence[Sequence[Any]]) -> None:
        """Run a statement once for each list of values."""
        self._steps = float("inf")
        self._raw.executemany(sql, values)

    async def in_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Run one of the above in a thread; when this ends, however, the thread has finished."""
        running = asyncio.wrap_future(self._threads.submit(work, *arguments))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            if self._read_only:  # a write that is interrupted undoes the others of its group
                self._raw.interrupt()
            while not running.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([running])
            running.exception()  # of a statement that nobody waits for any more
            raise

    def close(self) -> None:
        """Close it."""
        self._raw.close()

    def _step(self) -> bool:
        self._steps -= 1
        return self._steps < 0


class _Transaction(transaction.Transaction):
    def __init__(self, compiler: statements.Compiler, connection: _Connection) -> None:
        super().__init__(compiler)
        self._connection = connection

    async def _send(
        self, text: statements.Text, values: list[Any], *, is_short: bool
    ) -> tuple[Sequence[Any], int]:
        connection = self._connection
        try:
            if text.only_reads:
                with contextlib.suppress(TimeoutError):
                    return connection.fetch(text.sql, values, _STEPS_IN_LOOP)
            elif is_short:
                return connection.fetch(text.sql, values)
            return await connection.in_thread(connection.fetch_patiently, text.sql, values)  # type: ignore[no-any-return]
        except sqlite3.Error as error:
            raise _meaning(error, text) from None

    async def _send_many(self, text: statements.Text, values: list[list[Any]]) -> None:
        try:
            await self._connection.in_thread(self._connection.fetch_for_each, text.sql, values)
        except sqlite3.Error as error:
            raise _meaning(error, text) from None


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


_WRONG = (
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.NotSupportedError,
    sqlite3.ProgrammingError,
)


def _meaning(error: sqlite3.Error, text: statements.Text) -> Exception:
    """Tell a statement that is wrong from a file that is in trouble."""
    code = getattr(error, "sqlite_errorcode", None)
    if isinstance(error, _WRONG) or code == sqlite3.SQLITE_ERROR:
        return transaction.refusal(type(error).__name__, text.sql)
    return error


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise errors.DatabaseUnavailable(retry_after_seconds=2) from error


@contextlib.asynccontextmanager
async def _patience() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            yield
    except TimeoutError as error:
        raise errors.DatabaseUnavailable(retry_after_seconds=2) from error
