"""What a transaction can do, on either database.

Frequent queries are built once, with holes (named parameters) for their values: SQLAlchemy then
finds their compiled text without building or comparing them again.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import sqlalchemy as sa

Query = sa.Executable
Values = Mapping[str, Any]
Found = sa.CursorResult[*tuple[Any, ...]]
"""The result of a query, all in memory, and how many rows it wrote."""


class Transaction(Protocol):
    """Runs queries one after another; their writes are committed together or not at all."""

    async def run(self, query: Query, /, **values: Any) -> Found:
        """Run a query that is known to be short, with values for its holes."""
        ...

    async def execute(self, query: Query, values: Values | Sequence[Values] | None = None) -> Found:
        """Run any query; with a list of values, once per entry."""
        ...

    async def scalar(self, query: Query) -> Any:
        """Return the first value of the first row of a query; None if there are no rows."""
        ...


def named(found: Found) -> list[dict[str, Any]]:
    """Return all rows as dicts by column name; SQLAlchemy's mappings are slower."""
    names = tuple(found.keys())
    return [dict(zip(names, row, strict=True)) for row in found]


def only(found: Found) -> dict[str, Any] | None:
    """Return the only row as a dict by column name, None if there is none."""
    row = found.one_or_none()
    return None if row is None else dict(zip(found.keys(), row, strict=True))


def hole(name: str, type_: Any = None) -> sa.BindParameter[Any]:
    """Return a query parameter that `run` fills with the value of this name.

    Its name gets a prefix, since SQLAlchemy reads column names as values to write.
    """
    return sa.bindparam(_PREFIX + name, type_=type_)


def holes(name: str) -> sa.BindParameter[Any]:
    """Return a query parameter for a list of at least one value."""
    return sa.bindparam(_PREFIX + name, expanding=True)


def filled(values: Values) -> dict[str, Any]:
    """Return values keyed by the names of their holes."""
    return {_PREFIX + name: value for name, value in values.items()}


_PREFIX = "given_"
