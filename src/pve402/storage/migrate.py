"""Migrate the tables at startup, under a lock, with Alembic.

Most starts find a SQLite file with current tables, and need not even import Alembic. On
PostgreSQL, replicas of the previous version may still be running. Taking locks one by one could
deadlock with their transactions, so all tables are locked first, in less than the one second after
which PostgreSQL looks for deadlocks and aborts a transaction; if that fails, a pause lets the
others through before the next try.
"""

import asyncio
import contextlib
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import event

from pve402.domain import errors
from pve402.storage import failures, server_address, tables

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy.ext.asyncio import AsyncEngine

_ADVISORY_LOCK = 402_402_402
_FOLDER = Path(__file__).parent / "migrations"
LOCK_MS = 500
TRIES = 60
_PAUSE_SECONDS = 0.5
_IN_USE = frozenset({"57014", "55P03", "40P01"})  # query canceled, lock not available, deadlock


def alembic_config() -> "Config":
    """Return the Alembic configuration of this package's migrations."""
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.set_main_option("path_separator", "os")
    return config


def newest_revision() -> str:
    """Return the newest revision, taken from the file names, which begin with it."""
    names = sorted(file.name for file in (_FOLDER / "versions").glob("[0-9]*.py"))
    return names[-1].partition("_")[0]


async def upgrade(url: sa.URL, revision: str = "head") -> None:
    """Upgrade to a revision; replicas that start together take turns.

    Raises DatabaseUnavailable, also if the tables stay in use for a minute or belong to a newer
    version.
    """
    if revision == "head" and _is_newest(url):
        return
    await _within(url, "upgrade", revision)


async def downgrade(url: sa.URL, revision: str) -> None:
    """Downgrade to a revision; `base` drops every table. Raises what `upgrade` raises."""
    await _within(url, "downgrade", revision)


def _is_newest(url: sa.URL) -> bool:
    """Return whether this is a SQLite file with the newest tables; Alembic handles the rest.

    Only the process that owns the file uses it, so nobody else changes the tables meanwhile.
    """
    if not url.drivername.startswith("sqlite") or not url.database or url.database == ":memory:":
        return False
    file = Path(url.database)
    try:
        with contextlib.closing(
            sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True)
        ) as it:
            found = it.execute("SELECT version_num FROM alembic_version").fetchall()
    except sqlite3.Error:
        return False
    return found == [(newest_revision(),)]


async def _within(url: sa.URL, verb: str, revision: str) -> None:
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415

    arguments: dict[str, Any] = {}
    if url.get_backend_name() == "postgresql":
        url, arguments = server_address.translated(url)
    engine = create_async_engine(
        url, poolclass=sa.NullPool, hide_parameters=True, connect_args=arguments
    )
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine)
    try:
        with failures.translated():
            for _ in range(TRIES - 1):
                if await _try(engine, verb, revision):
                    return
                await pause()
            if not await _try(engine, verb, revision):
                raise errors.DatabaseUnavailable(
                    "The tables must be upgraded, but something keeps using them."
                )
    finally:
        await engine.dispose()


async def _try(engine: "AsyncEngine", verb: str, revision: str) -> bool:
    """Change the tables in one transaction; False if others use them."""
    try:
        async with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
            await connection.run_sync(_run, verb, revision)
    except sa.exc.DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) in _IN_USE:
            return False
        raise
    return True


async def pause() -> None:
    await asyncio.sleep(_PAUSE_SECONDS)


def _prepare_sqlite(engine: "AsyncEngine") -> None:
    """Run the migration in one transaction, which the driver alone would not do."""

    @event.listens_for(engine.sync_engine, "connect")
    def _connected(connection: Any, record: Any) -> None:
        del record
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begun(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _run(connection: sa.Connection, verb: str, revision: str) -> None:
    from alembic import command, script  # noqa: PLC0415
    from alembic.runtime import migration  # noqa: PLC0415

    config = alembic_config()
    current = migration.MigrationContext.configure(connection).get_current_revision()
    known = {step.revision for step in script.ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        raise errors.DatabaseUnavailable(
            f"The database was made by a newer version of pve402: its tables are at {current},"
            f" and this version ends at {newest_revision()}. Start the newer version."
        )
    if (verb, revision, current) == ("upgrade", "head", newest_revision()):
        return
    if connection.dialect.name == "postgresql":
        _lock_tables(connection)
    config.attributes["connection"] = connection
    getattr(command, verb)(config, revision)


def _lock_tables(connection: sa.Connection) -> None:
    """Lock our tables until the end of the transaction, or give up soon."""
    made = set(sa.inspect(connection).get_table_names())
    names = ", ".join(sorted(made.intersection(tables.metadata.tables)))
    if names:
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {LOCK_MS}")
        connection.exec_driver_sql(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE")
        connection.exec_driver_sql("SET LOCAL statement_timeout TO DEFAULT")
