"""One database: SQLite with a single writer, or PostgreSQL with a pool; transactions and time.

SQLite: WAL, every commit on disk before it is answered, one writer connection (measured p99: 25
ms, against 330-730 ms with a pool of writers), reads on connections of their own. A second process
on the same file is refused.
"""

import contextlib
import fcntl
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa

from pve402.storage import clock, column_types, failures, migrate, sqlite, tables, transaction

if TYPE_CHECKING:
    from pve402.storage import postgresql

_TIME = sa.select(
    sa.type_coerce(
        clock.Moment(transaction.hole("plus_ms", type_=sa.BigInteger)),
        column_types.UtcMilliseconds(),
    )
)
_CHECK = sa.select(tables.facts.c.name).limit(1)
_HAS_TABLES = {
    True: sa.text("SELECT count(*) FROM sqlite_master WHERE name = 'leases'"),
    False: sa.text("SELECT to_regclass('leases') IS NOT NULL"),
}


class DatabaseBusyError(RuntimeError):
    """Another process has this SQLite file open; only PostgreSQL can serve several processes."""


class Database:
    """Transactions on one database, with the database's time.

    Errors name the statement but not its values, which may be secrets or signatures.
    `shift_seconds` shifts the clock that queries see; tests use it to make leases fall due.
    """

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        self._url = sa.make_url(url)
        self._pool_size = pool_size
        self._lock_file: int | None = None
        self.shift_seconds = 0.0
        self._connections = self._connect()

    @property
    def is_sqlite(self) -> bool:
        """Whether this is a SQLite file, which only one process may open."""
        return self._url.get_backend_name() == "sqlite"

    async def open(self) -> Self:
        """Lock a SQLite file for this process and migrate the tables.

        Raises DatabaseBusyError if another process owns the file.
        """
        if self.is_sqlite:
            self._take_file()
        try:
            await migrate.upgrade(self._url)
        except BaseException:
            await self.close()
            raise
        return self

    async def close(self) -> None:
        """Close every connection and unlock a SQLite file."""
        await self._connections.close()
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    def begin(self) -> contextlib.AbstractAsyncContextManager[transaction.Transaction]:
        """One writing transaction: committed at the end of the block, rolled back on an error.

        A task that is cancelled inside the block releases the writer at once. Raises
        DatabaseUnavailable when the database cannot be reached or the connection breaks, and
        SQLAlchemy's IntegrityError and ProgrammingError when the statement is wrong.
        """
        return self._connections.begin()

    def single(self) -> contextlib.AbstractAsyncContextManager[transaction.Transaction]:
        """One writing statement in its own transaction; on PostgreSQL this saves two messages.

        Raises what `begin` raises, and RuntimeError for a second statement on PostgreSQL.
        """
        return self._connections.single()

    def read(self) -> contextlib.AbstractAsyncContextManager[transaction.Transaction]:
        """One reading transaction; it sees only committed data.

        Raises what `begin` raises.
        """
        return self._connections.read()

    def now(self, plus_seconds: float = 0) -> sa.ColumnElement[Any]:
        """Return the database's time plus some seconds, as an expression for queries."""
        return clock.Moment(self.shift_ms(plus_seconds))

    def shift_ms(self, plus_seconds: float = 0) -> int:
        """Return the offset from the database's time in milliseconds, as a query parameter."""
        return int((self.shift_seconds + plus_seconds) * 1000)

    async def check(self) -> None:
        """Read a table to check the database; raises what `begin` raises if that fails."""
        async with self.read() as tx:
            await tx.run(_CHECK)

    async def has_tables(self) -> bool:
        """Return whether our tables exist, without creating a file; raises what `begin` raises."""
        if self._has_no_file():
            return False
        async with self.read() as tx:
            return bool(await tx.scalar(_HAS_TABLES[self.is_sqlite]))

    async def revision(self) -> str:
        """Return the revision of the tables, as `migrate.newest_revision` names them."""
        async with self.read() as tx:
            return str(await tx.scalar(sa.text("SELECT version_num FROM alembic_version")))

    async def time(self) -> datetime:
        """Return the database's time. For a SQLite file that is this process's clock."""
        if self.is_sqlite:
            return self._own_time()
        async with self.read() as tx:
            return await self.time_in(tx)

    async def time_in(self, tx: transaction.Transaction) -> datetime:
        """Return the database's time within a transaction."""
        if self.is_sqlite:
            return self._own_time()
        found: datetime = (await tx.run(_TIME, plus_ms=self.shift_ms())).scalar_one()
        return found

    def _has_no_file(self) -> bool:
        return self.is_sqlite and not Path(self._url.database or "").exists()

    def _own_time(self) -> datetime:
        return datetime.now(UTC) + timedelta(milliseconds=self.shift_ms())

    def _connect(self) -> "sqlite.SqliteFile | postgresql.PostgresServer":
        if self.is_sqlite:
            return sqlite.SqliteFile(self._url.database or "")
        from pve402.storage import postgresql  # noqa: PLC0415 -- most starts need no asyncpg

        return postgresql.PostgresServer(self._url, self._pool_size)

    def _take_file(self) -> None:
        path = self._url.database
        if not path or path == ":memory:":
            raise DatabaseBusyError("an in-memory SQLite database loses everything; name a file")
        with failures.translated():
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            lock_file = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock_file)
            raise DatabaseBusyError(f"{path} is open in another process") from error
        self._lock_file = lock_file
        with contextlib.suppress(FileExistsError):  # SQLite would create it readable by everybody
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
