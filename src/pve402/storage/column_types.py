"""Types of columns that are stored as text.

Amounts are text because an atomic amount may have 78 digits, which no integer column holds.
"""

import json
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator


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
