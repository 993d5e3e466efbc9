"""Due rows: each is taken by one worker at a time and guarded by a fence.

A row is due when `due_at` has passed. Taking it writes a fresh fence and moves `due_at` to the end
of the worker's time limit, so the row of a worker that dies falls due again. Every later update
names the fence; if no row matches, somebody else took over and the worker must stop.
"""

import dataclasses
import functools
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from pve402.storage import clock, column_types, database, transaction, updates

Row = Mapping[Any, Any]


class FenceLostError(Exception):
    """Another worker, a renewal or the owner took over the row; nothing was written."""


def new_fence() -> str:
    """Return a fresh fence of 128 random bits."""
    return secrets.token_hex(16)


@dataclasses.dataclass(frozen=True)
class DueRows:
    """The rows of one table that need a worker."""

    table: sa.Table

    @property
    def name(self) -> str:
        """The table's name."""
        return self.table.name

    async def claim(
        self, db: database.Database, tx: transaction.Transaction, *, limit: int, hold_seconds: float
    ) -> Sequence[Row]:
        """Take up to `limit` due rows for `hold_seconds`, the longest due first, and return them.

        On PostgreSQL this skips rows that another transaction is taking; SQLite has only one
        writer.
        """
        found = await tx.run(
            _claiming(self.table),
            most=limit,
            now_ms=db.shift_ms(),
            until_ms=db.shift_ms(hold_seconds),
            new_fence=new_fence(),
        )
        return transaction.named(found)

    async def release_all(self, db: database.Database, tx: transaction.Transaction) -> None:
        """Make every held row due now; only safe for the sole process on the database."""
        columns = self.table.c
        held = sa.and_(columns.fence.isnot(None), columns.due_at.isnot(None))
        await tx.execute(self.table.update().where(held).values(fence=None, due_at=db.now()))

    async def keep(
        self,
        db: database.Database,
        tx: transaction.Transaction,
        held: Sequence[tuple[str, str]],
        hold_seconds: float,
    ) -> None:
        """Extend the time limit of rows still being worked on; `held` has (key, fence) pairs.

        One statement suffices: fences are random, so a fence matches no row but its own.
        """
        keys, fences = {row_key for row_key, _ in held}, {fence for _, fence in held}
        await tx.execute(
            self.table.update()
            .where(_key(self.table).in_(keys), self.table.c.fence.in_(fences))
            .values(due_at=db.now(hold_seconds))
        )

    async def postpone(
        self,
        db: database.Database,
        tx: transaction.Transaction,
        held: tuple[str, str],
        after_seconds: float | Sequence[float],
        reason: str,
    ) -> None:
        """Make a row, given by (key, fence), fall due again after a pause, and record why.

        A sequence of pauses is indexed by the row's attempts; the last pause repeats. Raises
        FenceLostError.
        """
        due: sa.ColumnElement[Any]
        if isinstance(after_seconds, Sequence):
            *pauses, longest = (db.now(seconds) for seconds in after_seconds)
            attempts = self.table.c.attempts
            due = sa.case(
                *[(attempts <= n, pause) for n, pause in enumerate(pauses)], else_=longest
            )
        else:
            due = db.now(after_seconds)
        values = {"due_at": due, "fence": None, "last_error": reason[:500]}
        await update_fenced(tx, self.table, *held, **values)

    async def give_back(
        self, db: database.Database, tx: transaction.Transaction, held: tuple[str, str]
    ) -> None:
        """Release a row, given by (key, fence), to other workers. Raises FenceLostError."""
        await update_fenced(tx, self.table, *held, due_at=db.now(), fence=None)


async def seconds_until_due(
    db: database.Database, tx: transaction.Transaction, among: Sequence[DueRows]
) -> float:
    """Return the seconds until the next row of these tables falls due; infinity if none will."""
    query = _earliest(tuple(rows.table for rows in among))
    found = await tx.run(query, now_ms=db.shift_ms())
    now, *dues = found.one()
    moments = [column_types.to_milliseconds(due) for due in dues if due is not None]
    return (min(moments) - now) / 1000 if moments else float("inf")


async def update_fenced(
    tx: transaction.Transaction,
    table: sa.Table,
    row_key: str,
    fence: str | None,
    /,
    *conditions: sa.ColumnElement[bool],
    **values: Any,
) -> Row:
    """Update a row that still has the fence and return the updated row.

    Raises FenceLostError if the fence or one of the conditions no longer matches.
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
    # The condition selects the index: without it SQLite reads the whole table for the minimum.
    earliest = [
        sa.select(sa.func.min(table.c.due_at)).where(table.c.due_at.isnot(None)).scalar_subquery()
        for table in among
    ]
    return sa.select(_moment("now_ms"), *earliest)


def _moment(name: str) -> clock.Moment:
    return clock.Moment(transaction.hole(name, type_=sa.BigInteger))


def _key(table: sa.Table) -> sa.Column[Any]:
    return next(iter(table.primary_key.columns))
