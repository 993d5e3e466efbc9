"""Tells a failing database from a wrong statement."""

import contextlib
import sqlite3
from collections.abc import Iterator

import sqlalchemy as sa

from pve402.domain import errors


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Raise DatabaseUnavailable for errors that may be temporary.

    A violated constraint and a wrong statement still raise SQLAlchemy's IntegrityError and
    ProgrammingError, which name the statement without its values.
    """
    try:
        yield
    except (sa.exc.IntegrityError, sa.exc.ProgrammingError):
        raise
    except (sa.exc.DBAPIError, sa.exc.TimeoutError, sqlite3.Error, OSError) as error:
        raise errors.DatabaseUnavailable from error
