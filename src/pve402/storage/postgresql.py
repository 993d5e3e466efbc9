"""PostgreSQL through asyncpg: a few connections, each with its statements prepared once.

A read sends its statements as they are, each of which sees what was committed before it, as in a
transaction of PostgreSQL's usual kind; a write begins and commits. A connection that lay idle for
a while is tried before it is used; one that the server has closed is noticed without.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import asyncpg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import asyncpg as asyncpg_dialect

from pve402.domain import errors
from pve402.storage import statements, transaction

_CONNECT_SECONDS = 5.0
_STATEMENT_SECONDS = 30.0
_PATIENCE_SECONDS = 10.0
_END_SECONDS = 5.0
_TRUSTED_IDLE_SECONDS = 20.0
_WRONG = ("22", "23", "42")  # classes of SQLSTATE: data, integrity, syntax or access


class PostgresServer:
    """The connections to one server. Begin and read as often as you like; then close."""

    def __init__(self, url: sa.URL, size: int) -> None:
        dialect: Any = asyncpg_dialect.dialect()  # type: ignore[no-untyped-call]
        self._compiler = statements.Compiler(dialect)
        self._how: dict[str, Any] = dialect.create_connect_args(url)[1]
        self._how.pop("prepared_statement_cache_size", None)
        self._room = asyncio.Semaphore(size)
        self._idle: list[tuple[float, asyncpg.Connection]] = []
        self._ending: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Close every connection."""
        await asyncio.gather(*self._ending)
        while self._idle:
            _, connection = self._idle.pop()
            with contextlib.suppress(asyncpg.PostgresError, OSError, TimeoutError):
                await connection.close(timeout=_END_SECONDS)

    @contextlib.asynccontextmanager
    async def begin(self) -> AsyncIterator[transaction.Transaction]:
        """One writing transaction; on disk when the block has been left."""
        async with self._connection() as connection:
            await connection.execute("BEGIN")
            yield _Transaction(self._compiler, connection)
            if await connection.execute("COMMIT") != "COMMIT":
                raise transaction.refusal("rolled back", "COMMIT")

    @contextlib.asynccontextmanager
    async def single(self) -> AsyncIterator[transaction.Transaction]:
        """One writing statement, which the server makes a transaction of by itself."""
        async with self._connection() as connection:
            yield _Single(self._compiler, connection)

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[transaction.Transaction]:
        """Reads; every statement sees what was committed before it."""
        async with self._connection() as connection:
            yield _Transaction(self._compiler, connection)

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection for the block; whatever goes wrong in it, it comes back without locks."""
        with _translated():
            if self._room.locked():
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    await self._room.acquire()
            else:
                await self._room.acquire()
            try:
                connection = await self._take()
            except BaseException:
                self._room.release()
                raise
            try:
                yield connection
            except BaseException:
                ending = asyncio.create_task(self._clean(connection))
                self._ending.add(ending)
                ending.add_done_callback(self._ending.discard)
                await asyncio.shield(ending)
                raise
            self._give_back(connection)

    async def _take(self) -> asyncpg.Connection:
        while self._idle:
            since, connection = self._idle.pop()
            if connection.is_closed():
                continue
            if time.monotonic() - since < _TRUSTED_IDLE_SECONDS or await _answers(connection):
                return connection
        return await asyncpg.connect(
            **self._how,
            timeout=_CONNECT_SECONDS,
            command_timeout=_STATEMENT_SECONDS,
            statement_cache_size=500,
            max_cached_statement_lifetime=0,
            server_settings={"synchronous_commit": "on"},  # whatever the server's own setting is
        )

    def _give_back(self, connection: asyncpg.Connection) -> None:
        if not connection.is_closed():
            self._idle.append((time.monotonic(), connection))
        self._room.release()

    async def _clean(self, connection: asyncpg.Connection) -> None:
        """Roll back what a failed or cancelled block left; a connection in doubt is cut off."""
        try:
            async with asyncio.timeout(_END_SECONDS):
                await connection.execute("ROLLBACK")
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            connection.terminate()
        finally:
            self._give_back(connection)


class _Transaction(transaction.Transaction):
    def __init__(self, compiler: statements.Compiler, connection: asyncpg.Connection) -> None:
        super().__init__(compiler)
        self._connection = connection

    async def _send(
        self, text: statements.Text, values: list[Any], *, is_short: bool
    ) -> tuple[Sequence[Any], int]:
        del is_short
        with _refused(text):
            if text.returns_rows or not text.is_dml:
                rows = await self._connection.fetch(text.sql, *values)
                return rows, len(rows)
            return (), _count(await self._connection.execute(text.sql, *values))

    async def _send_many(self, text: statements.Text, values: list[list[Any]]) -> None:
        with _refused(text):
            await self._connection.executemany(text.sql, values)


class _Single(_Transaction):
    """Refuses a second statement: it would not be kept together with the first."""

    _is_used = False

    async def _send(
        self, text: statements.Text, values: list[Any], *, is_short: bool
    ) -> tuple[Sequence[Any], int]:
        if self._is_used:
            raise RuntimeError("a second statement where one was announced")
        self._is_used = True
        return await super()._send(text, values, is_short=is_short)


def _count(status: str) -> int:
    """Return how many rows were written, of a command's tag such as `UPDATE 3` or `INSERT 0 1`."""
    last = status.rpartition(" ")[2]
    return int(last) if last.isdigit() else 0


async def _answers(connection: asyncpg.Connection) -> bool:
    try:
        await connection.execute("SELECT 1", timeout=_CONNECT_SECONDS)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
        connection.terminate()
        return False
    return True


@contextlib.contextmanager
def _refused(text: statements.Text) -> Iterator[None]:
    """Tell a statement that is wrong from a server that is in trouble."""
    try:
        yield
    except asyncpg.PostgresError as error:
        if not (error.sqlstate or "").startswith(_WRONG):
            raise
        raise transaction.refusal(f"{type(error).__name__} {error.sqlstate}", text.sql) from None
    except asyncpg.InterfaceError as error:
        if not isinstance(error, ValueError):
            raise
        raise transaction.refusal("a value of the wrong kind", text.sql) from None


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise errors.DatabaseUnavailable(retry_after_seconds=2) from error
