"""The latest change of each lease's size; only who holds the lease's fence, or has just moved its
row in the same transaction, may write here.
"""

import dataclasses
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from pve402.domain import size_changes
from pve402.storage import database, queue, tables, transaction

_changes = tables.size_changes


async def get(tx: transaction.Transaction, lease_id: str) -> size_changes.SizeChange | None:
    """Return the latest change of a lease's size."""
    row = transaction.only(await tx.run(_GET, lease_id=lease_id))
    return None if row is None else size_changes.SizeChange.from_row(row)


async def unfinished(tx: transaction.Transaction, lease_id: str) -> size_changes.SizeChange | None:
    """Return the change of a lease's size that is not over yet."""
    found = await get(tx, lease_id)
    return found if found is not None and found.is_unfinished else None


async def put(
    db: database.Database, tx: transaction.Transaction, new: size_changes.SizeChange
) -> None:
    """Write a new change in the place of the one before."""
    await remove_of_lease(tx, new.lease_id)
    sizes = {
        f"{name}_{when}": getattr(size, name)
        for when, size in (("before", new.before), ("after", new.after))
        for name in size_changes.DIMENSIONS
    }
    facts = {field.name: getattr(new, field.name) for field in dataclasses.fields(new)}
    del facts["before"], facts["after"], facts["created_at"]
    facts |= {"state": new.state.value, "rates_after": dict(new.rates_after), "kept": {}}
    await tx.execute(_changes.insert().values(**facts, **sizes, created_at=db.now()))


async def update(
    tx: transaction.Transaction, one: size_changes.SizeChange, **values: Any
) -> size_changes.SizeChange:
    """Change one that is as it was read. Raises FenceLostError if it is not."""
    as_read = (
        _changes.c.lease_id == one.lease_id,
        _changes.c.state == one.state.value,
        _changes.c.created_at == one.created_at,
    )
    query = _changes.update().where(*as_read).values(**values).returning(_changes)
    row = transaction.only(await tx.execute(query))
    if row is None:
        raise queue.FenceLostError
    return size_changes.SizeChange.from_row(row)


async def hold(
    tx: transaction.Transaction, lease_id: str, since: datetime, until: datetime
) -> None:
    """Move an unfinished change by the time in between, in which the lease burnt nothing."""
    one = await unfinished(tx, lease_id)
    if one is None:
        return
    moved = one.held(max(timedelta(0), until - since))
    await update(tx, one, since=moved.since, began_at=moved.began_at)


async def remove_of_lease(tx: transaction.Transaction, lease_id: str) -> None:
    """Forget the change of a lease."""
    if await get(tx, lease_id) is not None:
        await tx.execute(_changes.delete().where(_changes.c.lease_id == lease_id))


_GET = sa.select(_changes).where(_changes.c.lease_id == transaction.hole("lease_id"))
