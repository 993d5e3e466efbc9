"""Due rows: taken by one worker at a time, kept with a fence, given back by any later update.

A row is due when `due_at` has passed. Taking it writes a fresh fence and moves `due_at` to the end
of the worker's time limit, so a worker that dies leaves a row that falls due again by itself. Every
later update names the fence; if no row matches, somebody else took over and the worker must stop.
"""

import functools
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from pve402.storage import clock, database, tables, transaction, updates

Row = Mapping[Any, Any]


class FenceLostError(Exception):
    """Another worker, a renewal or the owner took the row over; nothing was written."""


def new_fence() -> str:
    """Return a fresh fence of 128 random bits."""
    return secrets.token_hex(16)


async def claim_due(
    db: database.Database,
    tx: transaction.Transaction,
    table: sa.Table,
    *,
    limit: int,
    hold_seconds: float,
) -> Sequence[Row]:
    """Take up to `limit` due rows for `hold_seconds`, the longest due first, and return them.

    On PostgreSQL rows that another transaction is taking are passed over; on SQLite the one
    writer makes that needless.
    """
    found = await tx.run(
        _claiming(table),
        most=limit,
        now_ms=db.shift_ms(),
        until_ms=db.shift_ms(hold_seconds),
        new_fence=new_fence(),
    )
    return transaction.named(found)


async def release_all(db: database.Database, tx: transaction.Transaction, table: sa.Table) -> None:
    """Make due, now, whatever anybody held; only for who is alone on the database."""
    held = sa.and_(table.c.fence.isnot(None), table.c.due_at.isnot(None))
    await tx.execute(table.update().where(held).values(fence=None, due_at=db.now()))


async def seconds_until_due(
    db: database.Database, tx: transaction.Transaction, among: Sequence[sa.Table]
) -> float:
    """Return how long until the next row of some tables falls due; infinity if none waits."""
    found = await tx.run(_earliest(tuple(among)), now_ms=db.shift_ms())
    now, *dues = found.one()
    moments = [tables.to_milliseconds(due) for due in dues if due is not None]
    return (min(moments) - now) / 1000 if moments else float("inf")


async def keep(
    db: database.Database,
    tx: transaction.Transaction,
    table: sa.Table,
    held: Sequence[tuple[str, str]],
    hold_seconds: float,
) -> None:
    """Move the time limit of rows that are still worked on; `held` has (key, fence) pairs.

    One statement for all: a fence is random, so no row has one of these that is not held with it.
    """
    keys, fences = {row_key for row_key, _ in held}, {fence for _, fence in held}
    await tx.execute(
        table.update()
        .where(_key(table).in_(keys), table.c.fence.in_(fences))
        .values(due_at=db.now(hold_seconds))
    )


async def update_fenced(
    tx: transaction.Transaction,
    table: sa.Table,
    row_key: str,
    fence: str | None,
    /,
    *conditions: sa.ColumnElement[bool],
    **values: Any,
) -> Row:
    """Write values on a row that still has the fence and return it as it is then.

    Raises FenceLostError if the fence or one of the conditions does not hold any more.
    """
    where = {_key(table).name: row_key, "fence": fence}
    found = await updates.update(tx, table, where, values, *conditions)
    row = transaction.only(found)
    if row is None:
        raise FenceLostError
    return row


@functools.cache
def _claiming(table: sa.Table) -> transaction.Query:
    key = _key(table)
    due = (
        sa.select(key)
        .where(table.c.due_at <= _moment("now_ms"))
        .order_by(table.c.due_at)
        .limit(transaction.hole("most", type_=sa.Integer))
        .with_for_update(skip_locked=True)
    )
    return (
        table.update()
        .where(key.in_(due.scalar_subquery()))
        .values(
            fence=transaction.hole("new_fence", type_=sa.String),
            due_at=_moment("until_ms"),
            attempts=table.c.attempts + 1,
        )
        .returning(table)
    )


@functools.cache
def _earliest(among: tuple[sa.Table, ...]) -> transaction.Query:
    # The condition names the index: SQLite would read the whole table for its lowest value.
    earliest = [
        sa.select(sa.func.min(table.c.due_at)).where(table.c.due_at.isnot(None)).scalar_subquery()
        for table in among
    ]
    return sa.select(_moment("now_ms"), *earliest)


def _moment(name: str) -> clock.Moment:
    return clock.Moment(transaction.hole(name, type_=sa.BigInteger))


def _key(table: sa.Table) -> sa.Column[Any]:
    return next(iter(table.primary_key.columns))
