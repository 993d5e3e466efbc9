"""Bring the tables up to date at start, under a lock, with Alembic.

Most starts find a SQLite file whose tables are those of the code, and need not even read Alembic.

On PostgreSQL replicas of the version before may be at work meanwhile. A change that took one lock
after another would wait for a transaction that waits for it, so all tables are locked first, within
less than the second after which PostgreSQL looks for deadlocks and makes somebody the victim; if
that fails, everybody else is let through before the next try.
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
    """Return the last revision there is, by the names of the files: they begin with it."""
    names = sorted(file.name for file in (_FOLDER / "versions").glob("[0-9]*.py"))
    return names[-1].partition("_")[0]


async def upgrade(url: sa.URL, revision: str = "head") -> None:
    """Upgrade to a revision; replicas that start together do it one after the other.

    Raises DatabaseUnavailable, also for tables that are in use for a minute without a pause, and
    for those of a newer version.
    """
    if revision == "head" and _is_newest(url):
        return
    await _within(url, "upgrade", revision)


async def downgrade(url: sa.URL, revision: str) -> None:
    """Downgrade to a revision; `base` drops every table. Raises what `upgrade` does."""
    await _within(url, "downgrade", revision)


def _is_newest(url: sa.URL) -> bool:
    """Whether this is a SQLite file with the newest tables; whatever it is else, Alembic will say.

    Its owner is the only process that uses it, so nobody changes the tables meanwhile.
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
                    "The tables are to be changed, and something uses them without a pause."
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
    """Have tables changed within one transaction, which the driver alone would not do."""

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
            f"The database is of a newer version of pve402: its tables are at {current}, and this"
            f" version ends at {newest_revision()}. Start the newer version."
        )
    if (verb, revision, current) == ("upgrade", "head", newest_revision()):
        return
    if connection.dialect.name == "postgresql":
        _lock_tables(connection)
    config.attributes["connection"] = connection
    getattr(command, verb)(config, revision)


def _lock_tables(connection: sa.Connection) -> None:
    """Keep everybody else from our tables until the end of the transaction, or give up soon."""
    made = set(sa.inspect(connection).get_table_names())
    names = ", ".join(sorted(made.intersection(tables.metadata.tables)))
    if names:
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {LOCK_MS}")
        connection.exec_driver_sql(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE")
        connection.exec_driver_sql("SET LOCAL statement_timeout TO DEFAULT")
