"""What wallets, client addresses and all new wallets take up at this moment."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import base

from pve402.domain import lease, quota
from pve402.storage import database, lease_rows, order_rows, tables, transaction

_leases, _orders = tables.leases.c, tables.orders.c
_ADDRESS_CHARACTERS = 42  # at the end of an account: 0x and 20 bytes in hex
_SUMMED = ("cores", "memory_mb", "disk_gb", "address_count")


async def of_owners(tx: transaction.Transaction, owners: Sequence[str]) -> quota.Usage:
    """Return what the standing leases of some accounts take up."""
    return await _usage(tx, _leases.owner.in_(owners))


async def of_address(tx: transaction.Transaction, client_address: str) -> quota.Usage:
    """Return what the standing leases bought from a client address take up."""
    return await _usage(tx, _leases.client_address == client_address)


async def of_new_wallets(
    db: database.Database,
    tx: transaction.Transaction,
    new_for_seconds: float,
    networks: Sequence[str] = (),
) -> quota.Usage:
    """Return what the standing leases of all new wallets together take up.

    A wallet that is known on one of `networks` (CAIP-2) is new on none of them.
    """
    is_owned = _leases.owner.notin_((lease.NOBODY, lease.DOCTOR, lease.IMAGE))
    is_leased = sa.and_(is_owned, ~lease_rows.IS_PRIVATE_IMAGE)
    return await _usage(tx, is_leased, _is_of_new_wallet(db, new_for_seconds, networks))


async def unsettled_of_new_wallets(
    db: database.Database,
    tx: transaction.Transaction,
    new_for_seconds: float,
    stuck_seconds: float,
    networks: Sequence[str] = (),
) -> int:
    """Count the open creations of new wallets that are not paid.

    Those that have been settling for longer than `stuck_seconds` do not count.
    """
    is_stuck = sa.type_coerce(_orders.settling_at, sa.BigInteger) <= db.now(-stuck_seconds)
    query = (
        sa.select(sa.func.count())
        .where(_leases.lease_id == _orders.lease_id)
        .where(*order_rows.UNSETTLED, sa.or_(_orders.settling_at.is_(None), ~is_stuck))
        .where(_is_of_new_wallet(db, new_for_seconds, networks))
    )
    return await tx.scalar(query) or 0


async def is_new_wallet(
    db: database.Database,
    tx: transaction.Transaction,
    owners: Sequence[str],
    new_for_seconds: float,
) -> bool:
    """Return whether none of these accounts was handed a lease before that many seconds ago."""
    sold = _was_sold_before(db, _leases, new_for_seconds)
    query = sa.select(_leases.lease_id).where(_leases.owner.in_(owners), *sold).limit(1)
    return await tx.scalar(query) is None


def _is_of_new_wallet(
    db: database.Database, new_for_seconds: float, networks: Sequence[str]
) -> sa.ColumnElement[bool]:
    known = lease_rows.OTHERS.c
    before = _was_sold_before(db, known, new_for_seconds)
    begins = sa.func.length(_leases.owner) - (_ADDRESS_CHARACTERS - 1)
    address = sa.func.substr(_leases.owner, begins, type_=sa.String)
    elsewhere = (sa.literal(f"{network}:").concat(address) for network in networks)
    return ~sa.exists().where(known.owner.in_((_leases.owner, *elsewhere)), *before)


def _was_sold_before(
    db: database.Database, leases: base.ReadOnlyColumnCollection[str, Any], seconds: float
) -> tuple[sa.ColumnElement[bool], ...]:
    created = sa.type_coerce(leases.created_at, sa.BigInteger)
    return (created <= db.now(-seconds), leases.expires_at.isnot(None))


async def _usage(tx: transaction.Transaction, *conditions: sa.ColumnElement[bool]) -> quota.Usage:
    sums = (sa.func.coalesce(sa.func.sum(_leases[name]), 0) for name in _SUMMED)
    query = sa.select(sa.func.count(), *sums).where(lease_rows.STANDS, *conditions)
    leases, cores, memory_mb, disk_gb, addresses = (await tx.execute(query)).one()
    return quota.Usage(
        leases=leases, cores=cores, memory_mb=memory_mb, disk_gb=disk_gb, addresses=addresses
    )
