"""Tells, before work is taken up, whether this installation's key opens what the database keeps.

An order that is open has its payment sealed, and is due some time. With another key nobody could
finish it: it would neither be settled nor refused, and its guest would stand until somebody
noticed.
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
"""The newest sealed payment. The index of what is due holds it, however many orders there were."""


async def opens_what_is_kept(db: database.Database, secret_vault: vault.Vault) -> bool:
    """Try the key on the newest sealed payment; true if there is none."""
    async with db.read() as tx:
        found = (await tx.execute(NEWEST)).one_or_none()
    if found is None:
        return True
    try:
        secret_vault.unseal(found.sealed_payment, found.order_id)
    except vault.SealBrokenError:
        return False
    return True
