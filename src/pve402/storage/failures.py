"""Tells a database that is in trouble from a statement that is wrong."""

import contextlib
import sqlite3
from collections.abc import Iterator

import sqlalchemy as sa

from pve402.domain import errors


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Raise DatabaseUnavailable for what may pass.

    A broken constraint and a wrong statement stay what they are: IntegrityError and
    ProgrammingError of SQLAlchemy, which name the statement without its values.
    """
    try:
        yield
    except (sa.exc.IntegrityError, sa.exc.ProgrammingError):
        raise
    except (sa.exc.DBAPIError, sa.exc.TimeoutError, sqlite3.Error, OSError) as error:
        raise errors.DatabaseUnavailable from error
