"""Updates of single rows: one prepared text for each set of columns that is written."""

import functools
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from pve402.storage import clock, statements, transaction

Names = tuple[str, ...]


async def update(
    tx: transaction.Transaction,
    table: sa.Table,
    where: Mapping[str, Any],
    values: Mapping[str, Any],
    *conditions: sa.ColumnElement[bool],
) -> statements.Result:
    """Write values on the rows whose columns are as given, and return those rows whole.

    A value may be a moment of the database's clock (`Database.now`). With any other expression, or
    with further conditions, the statement is not a prepared one.
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
    prepared = _prepared(table, tuple(where), absent, tuple(plain), tuple(moments))
    filled = {f"is_{name}": value for name, value in where.items()}
    filled |= {f"new_{name}": value for name, value in plain.items()}
    filled |= {f"at_{name}": value for name, value in moments.items()}
    return await tx.run(prepared, **filled)


@functools.lru_cache(maxsize=500)
def _prepared(
    table: sa.Table, where: Names, absent: Names, plain: Names, moments: Names
) -> statements.Prepared:
    columns = table.c
    new = {name: sa.bindparam(f"new_{name}", type_=columns[name].type) for name in plain}
    now = {name: clock.Moment(sa.bindparam(f"at_{name}", type_=sa.BigInteger)) for name in moments}
    conditions = [
        columns[name].is_(None)
        if name in absent
        else columns[name] == sa.bindparam(f"is_{name}", type_=columns[name].type)
        for name in where
    ]
    query = table.update().where(*conditions).values({**new, **now}).returning(table)
    return statements.Prepared(query)


async def _update_by_expressions(
    tx: transaction.Transaction,
    table: sa.Table,
    where: Mapping[str, Any],
    values: Mapping[str, Any],
    *conditions: sa.ColumnElement[bool],
) -> statements.Result:
    same = [table.c[name] == value for name, value in where.items()]
    query = table.update().where(*same, *conditions).values(**values).returning(table)
    return await tx.execute(query)
