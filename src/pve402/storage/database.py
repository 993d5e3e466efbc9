"""One database: SQLite with a single writer, or PostgreSQL with a pool; transactions and time.

SQLite: WAL, every commit on disk before it is answered, BEGIN IMMEDIATE on the one writer
connection (several pooled writers were measured at a p99 of 330-730 ms, one at 25 ms), reads on
their own connections. A second process on the same file is refused.
"""

import contextlib
import fcntl
import os
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext import asyncio as sa_asyncio
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pve402.domain import errors
from pve402.storage import clock, migrate, tables


class DatabaseBusyError(RuntimeError):
    """Another process has this SQLite file open; PostgreSQL serves several processes."""


class Database:
    """Transactions on one database, with the database's time.

    Its errors name the statement without the values, which may be sealed or signed by somebody.
    `shift_seconds` moves the clock that queries see; tests use it to let leases fall due.
    """

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        self._url = sa.make_url(url)
        self._pool_size = pool_size
        self._lock_file: int | None = None
        self.shift_seconds = 0.0
        self._writer, self._reader = self._make_engines()

    @property
    def is_sqlite(self) -> bool:
        """Whether this is a SQLite file, which one process owns."""
        return self._url.get_backend_name() == "sqlite"

    async def open(self) -> Self:
        """Lock a SQLite file for this process and bring the tables up to date.

        Raises DatabaseBusyError if another process owns the file.
        """
        if self.is_sqlite:
            self._take_file()
        try:
            await migrate.upgrade(self._writer)
        except BaseException:
            await self.close()
            raise
        return self

    async def close(self) -> None:
        """Close every connection and give a SQLite file back."""
        await self._writer.dispose()
        await self._reader.dispose()
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """One writing transaction: committed at the end of the block, rolled back on an error.

        Raises DatabaseUnavailable when the database cannot be reached or goes away.
        """
        async with _translated(), self._writer.begin() as tx:
            yield tx

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """One reading transaction; it sees a state that was committed.

        Raises DatabaseUnavailable when the database cannot be reached or goes away.
        """
        async with _translated(), self._reader.connect() as tx:
            yield tx

    def now(self, plus_seconds: float = 0) -> sa.ColumnElement[Any]:
        """Return the database's time, some seconds moved, as an expression for queries."""
        return clock.now_ms() + sa.literal(
            int((self.shift_seconds + plus_seconds) * 1000), sa.BigInteger
        )

    async def time(self) -> datetime:
        """Return the database's time."""
        async with self.read() as tx:
            return await self.time_in(tx)

    async def time_in(self, tx: AsyncConnection) -> datetime:
        """Return the database's time within a transaction."""
        moment = sa.type_coerce(self.now(), tables.UtcMilliseconds())
        found: datetime = (await tx.execute(sa.select(moment))).scalar_one()
        return found

    def _make_engines(self) -> tuple[AsyncEngine, AsyncEngine]:
        if not self.is_sqlite:
            engine = sa_asyncio.create_async_engine(
                self._url,
                hide_parameters=True,
                pool_size=self._pool_size,
                max_overflow=0,
                pool_timeout=10,
                pool_pre_ping=True,
                connect_args={"timeout": 5, "command_timeout": 30},
            )
            return engine, engine
        writer = sa_asyncio.create_async_engine(
            self._url, pool_size=1, max_overflow=0, pool_timeout=30, hide_parameters=True
        )
        reader = sa_asyncio.create_async_engine(
            self._url, pool_size=4, max_overflow=0, pool_timeout=30, hide_parameters=True
        )
        _prepare_sqlite(writer, begin="BEGIN IMMEDIATE")
        _prepare_sqlite(reader, begin="BEGIN")
        return writer, reader

    def _take_file(self) -> None:
        path = self._url.database
        if not path or path == ":memory:":
            raise DatabaseBusyError("an in-memory SQLite database loses everything; name a file")
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        lock_file = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock_file)
            raise DatabaseBusyError(f"{path} is open in another process") from error
        self._lock_file = lock_file


def _prepare_sqlite(engine: AsyncEngine, *, begin: str) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def _connected(connection: Any, record: Any) -> None:
        del record
        connection.isolation_level = None  # the driver's own BEGIN would be a deferred one
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begun(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)


@contextlib.asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except sa.exc.IntegrityError:
        raise
    except (sa.exc.DBAPIError, sa.exc.TimeoutError, OSError) as error:
        if isinstance(error, sa.exc.ProgrammingError):
            raise
        raise errors.DatabaseUnavailable(retry_after_seconds=2) from error
