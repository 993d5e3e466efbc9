"""What can be done within a transaction, on either database.

Queries that are run all the time are built once, with holes for their values: SQLAlchemy then finds
their compiled text without building or comparing them again.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import sqlalchemy as sa

Query = sa.Executable
Values = Mapping[str, Any]
Found = sa.CursorResult[*tuple[Any, ...]]
"""What a query found, all of it in memory, and how many rows it wrote."""


class Transaction(Protocol):
    """Runs queries one after another; what they write is kept together or not at all."""

    async def run(self, query: Query, /, **values: Any) -> Found:
        """Run a query that is known to be short, with values for its holes."""
        ...

    async def execute(self, query: Query, values: Values | Sequence[Values] | None = None) -> Found:
        """Run any query; with a list of values, once for each of them."""
        ...

    async def scalar(self, query: Query) -> Any:
        """Return the first value of the first row of a query; None without rows."""
        ...


def named(found: Found) -> list[dict[str, Any]]:
    """Return all rows by their columns' names; reading SQLAlchemy's mappings costs more."""
    names = tuple(found.keys())
    return [dict(zip(names, row, strict=True)) for row in found]


def only(found: Found) -> dict[str, Any] | None:
    """Return the one row that a query by an identity found, by its columns' names."""
    row = found.one_or_none()
    return None if row is None else dict(zip(found.keys(), row, strict=True))


def hole(name: str, type_: Any = None) -> sa.BindParameter[Any]:
    """Return the place in a query that `run` fills with the value of that name.

    Its own name is another, since SQLAlchemy takes names of columns for what is to be written.
    """
    return sa.bindparam(_PREFIX + name, type_=type_)


def holes(name: str) -> sa.BindParameter[Any]:
    """Return the place in a query for a list of values, of which there is one at least."""
    return sa.bindparam(_PREFIX + name, expanding=True)


def filled(values: Values) -> dict[str, Any]:
    """Return values by the names of their holes."""
    return {_PREFIX + name: value for name, value in values.items()}


_PREFIX = "given_"
