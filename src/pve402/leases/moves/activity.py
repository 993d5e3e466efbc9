"""Writes when leases were last in use, for those whose tenants have idle ones paused.

The state stays, and there is no guard. Whoever pauses an idle lease requires that nothing was
written here since. Rows are locked in one order, since several processes write several at once.
"""

from collections.abc import Collection

import sqlalchemy as sa

from pve402.domain import lease
from pve402.leases.moves import row_moves
from pve402.storage import database, lease_rows, tables, transaction

Transaction = transaction.Transaction

_leases = tables.leases


async def note_use(db: database.Database, tx: Transaction, row: lease.Lease) -> lease.Lease | None:
    """Any state, unchanged: the lease is in use. Returns it as it is; None if it is gone."""
    where = {"lease_id": row.lease_id}
    return await lease_rows.update(tx, where, row_moves.used_now(db, row))


async def note_uses(db: database.Database, tx: Transaction, lease_ids: Collection[str]) -> None:
    """Any state, unchanged: these leases are in use."""
    if lease_ids:
        await _note(db, tx, _leases.c.lease_id.in_(lease_ids))


async def note_uses_of_all(db: database.Database, tx: Transaction) -> None:
    """Any state, unchanged: any lease may have been in use until now."""
    await _note(db, tx, sa.and_(_leases.c.active_at.isnot(None), _leases.c.ended_at.is_(None)))


async def _note(db: database.Database, tx: Transaction, which: sa.ColumnElement[bool]) -> None:
    rows = sa.select(_leases.c.lease_id).where(which).order_by(_leases.c.lease_id)
    found = _leases.c.lease_id.in_(rows.with_for_update())
    await tx.execute(_leases.update().where(found).values(active_at=db.now()))
