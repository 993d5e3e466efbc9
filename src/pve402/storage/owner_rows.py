"""Which process owns a guest's terminal: one row per guest, with a time limit and an epoch.

The epoch grows with every change of owner and identifies a tenure: an owner renews and releases
only its own. Rows are never deleted, so that no epoch is ever reused.
"""

import dataclasses
from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from pve402.storage import clock, database, tables, transaction

_owners = tables.guest_owners
_NOBODY = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Owner:
    """Whose turn it is."""

    replica: str
    peer_url: str  # where its peers reach it; empty if they cannot
    epoch: int


async def claim(
    db: database.Database, tx: transaction.Transaction, guest: str, wish: Owner, hold_seconds: float
) -> Owner | None:
    """Become the owner unless another process still holds the guest; return the current owner.

    A row with our own address was left by a previous run of ours, since each address has only one
    process, and is taken over at once. None if the row changed in between: try again.
    """
    dialect = sqlite if db.is_sqlite else postgresql
    same = _owners.c.replica == wish.replica
    before = _owners.c.peer_url == wish.peer_url if wish.peer_url else sa.false()
    query = dialect.insert(_owners).values(
        guest=guest,
        replica=wish.replica,
        peer_url=wish.peer_url,
        epoch=1,
        held_until=db.now(hold_seconds),
    )
    taken = query.on_conflict_do_update(
        index_elements=[_owners.c.guest],
        set_={
            "replica": wish.replica,
            "peer_url": wish.peer_url,
            "epoch": _owners.c.epoch + sa.case((same, 0), else_=1),
            "held_until": db.now(hold_seconds),
        },
        where=sa.or_(same, before, _owners.c.held_until <= db.now()),
    ).returning(_owners.c.epoch)
    epoch = await tx.scalar(taken)
    if epoch is not None:
        return dataclasses.replace(wish, epoch=epoch)
    return await find(db, tx, guest)


async def find(db: database.Database, tx: transaction.Transaction, guest: str) -> Owner | None:
    """Return the current owner, None if its time limit has passed."""
    row = transaction.only(await tx.run(_FIND, guest=guest, now_ms=db.shift_ms()))
    if row is None:
        return None
    return Owner(replica=row["replica"], peer_url=row["peer_url"] or "", epoch=row["epoch"])


async def renew(
    db: database.Database,
    tx: transaction.Transaction,
    replica: str,
    tenures: Mapping[str, int],
    hold_seconds: float,
) -> frozenset[str]:
    """Extend our hold on guests, given with their epochs; return those that are still ours."""
    query = (
        _owners.update()
        .where(_owners.c.replica == replica, _owners.c.guest.in_(tenures))
        .values(held_until=db.now(hold_seconds))
        .returning(_owners.c.guest, _owners.c.epoch)
    )
    rows = (await tx.execute(query)).all()
    return frozenset(guest for guest, epoch in rows if tenures[guest] == epoch)


async def release(
    db: database.Database, tx: transaction.Transaction, guest: str, replica: str, epoch: int
) -> None:
    """Release a guest if the tenure is still ours."""
    await tx.execute(
        _owners.update()
        .where(_owners.c.guest == guest, _owners.c.replica == replica, _owners.c.epoch == epoch)
        .values(replica=_NOBODY, peer_url=_NOBODY, held_until=db.now(-1))
    )


_FIND = sa.select(_owners).where(
    _owners.c.guest == transaction.hole("guest"),
    _owners.c.held_until > clock.Moment(transaction.hole("now_ms", type_=sa.BigInteger)),
)
