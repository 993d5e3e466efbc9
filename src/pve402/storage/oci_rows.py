"""Queries about the files of OCI images: one row for each node and volume."""

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from pve402.domain import oci_files
from pve402.storage import database, queue, tables, transaction, updates

DUE: Final = queue.DueRows(tables.oci_files)

_rows = tables.oci_files
_State = oci_files.State


async def list_all(tx: transaction.Transaction) -> list[oci_files.OciFile]:
    """Return all files, by volume and node."""
    found = await tx.execute(sa.select(_rows).order_by(_rows.c.volume, _rows.c.node))
    return [oci_files.OciFile.from_row(row) for row in transaction.named(found)]


async def has_any(tx: transaction.Transaction) -> bool:
    """Return whether there are files."""
    return await tx.scalar(sa.select(_rows.c.file_id).limit(1)) is not None


async def want(
    db: database.Database, tx: transaction.Transaction, node: str, volume: str, reference: str
) -> None:
    """Write that a node is to have a file, unless it is written; due at once."""
    dialect = sqlite if db.is_sqlite else postgresql
    named = {"file_id": oci_files.file_id(node, volume), "node": node, "volume": volume}
    begun = {"state": _State.WANTED.value, "failures": 0, "attempts": 0}
    query = dialect.insert(_rows).values(
        reference=reference, created_at=db.now(), due_at=db.now(), **named, **begun
    )
    await tx.execute(query.on_conflict_do_nothing())


async def forget(tx: transaction.Transaction, file_ids: Sequence[str]) -> None:
    """Delete rows of files that no image names any more; who works on one loses its fence."""
    await tx.execute(_rows.delete().where(_rows.c.file_id.in_(file_ids)))


async def look_again(
    db: database.Database, tx: transaction.Transaction, row: oci_files.OciFile
) -> bool:
    """Have a file looked at anew, unless somebody works on it; return whether it is now due."""
    values = {"state": _State.WANTED.value, "due_at": db.now(), "attempts": 0}
    where = {"file_id": row.file_id, "state": row.state.value, "fence": None}
    return transaction.only(await updates.update(tx, _rows, where, values)) is not None


async def try_again(db: database.Database, tx: transaction.Transaction, volume: str) -> int:
    """Forget what is known of a file on all nodes, and have it looked for; return of how many.

    A worker that holds one of the rows loses its fence.
    """
    afresh = dict.fromkeys(("seen", "verdict", "tried_at", "problem", "fence", "last_error"))
    values = {"state": _State.WANTED.value, "due_at": db.now(), "attempts": 0, "failures": 0}
    kept = _rows.c.state != _State.PULLING.value  # what Proxmox VE was asked for goes on
    changed = _rows.update().where(_rows.c.volume == volume, kept).values(**afresh, **values)
    return (await tx.execute(changed)).rowcount


async def is_pulled_elsewhere(
    db: database.Database, tx: transaction.Transaction, row: oci_files.OciFile
) -> bool:
    """Return whether another node is having the same volume pulled.

    One that was asked long ago counts no more: it may be down.
    """
    others = (_rows.c.volume == row.volume, _rows.c.file_id != row.file_id)
    pulling = (
        _rows.c.state == _State.PULLING.value,
        _rows.c.asked_at > db.now(-oci_files.LONGEST_PULL.total_seconds()),
    )
    return await tx.scalar(sa.select(_rows.c.file_id).where(*others, *pulling).limit(1)) is not None


async def write(
    tx: transaction.Transaction, row: oci_files.OciFile, **values: Any
) -> oci_files.OciFile:
    """Write values on a row that is still ours. Raises FenceLostError."""
    if "state" in values:
        values["state"] = values["state"].value
    written = await queue.update_fenced(tx, _rows, row.file_id, row.fence, **values)
    return oci_files.OciFile.from_row(written)
