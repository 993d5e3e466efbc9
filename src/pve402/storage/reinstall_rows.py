"""The latest reinstallation of each lease; only who holds the lease's fence, or has just moved its
row in the same transaction, may write here.
"""

import dataclasses
from typing import Any

import sqlalchemy as sa

from pve402.domain import reinstalls
from pve402.storage import database, environment_rows, queue, tables, transaction, user_data_rows

_reinstalls = tables.reinstalls
_orders = tables.orders.c
FORGOTTEN = dict.fromkeys(("sealed_secrets", "sealed_env", "sealed_script"))
"""What a reinstallation writes at its end, whatever that is."""


async def get(tx: transaction.Transaction, lease_id: str) -> reinstalls.Reinstall | None:
    """Return the latest reinstallation of a lease."""
    row = transaction.only(await tx.run(_GET, lease_id=lease_id))
    return None if row is None else reinstalls.Reinstall.from_row(row)


async def unfinished(tx: transaction.Transaction, lease_id: str) -> reinstalls.Reinstall | None:
    """Return the reinstallation of a lease that is not over yet."""
    found = await get(tx, lease_id)
    return found if found is not None and found.is_unfinished else None


async def put(
    db: database.Database, tx: transaction.Transaction, new: reinstalls.Reinstall
) -> None:
    """Write a new reinstallation in the place of the one before."""
    await remove_of_lease(tx, new.lease_id)
    facts = {field.name: getattr(new, field.name) for field in dataclasses.fields(new)}
    facts |= {"state": new.state.value, "kept": dict(new.kept), "created_at": db.now()}
    await tx.execute(_reinstalls.insert().values(**facts))


async def update(
    tx: transaction.Transaction, one: reinstalls.Reinstall, **values: Any
) -> reinstalls.Reinstall:
    """Change one that is as it was read. Raises FenceLostError if it is not."""
    as_read = (
        _reinstalls.c.lease_id == one.lease_id,
        _reinstalls.c.reinstall_id == one.reinstall_id,
        _reinstalls.c.state == one.state.value,
    )
    query = _reinstalls.update().where(*as_read).values(**values).returning(_reinstalls)
    row = transaction.only(await tx.execute(query))
    if row is None:
        raise queue.FenceLostError
    return reinstalls.Reinstall.from_row(row)


async def hand_over(
    db: database.Database, tx: transaction.Transaction, one: reinstalls.Reinstall
) -> None:
    """Give the lease the new guest's variables and script; those of before go with its disk.

    Variables stay as they are if none were given.
    """
    if one.order_id is None:
        return
    if one.sealed_env is not None:
        await environment_rows.remove(tx, one.order_id)
        await environment_rows.insert(tx, one.order_id, one.sealed_env)
    await user_data_rows.remove(tx, one.order_id)
    if one.sealed_script is not None:
        needs_network = one.script_needs_network
        await user_data_rows.insert(
            db, tx, one.order_id, one.sealed_script, needs_network=needs_network
        )
        await user_data_rows.wake(db, tx, one.order_id)


async def order_of(tx: transaction.Transaction, lease_id: str) -> str | None:
    """Return the order that bought a lease; None of one that was rebuilt from its guest."""
    query = sa.select(_orders.order_id).where(
        _orders.lease_id == lease_id,
        _orders.kind == "creation",
        _orders.settled_at.isnot(None),
    )
    return (await tx.execute(query.order_by(_orders.created_at).limit(1))).scalar_one_or_none()


async def remove_of_lease(tx: transaction.Transaction, lease_id: str) -> None:
    """Forget the reinstallation of a lease."""
    if await get(tx, lease_id) is not None:
        await tx.execute(_reinstalls.delete().where(_reinstalls.c.lease_id == lease_id))


async def forget_over(tx: transaction.Transaction) -> None:
    """Delete the reinstallations of leases that are over: earlier versions leave them."""
    await tx.execute(_FORGET_OVER)


_STANDS = sa.exists().where(
    tables.leases.c.lease_id == _reinstalls.c.lease_id, tables.leases.c.ended_at.is_(None)
)
_FORGET_OVER = _reinstalls.delete().where(~_STANDS)
_GET = sa.select(_reinstalls).where(_reinstalls.c.lease_id == transaction.hole("lease_id"))
