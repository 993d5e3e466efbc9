"""Which nodes' firewalls were seen to isolate a guest, by which program and version."""

import dataclasses
from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa

from pve402.storage import database, tables, transaction

_proofs = tables.proven_filters


@dataclasses.dataclass(frozen=True, kw_only=True)
class Proof:
    """What filtered when it was seen; the version is None if it could not be read."""

    program: str
    version: str | None
    proven_at: datetime


async def by_node(tx: transaction.Transaction) -> Mapping[str, Proof]:
    """Return the newest proof of each node that has one."""
    rows = transaction.named(await tx.execute(sa.select(_proofs)))
    return {
        row["node"]: Proof(
            program=row["program"], version=row["version"], proven_at=row["proven_at"]
        )
        for row in rows
    }


async def put(
    db: database.Database,
    tx: transaction.Transaction,
    node: str,
    *,
    program: str,
    version: str | None,
) -> None:
    """Write that a node's firewall was seen to isolate a guest, in place of what was there."""
    await remove(tx, node)
    values = {"node": node, "program": program, "version": version}
    await tx.execute(_proofs.insert().values(**values, proven_at=db.now()))


async def remove(tx: transaction.Transaction, node: str) -> None:
    """Forget a node's proof: a packet passed that should not have."""
    await tx.execute(_proofs.delete().where(_proofs.c.node == node))
