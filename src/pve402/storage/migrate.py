"""Bring the tables up to date at start, under a lock, with Alembic."""

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from pve402.domain import errors

_ADVISORY_LOCK = 402_402_402


def alembic_config() -> Config:
    """Return the Alembic configuration of this package's migrations."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


async def upgrade(url: sa.URL, revision: str = "head") -> None:
    """Upgrade to a revision; replicas that start together do it one after the other.

    Raises DatabaseUnavailable.
    """
    await _within(url, "upgrade", revision)


async def downgrade(url: sa.URL, revision: str) -> None:
    """Downgrade to a revision; `base` drops every table. Raises DatabaseUnavailable."""
    await _within(url, "downgrade", revision)


async def _within(url: sa.URL, verb: str, revision: str) -> None:
    engine = create_async_engine(url, poolclass=sa.NullPool, hide_parameters=True)
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine)
    try:
        async with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
            await connection.run_sync(_run, verb, revision)
    except (sa.exc.OperationalError, sa.exc.InterfaceError, OSError) as error:
        raise errors.DatabaseUnavailable(retry_after_seconds=2) from error
    finally:
        await engine.dispose()


def _prepare_sqlite(engine: AsyncEngine) -> None:
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
    config = alembic_config()
    config.attributes["connection"] = connection
    getattr(command, verb)(config, revision)
