"""Scripts that run once in new guests: one row for each order that brought one."""

import secrets
from typing import Any, Final

import sqlalchemy as sa

from pve402.domain import user_data
from pve402.storage import database, queue, tables, transaction

DUE = queue.DueRows(tables.user_data)
SOON_SECONDS: Final = 15.0
"""How soon to look again at a script whose tenant asks, or whose guest is being made."""

_rows = tables.user_data
_orders = tables.orders


def bound_to(order_id: str, what: str) -> str:
    """Return what an order's `script` or `output` is sealed for."""
    return f"user data {what} {order_id}"


def new_exec_id() -> str:
    """Return a fresh id of a detached command."""
    return f"e{secrets.token_hex(12)}"


async def insert(
    db: database.Database,
    tx: transaction.Transaction,
    order_id: str,
    sealed_script: bytes,
    *,
    needs_network: bool,
) -> None:
    """Store an order's script. `wake` makes it due; it comes up by itself in case nobody does."""
    await tx.execute(
        _rows.insert().values(
            order_id=order_id,
            state=user_data.State.PENDING.value,
            needs_network=needs_network,
            sealed_script=sealed_script,
            created_at=db.now(),
            due_at=db.now(SOON_SECONDS),
            truncated=False,
            attempts=0,
        )
    )


async def remove(tx: transaction.Transaction, order_id: str) -> None:
    """Delete an order's script, and what became of it; whoever works on it loses the row."""
    await tx.execute(_rows.delete().where(_rows.c.order_id == order_id))


async def wake(db: database.Database, tx: transaction.Transaction, order_id: str) -> None:
    """Make an order's script due: its guest is handed over.

    A worker that holds the row has found no guest for it, and loses its fence.
    """
    pending = (_rows.c.order_id == order_id, _rows.c.state == user_data.State.PENDING.value)
    await tx.execute(_rows.update().where(*pending).values(due_at=db.now(), fence=None))


async def look_soon(db: database.Database, tx: transaction.Transaction, order_id: str) -> None:
    """Have a script looked at soon, because somebody asked, unless that will happen anyway."""
    soon = db.now(SOON_SECONDS)
    later = (_rows.c.order_id == order_id, _rows.c.fence.is_(None), _rows.c.due_at > soon)
    await tx.execute(_rows.update().where(*later).values(due_at=soon))


async def of_lease(tx: transaction.Transaction, lease_id: str) -> user_data.UserData | None:
    """Return the script that came with a lease; None without one."""
    found = transaction.only(await tx.run(_OF_LEASE, lease_id=lease_id))
    return None if found is None else user_data.UserData.from_row(found)


async def write(
    tx: transaction.Transaction, row: user_data.UserData, **values: Any
) -> user_data.UserData:
    """Write values on a row that is still ours. Raises FenceLostError."""
    if "state" in values:
        values["state"] = values["state"].value
    written = await queue.update_fenced(tx, _rows, row.order_id, row.fence, **values)
    return user_data.UserData.from_row(written)


async def wait(
    db: database.Database, tx: transaction.Transaction, row: user_data.UserData, seconds: float
) -> None:
    """Let a row that is still ours rest. Raises FenceLostError."""
    rest = {"due_at": db.now(seconds), "fence": None, "attempts": 0, "last_error": None}
    await queue.update_fenced(tx, _rows, row.order_id, row.fence, **rest)


async def forget_over(tx: transaction.Transaction) -> int:
    """Delete the rows of leases that are over, and return how many those were."""
    return (await tx.execute(_FORGET_OVER)).rowcount


_OF_LEASE = (
    sa.select(_rows)
    .join(_orders, _orders.c.order_id == _rows.c.order_id)
    .where(_orders.c.lease_id == transaction.hole("lease_id"))
)
_STANDS = sa.exists().where(
    _orders.c.order_id == _rows.c.order_id,
    tables.leases.c.lease_id == _orders.c.lease_id,
    tables.leases.c.ended_at.is_(None),
)
_FORGET_OVER = _rows.delete().where(~_STANDS)
