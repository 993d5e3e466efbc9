"""How many guests of leases a node makes, and for whom; their own rows say so.

A lease's row says whether it is being made, and that of its reinstallation whether it is made anew.
"""

import dataclasses

import sqlalchemy as sa

from pve402.domain import lease, reinstalls
from pve402.storage import clock, copy_rows, database, lease_rows, tables, transaction

_LOCK = 402_402_404
_columns, _reinstalls = tables.leases.c, tables.reinstalls.c
_CREATING, _RESERVED, _STARTING, _SETTLING, _UNWINDING = (
    lease.LeaseStatus.CREATING.value,
    lease.LeaseStatus.RESERVED.value,
    lease.LeaseStatus.STARTING.value,
    lease.LeaseStatus.SETTLING.value,
    lease.LeaseStatus.UNWINDING.value,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Others:
    """What a node makes, or is to make, besides a lease's guest."""

    making: int
    copies: int  # of those, the copies of tenants' disks
    own: int  # of those, what is of the lease's account and kind: a copy, or none
    own_before: int  # of that account and kind, what waits for longer than the lease
    accounts: int  # others for whom it makes a guest, or is to make one


async def lock_node(db: database.Database, tx: transaction.Transaction, node: str) -> None:
    """Let only one transaction at a time, across all replicas, count what a node makes.

    SQLite needs no lock: it has only one writer.
    """
    if not db.is_sqlite:
        key = sa.func.hashtext(node)
        await tx.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK, key)))


async def count_others(
    db: database.Database, tx: transaction.Transaction, row: lease.Lease, for_seconds: float
) -> Others:
    """Count other leases' guests on a lease's node.

    What was given up may still be made for so many seconds after it was asked for.
    """
    found = await tx.run(
        _COUNT_OTHERS,
        node=row.node,
        lease_id=row.lease_id,
        account=row.account,
        created_at=row.created_at,
        copies_disk=row.copies_disk,
        since_ms=db.shift_ms(-for_seconds),
    )
    return Others(**dict(zip(found.keys(), found.one(), strict=True)))


async def count_of_tenants(tx: transaction.Transaction) -> int:
    """Return how many guests tenants wait for: not yet made, not yet up, or not handed over."""
    count = sa.select(sa.func.count()).where(
        _columns.status.in_([_RESERVED, _CREATING, _STARTING, _SETTLING]),
        _columns.owner.notin_((lease.NOBODY, lease.IMAGE)),
        _columns.ended_at.is_(None),
    )
    return int((await tx.execute(count)).scalar_one())


def _number(name: str, *which: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.count(sa.case((sa.and_(*which), 1))).label(name)


def _counting() -> transaction.Query:
    status, asked_at = _columns.status, _columns.create_sent_at
    since = clock.Moment(transaction.hole("since_ms", type_=sa.BigInteger))
    waits = sa.and_(status == _RESERVED, asked_at.is_(None))
    is_made_anew = sa.exists().where(
        _reinstalls.lease_id == _columns.lease_id,
        _reinstalls.state == reinstalls.State.MAKING.value,
        _reinstalls.asked_at >= since,
    )
    is_made = sa.or_(
        status == _CREATING,
        sa.and_(status == _RESERVED, asked_at.isnot(None)),
        sa.and_(status == _UNWINDING, asked_at >= since),
        sa.and_(_columns.hold_order_id == lease.REINSTALL_HOLD, is_made_anew),
    )
    is_copy = sa.or_(copy_rows.IS_COPY, lease_rows.IS_PRIVATE_IMAGE)
    account = sa.func.replace(_columns.owner, lease.PRIVATE, "", type_=sa.String)
    is_own = account == transaction.hole("account", type_=sa.String)
    kind = sa.case((is_copy, sa.true()), else_=sa.false())
    is_same_kind = kind == transaction.hole("copies_disk", type_=sa.Boolean)
    is_before = _columns.created_at < transaction.hole("created_at", type_=_columns.created_at.type)
    others = sa.case(
        (sa.and_(~is_own, account.notin_((lease.NOBODY, lease.DOCTOR, lease.IMAGE))), account)
    )
    return sa.select(
        _number("making", is_made),
        _number("copies", is_made, is_copy),
        _number("own", is_made, is_own, is_same_kind),
        _number("own_before", waits, is_own, is_same_kind, is_before),
        sa.func.count(others.distinct()).label("accounts"),
    ).where(
        _columns.node == transaction.hole("node"),
        _columns.ended_at.is_(None),
        _columns.lease_id != transaction.hole("lease_id"),
        sa.or_(is_made, waits),
    )


_COUNT_OTHERS = _counting()
