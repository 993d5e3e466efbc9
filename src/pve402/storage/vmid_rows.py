"""Reserved vmids: one lease each, handed out in rotation, not reused for a day."""

import sqlalchemy as sa

from pve402.domain import errors
from pve402.storage import clock, database, tables, transaction, updates

_vmids = tables.vmids
REST_SECONDS = 24 * 3600.0
"""How long a vmid stays unused after its guest is gone, so that nobody confuses old and new."""


async def reserve(
    db: database.Database, tx: transaction.Transaction, lease_id: str, *, least: int, most: int
) -> int:
    """Reserve the next free vmid of the range (ends included) after the newest one, for a lease.

    The caller holds the placement lock. Raises NoCapacity when every vmid is taken or resting.
    """
    await tx.run(_FORGET_RESTED, now_ms=db.shift_ms())
    last = (await tx.run(_NEWEST)).scalar()
    start = least if last is None or not least <= last < most else last + 1
    vmid = await _first_free(tx, start, most)
    if vmid is None:
        vmid = await _first_free(tx, least, start - 1)
    if vmid is None:
        raise errors.NoCapacity("every container number is in use, or was in use too recently")
    await take(db, tx, vmid, lease_id)
    return vmid


async def take(
    db: database.Database, tx: transaction.Transaction, vmid: int, lease_id: str
) -> None:
    """Record that a lease has this vmid."""
    await tx.run(_RESERVE, vmid=vmid, lease_id=lease_id, now_ms=db.shift_ms())


async def release(
    db: database.Database,
    tx: transaction.Transaction,
    vmid: int,
    lease_id: str,
    note: str | None = None,
) -> None:
    """Release a vmid after its rest period; a note says why it was given up (quarantine)."""
    values = {"free_at": db.now(REST_SECONDS), "note": note}
    await updates.update(tx, _vmids, {"vmid": vmid, "lease_id": lease_id}, values)


async def _first_free(tx: transaction.Transaction, least: int, most: int) -> int | None:
    if least > most:
        return None
    if (await tx.run(_GET, vmid=least)).scalar() is None:
        return least
    found: int | None = (await tx.run(_FIRST_GAP, least=least, most=most)).scalar()
    return found


_NOW = clock.Moment(transaction.hole("now_ms", type_=sa.BigInteger))
_FORGET_RESTED = _vmids.delete().where(_vmids.c.free_at <= _NOW)
_NEWEST = (
    sa.select(_vmids.c.vmid).order_by(_vmids.c.reserved_at.desc(), _vmids.c.vmid.desc()).limit(1)
)
_GET = sa.select(_vmids.c.vmid).where(_vmids.c.vmid == transaction.hole("vmid"))
_RESERVE = _vmids.insert().values(
    vmid=transaction.hole("vmid", type_=sa.Integer),
    lease_id=transaction.hole("lease_id", type_=sa.String),
    reserved_at=_NOW,
)
_FOLLOWING = _vmids.alias()
_FIRST_GAP = (
    sa.select(_vmids.c.vmid + 1)
    .where(_vmids.c.vmid >= transaction.hole("least"), _vmids.c.vmid < transaction.hole("most"))
    .where(~sa.select(_FOLLOWING.c.vmid).where(_FOLLOWING.c.vmid == _vmids.c.vmid + 1).exists())
    .order_by(_vmids.c.vmid)
    .limit(1)
)
