"""Nodes that the operator is emptying: nothing new is placed there."""

import sqlalchemy as sa

from pve402.storage import database, tables, transaction

_drained = tables.drained_nodes


async def names(tx: transaction.Transaction) -> frozenset[str]:
    """Return the drained nodes."""
    return frozenset((await tx.execute(sa.select(_drained.c.node))).scalars())


async def put(db: database.Database, tx: transaction.Transaction, node: str) -> bool:
    """Drain a node; return False if it is drained already."""
    if node in await names(tx):
        return False
    await tx.execute(_drained.insert().values(node=node, drained_at=db.now()))
    return True


async def remove(tx: transaction.Transaction, node: str) -> bool:
    """Use a node again; return whether it was drained."""
    query = _drained.delete().where(_drained.c.node == node).returning(_drained.c.node)
    return (await tx.execute(query)).one_or_none() is not None
