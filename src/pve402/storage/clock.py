"""The database's clock as an SQL expression, so that replicas with wrong clocks agree."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import expression


class Moment(expression.FunctionElement[int]):
    """Milliseconds since 1970 by the database's clock, plus an offset; advances in a transaction.

    The offset is a bound parameter, so that all moments share one compiled statement.
    """

    type = sa.BigInteger()
    inherit_cache = True
    name = "moment"

    def __init__(self, plus_ms: "int | sa.BindParameter[int]") -> None:
        super().__init__(
            sa.literal(plus_ms, sa.BigInteger) if isinstance(plus_ms, int) else plus_ms
        )
        self.plus_ms = plus_ms


@compiles(Moment, "sqlite")
def _sqlite(element: Moment, compiler: Any, **options: Any) -> str:
    plus = compiler.process(element.clauses, **options)
    return f"(CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER) + {plus})"


@compiles(Moment, "postgresql")
def _postgresql(element: Moment, compiler: Any, **options: Any) -> str:
    plus = compiler.process(element.clauses, **options)
    return f"(CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT) + {plus})"
