"""What happened to leases and orders, written in the transaction that made it happen.

Kept for a year, and of one kind only the newest for each lease, so that nobody fills the table.
"""

from collections.abc import Collection

import sqlalchemy as sa

from pve402.domain import happening
from pve402.storage import database, tables, transaction

KEPT_SECONDS = 365 * 24 * 3600.0
MOST_OF_A_KIND = 100
"""Of one lease: a tenant who starts and stops pushes out no suspension."""
_DELETED_AT_ONCE = 100
_LONGEST_DETAIL = 500
_rows = tables.happenings.c


async def add(
    db: database.Database,
    tx: transaction.Transaction,
    kind: happening.Kind,
    detail: str = "",
    *,
    lease_id: str | None = None,
    order_id: str | None = None,
    vmid: int | None = None,
) -> None:
    """Write down what happened now. It takes several statements, so `single` will not do."""
    about = {"lease_id": lease_id, "order_id": order_id, "vmid": vmid}
    values = {"kind": kind.value, "detail": detail[:_LONGEST_DETAIL], **about}
    await tx.execute(tables.happenings.insert().values(at=db.now(), **values))
    await _delete(tx, _ids.where(_rows.at < db.now(-KEPT_SECONDS)).order_by(_rows.happening_id))
    if lease_id is not None:
        alike = _ids.where(_rows.lease_id == lease_id, _rows.kind == kind.value)
        newest = alike.order_by(_rows.happening_id.desc())
        await _delete(tx, newest.offset(MOST_OF_A_KIND))


async def list_about(
    tx: transaction.Transaction, lease_ids: Collection[str], order_ids: Collection[str]
) -> list[happening.Happening]:
    """Return what happened to any of these, oldest first."""
    about = sa.or_(_rows.lease_id.in_(lease_ids), _rows.order_id.in_(order_ids))
    query = sa.select(tables.happenings).where(about).order_by(_rows.happening_id)
    found = transaction.named(await tx.execute(query))
    return [
        happening.Happening(
            at=row["at"],
            kind=happening.Kind(row["kind"]),
            detail=row["detail"],
            lease_id=row["lease_id"],
            order_id=row["order_id"],
            vmid=row["vmid"],
        )
        for row in found
    ]


async def _delete(tx: transaction.Transaction, old: sa.Select[tuple[int]]) -> None:
    """Delete a few rows; those that another transaction deletes just now are left to it."""
    some = old.limit(_DELETED_AT_ONCE).with_for_update(skip_locked=True)
    await tx.execute(tables.happenings.delete().where(_rows.happening_id.in_(some)))


_ids = sa.select(_rows.happening_id)
