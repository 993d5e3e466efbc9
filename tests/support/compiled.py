"""SQL statements that are compiled once a process, not once a database.

An engine compiles what it is asked for the first time, and every test has engines of its own.
SQLAlchemy keys what it keeps by the dialect's object; here any of a class will do.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

_kept: dict[Any, Any] = {}


def keep_for_all_engines() -> None:
    """Let the engines of this process share what they compile."""
    for dialect in (SQLiteDialect_pysqlite, PGDialect_asyncpg):
        dialect.__hash__ = lambda self: hash(type(self))  # type: ignore[method-assign]
        dialect.__eq__ = lambda self, other: type(self) is type(other)  # type: ignore[method-assign]
    sa.event.listen(sa.Engine, "engine_connect", _share)


def _share(connection: sa.Connection) -> None:
    connection.execution_options(compiled_cache=_kept)
