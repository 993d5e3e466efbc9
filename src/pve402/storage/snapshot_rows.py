"""Snapshots of guests: a row is written before Proxmox is asked, and goes after it is gone there.

Only who has moved the lease's row in the same transaction, or holds its fence, may write here, so
no two processes change the snapshots of a lease at once. But the task of a call that was sent is
noted by who sent it, even if the lease was taken over meanwhile: then nobody need wait for it.
"""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from pve402.domain import lease, snapshots
from pve402.storage import database, queue, tables, transaction

_snapshots = tables.snapshots
_leases = tables.leases.c


async def of_lease(tx: transaction.Transaction, lease_id: str) -> list[snapshots.Snapshot]:
    """Return the snapshots of a lease, oldest first."""
    return [
        snapshots.Snapshot.from_row(row)
        for row in transaction.named(await tx.run(_OF_LEASE, lease_id=lease_id))
    ]


async def get(tx: transaction.Transaction, lease_id: str, name: str) -> snapshots.Snapshot | None:
    """Return the snapshot of a lease that its tenant named so."""
    found = await of_lease(tx, lease_id)
    return next((one for one in found if one.name == name), None)


async def get_by_pve_name(
    tx: transaction.Transaction, lease_id: str, pve_name: str
) -> snapshots.Snapshot | None:
    """Return the snapshot of a lease that Proxmox VE knows by this name."""
    found = await of_lease(tx, lease_id)
    return next((one for one in found if one.pve_name == pve_name), None)


async def insert(
    db: database.Database, tx: transaction.Transaction, lease_id: str, name: str, **burning: Any
) -> str:
    """Write a snapshot that is to be taken; one of that name that failed gives way.

    Returns its name on Proxmox VE.
    """
    failed = (_snapshots.c.name == name, _snapshots.c.state == snapshots.State.FAILED.value)
    await tx.execute(_snapshots.delete().where(_snapshots.c.lease_id == lease_id, *failed))
    pve_name = snapshots.new_pve_name()
    values = {
        "pve_name": pve_name,
        "lease_id": lease_id,
        "name": name,
        "state": snapshots.State.TAKING.value,
    }
    await tx.execute(_snapshots.insert().values(**values, **burning, created_at=db.now()))
    return pve_name


async def remove_failed(tx: transaction.Transaction, lease_id: str) -> None:
    """Delete those of a lease that failed before, so that their number has a bound."""
    failed = _snapshots.c.state == snapshots.State.FAILED.value
    await tx.execute(_snapshots.delete().where(_snapshots.c.lease_id == lease_id, failed))


async def update(
    tx: transaction.Transaction, one: snapshots.Snapshot, **values: Any
) -> snapshots.Snapshot:
    """Change a snapshot that is as it was read. Raises FenceLostError if it is not."""
    as_read = (_snapshots.c.pve_name == one.pve_name, _snapshots.c.state == one.state.value)
    query = _snapshots.update().where(*as_read).values(**values).returning(_snapshots)
    row = transaction.only(await tx.execute(query))
    if row is None:
        raise queue.FenceLostError
    return snapshots.Snapshot.from_row(row)


async def note_task(
    tx: transaction.Transaction, one: snapshots.Snapshot, upid: str
) -> snapshots.Snapshot:
    """Note the task of the call that was noted last. Raises FenceLostError if that is another."""
    as_read = (_snapshots.c.pve_name == one.pve_name, _snapshots.c.asked_at == one.asked_at)
    query = _snapshots.update().where(*as_read).values(upid=upid).returning(_snapshots)
    row = transaction.only(await tx.execute(query))
    if row is None:
        raise queue.FenceLostError
    return snapshots.Snapshot.from_row(row)


async def remove(tx: transaction.Transaction, one: snapshots.Snapshot) -> None:
    """Delete the row of a snapshot that is gone on Proxmox."""
    await tx.execute(_snapshots.delete().where(_snapshots.c.pve_name == one.pve_name))


async def remove_of_lease(tx: transaction.Transaction, lease_id: str) -> None:
    """Delete the snapshots of a lease whose guest is gone, and they with it."""
    if transaction.named(await tx.run(_OF_LEASE, lease_id=lease_id)):
        await tx.execute(_snapshots.delete().where(_snapshots.c.lease_id == lease_id))


async def hold(
    tx: transaction.Transaction, lease_id: str, since: datetime, until: datetime
) -> None:
    """Move when snapshots of a lease began to burn, by time since then in which nothing burnt."""
    for one in await of_lease(tx, lease_id):
        began = one.burns_since
        if began is not None and until > max(since, began):
            await update(tx, one, burns_since=began + (until - max(since, began)))


async def check_fence(tx: transaction.Transaction, row: lease.Lease) -> None:
    """Raise FenceLostError unless the lease is still the caller's; it stays so for `tx`."""
    ours = (_leases.lease_id == row.lease_id, _leases.fence == row.fence)
    query = sa.select(sa.true()).where(*ours).with_for_update(read=True)
    if (await tx.execute(query)).first() is None:
        raise queue.FenceLostError


_OF_LEASE = (
    sa.select(_snapshots)
    .where(_snapshots.c.lease_id == transaction.hole("lease_id"))
    .order_by(_snapshots.c.created_at, _snapshots.c.name)
)
