"""PostgreSQL through asyncpg: a pool of connections, for any number of replicas.

A read runs without a transaction: each statement sees what was committed before it, as under
PostgreSQL's default isolation level. A write runs in a transaction.
"""

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.ext import asyncio as sa_asyncio
from typing_extensions import override

from pve402.storage import failures, server_address, transaction

_CONNECT_SECONDS = 5
_STATEMENT_SECONDS = 30
_PATIENCE_SECONDS = 10


class PostgresServer:
    """The connections to one server. Call `begin` and `read` any number of times, then `close`."""

    def __init__(self, url: sa.URL, size: int) -> None:
        own_url, arguments = server_address.translated(url)
        limits = {"timeout": _CONNECT_SECONDS, "command_timeout": _STATEMENT_SECONDS}
        self._writing = sa_asyncio.create_async_engine(
            own_url,
            hide_parameters=True,
            pool_size=size,
            max_overflow=0,
            pool_timeout=_PATIENCE_SECONDS,
            connect_args=limits | arguments,
        )
        event.listen(self._writing.sync_engine, "connect", _insist_on_commits)
        event.listen(self._writing.sync_engine, "checkout", _see_that_it_is_open)
        self._each_alone = self._writing.execution_options(isolation_level="AUTOCOMMIT")

    async def close(self) -> None:
        """Close every connection."""
        await self._writing.dispose()

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[transaction.Transaction]:
        """One writing transaction; it is on disk once the block has ended."""
        with failures.translated():
            async with self._writing.begin() as connection:
                yield _Transaction(connection)

    @contextlib.asynccontextmanager
    async def single(self) -> AsyncIterator[transaction.Transaction]:
        """One writing statement in its own transaction, which saves two messages."""
        with failures.translated():
            async with self._each_alone.connect() as connection:
                yield _Single(connection)

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[transaction.Transaction]:
        """Reads; every statement sees what was committed before it."""
        with failures.translated():
            async with self._each_alone.connect() as connection:
                yield _Transaction(connection)


class _Transaction:
    """Runs queries on a connection of the pool."""

    def __init__(self, connection: sa_asyncio.AsyncConnection) -> None:
        self._connection = connection

    async def run(self, query: transaction.Query, /, **values: Any) -> transaction.Found:
        return await self.execute(query, transaction.filled(values))

    async def execute(
        self,
        query: transaction.Query,
        values: transaction.Values | Sequence[transaction.Values] | None = None,
    ) -> transaction.Found:
        return await self._connection.execute(query, values)

    async def scalar(self, query: transaction.Query) -> Any:
        return (await self.execute(query)).scalar()


class _Single(_Transaction):
    """Runs one query only: a second one would not be atomic with it."""

    _is_used = False

    @override
    async def execute(
        self,
        query: transaction.Query,
        values: transaction.Values | Sequence[transaction.Values] | None = None,
    ) -> transaction.Found:
        if self._is_used:
            raise RuntimeError("a second statement in a single-statement transaction")
        self._is_used = True
        return await super().execute(query, values)


def _see_that_it_is_open(connection: Any, *_: Any) -> None:
    """Make the pool replace a connection that the server has closed, which asyncpg reports."""
    if connection.driver_connection.is_closed():
        raise sa.exc.DisconnectionError


def _insist_on_commits(connection: Any, _: Any) -> None:
    """Make commits wait for the server's log, if its default is not to.

    We commit here before we move money or create guests; a server that lost a commit in a crash
    would leave guests without a lease.
    https://www.postgresql.org/docs/current/wal-async-commit.html
    """
    cursor = connection.cursor()
    cursor.execute(
        "SELECT set_config('synchronous_commit', 'on', false)"
        " WHERE current_setting('synchronous_commit') = 'off'"
    )
    cursor.close()
    connection.commit()
