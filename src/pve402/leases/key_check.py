"""Checks at startup that this installation's key opens the secrets in the database.

An open order holds its payment sealed. With a different key nobody could finish the order: it
would be neither settled nor refused, and its guest would stay until somebody noticed.
"""

import sqlalchemy as sa

from pve402.storage import database, tables, vault

_orders = tables.orders

NEWEST = (
    sa.select(_orders.c.order_id, _orders.c.sealed_payment)
    .where(_orders.c.sealed_payment.isnot(None), _orders.c.due_at.isnot(None))
    .order_by(_orders.c.created_at.desc())
    .limit(1)
)
"""The newest sealed payment. The index of due rows finds it fast, however many orders exist."""


async def opens_what_is_kept(db: database.Database, secret_vault: vault.Vault) -> bool:
    """Return whether the key opens the newest sealed payment; True if there is none."""
    async with db.read() as tx:
        found = (await tx.execute(NEWEST)).one_or_none()
    if found is None:
        return True
    try:
        secret_vault.unseal(found.sealed_payment, found.order_id)
    except vault.SealBrokenError:
        return False
    return True
