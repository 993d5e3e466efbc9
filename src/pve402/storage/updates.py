"""Updates of single rows: one query per set of written columns, built once."""

import functools
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from pve402.storage import clock, transaction

Names = tuple[str, ...]


async def update(
    tx: transaction.Transaction,
    table: sa.Table,
    where: Mapping[str, Any],
    values: Mapping[str, Any],
    *conditions: sa.ColumnElement[bool],
) -> transaction.Found:
    """Update the rows whose columns have the given values, and return all their columns.

    A value may be a moment of the database's clock (`Database.now`). With any other expression, or
    with further conditions, the query is built each time.
    """
    plain: dict[str, Any] = {}
    moments: dict[str, int] = {}
    for name, value in values.items():
        if isinstance(value, clock.Moment) and isinstance(value.plus_ms, int):
            moments[name] = value.plus_ms
        elif isinstance(value, sa.ColumnElement):
            return await _update_by_expressions(tx, table, where, values, *conditions)
        else:
            plain[name] = value
    if conditions:
        return await _update_by_expressions(tx, table, where, values, *conditions)
    absent = tuple(name for name, value in where.items() if value is None)
    query = _built(table, tuple(where), absent, tuple(plain), tuple(moments))
    filled = {f"is_{name}": value for name, value in where.items()}
    filled |= {f"new_{name}": value for name, value in plain.items()}
    filled |= {f"at_{name}": value for name, value in moments.items()}
    return await tx.run(query, **filled)


@functools.lru_cache(maxsize=500)
def _built(
    table: sa.Table, where: Names, absent: Names, plain: Names, moments: Names
) -> transaction.Query:
    columns = table.c
    new = {name: transaction.hole(f"new_{name}", type_=columns[name].type) for name in plain}
    moved = {name: transaction.hole(f"at_{name}", type_=sa.BigInteger) for name in moments}
    now = {name: clock.Moment(by) for name, by in moved.items()}
    conditions = [
        columns[name].is_(None)
        if name in absent
        else columns[name] == transaction.hole(f"is_{name}", type_=columns[name].type)
        for name in where
    ]
    return table.update().where(*conditions).values({**new, **now}).returning(table)


async def _update_by_expressions(
    tx: transaction.Transaction,
    table: sa.Table,
    where: Mapping[str, Any],
    values: Mapping[str, Any],
    *conditions: sa.ColumnElement[bool],
) -> transaction.Found:
    same = [table.c[name] == value for name, value in where.items()]
    query = table.update().where(*same, *conditions).values(**values).returning(table)
    return await tx.execute(query)
