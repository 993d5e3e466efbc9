"""Types of columns that are stored as text or as milliseconds.

Amounts are text because an atomic amount may have 78 digits, which no integer column holds.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class JsonText(TypeDecorator[dict[str, Any]]):
    """A small JSON object, stored as text."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: dict[str, Any] | None, dialect: Dialect) -> str | None:
        """Return the text to store."""
        del dialect
        return None if value is None else json.dumps(value, separators=(",", ":"))

    def process_result_value(self, value: str | None, dialect: Dialect) -> dict[str, Any]:
        """Return the stored object; a missing one is empty."""
        del dialect
        return {} if value is None or value == "{}" else dict(json.loads(value))


class Amount(TypeDecorator[int]):
    """An integer of any size, stored as decimal text."""

    impl = sa.String(78)
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> str | None:
        """Return the digits to store."""
        del dialect
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> int | None:
        """Return the number that was stored."""
        del dialect
        return None if value is None else int(value)


def to_milliseconds(moment: datetime) -> int:
    """Return the stored form of an aware time."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


class UtcMilliseconds(TypeDecorator[datetime]):
    """An aware UTC time, stored as milliseconds since 1970 so that both databases agree."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Return the milliseconds to store."""
        del dialect
        return None if value is None else to_milliseconds(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """Return the time that was stored."""
        del dialect
        return None if value is None else datetime.fromtimestamp(value / 1000, UTC)
