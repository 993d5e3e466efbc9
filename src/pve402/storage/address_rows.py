"""Addresses of our pools: one live holder each, and the history of who had them.

A partial unique index allows one live row for an address. Rows of ended leases stay as history:
who held the address from when to when, with the lease's owner and payment.
"""

import dataclasses
from collections.abc import Collection
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from pve402.storage import database, tables, transaction

_addresses = tables.addresses
_LIVE = _addresses.c.released_at.is_(None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Holding:
    """One lease's time with an address; times are aware UTC."""

    address: str
    network: str  # the name of its profile
    lease_id: str
    owner: str | None  # CAIP-10; None or empty for a guest of the warm pool
    transaction: str | None  # of the payment that bought the lease
    taken_at: datetime
    released_at: datetime | None  # None: it still has it


async def list_taken(db: database.Database, tx: transaction.Transaction) -> frozenset[str]:
    """Return the addresses that are held, or were freed too recently.

    Of all networks: an address has one holder, even if its pool moved to another profile meanwhile.
    """
    known = sa.select(_addresses.c.address)
    resting = known.where(_addresses.c.free_at > db.now())
    found = await tx.execute(sa.union_all(known.where(_LIVE), resting))
    return frozenset(found.scalars())


async def is_held(tx: transaction.Transaction, address: str) -> bool:
    """Return whether a lease has an address now."""
    query = sa.select(_addresses.c.holding_id).where(_LIVE, _addresses.c.address == address)
    return await tx.scalar(query.limit(1)) is not None


async def list_held(tx: transaction.Transaction) -> list[tuple[str, str]]:
    """Return the addresses that leases hold, each with the name of its network."""
    query = sa.select(_addresses.c.address, _addresses.c.network).where(_LIVE)
    return [(address, network) for address, network in await tx.execute(query)]


async def newest(tx: transaction.Transaction, network: str, version: int) -> str | None:
    """Return the address of a network's family that was taken last."""
    query = (
        sa.select(_addresses.c.address)
        .where(_addresses.c.network == network, _addresses.c.version == version)
        .order_by(_addresses.c.holding_id.desc())
        .limit(1)
    )
    found: str | None = (await tx.execute(query)).scalar()
    return found


async def take(
    db: database.Database,
    tx: transaction.Transaction,
    address: str,
    *,
    version: int,
    network: str,
    lease_id: str,
) -> None:
    """Record that a lease has an address now. Fails if another lease has it."""
    values = {"address": address, "version": version, "network": network, "lease_id": lease_id}
    await tx.execute(_addresses.insert().values(**values, taken_at=db.now()))


async def take_back(
    db: database.Database,
    tx: transaction.Transaction,
    address: str,
    *,
    version: int,
    network: str,
    lease_id: str,
) -> None:
    """Record that an existing guest has an address, whatever older rows say of it."""
    others = sa.and_(_LIVE, _addresses.c.address == address)
    given_up = {"released_at": db.now(), "free_at": db.now()}
    await tx.execute(_addresses.update().where(others).values(**given_up))
    await take(db, tx, address, version=version, network=network, lease_id=lease_id)


async def release(
    db: database.Database,
    tx: transaction.Transaction,
    lease_id: str,
    rest_seconds: float,
    *only: str,
) -> None:
    """Release what a lease holds, or only some; nobody gets it before its rest is over."""
    values = {"released_at": db.now(), "free_at": db.now(rest_seconds)}
    held = sa.and_(_LIVE, _addresses.c.lease_id == lease_id)
    if only:
        held = sa.and_(held, _addresses.c.address.in_(only))
    await tx.execute(_addresses.update().where(held).values(**values))


async def forget(
    db: database.Database, tx: transaction.Transaction, older_than_seconds: float
) -> None:
    """Delete the history of addresses whose rest ended longer ago than this."""
    await tx.execute(_addresses.delete().where(_addresses.c.free_at < db.now(-older_than_seconds)))


async def has_unrecorded(tx: transaction.Transaction, network: str) -> bool:
    """Return whether a lease that is not over has this network without a recorded address.

    Such leases are older than this table.
    """
    leases = tables.leases.c
    query = (
        sa.select(leases.lease_id)
        .where(leases.ended_at.is_(None), leases.network == network)
        .where(leases.addresses == sa.literal_column("'{}'"))
        .limit(1)
    )
    return (await tx.execute(query)).first() is not None


async def list_holdings(
    tx: transaction.Transaction, address: str, at: datetime | None = None
) -> list[Holding]:
    """Return who had an address, newest first; with a time, who had it then."""
    query = _holdings().where(_addresses.c.address == address)
    if at is not None:
        until = sa.or_(_LIVE, _addresses.c.released_at > at)
        query = query.where(_addresses.c.taken_at <= at, until)
    found = await tx.execute(query.order_by(_addresses.c.taken_at.desc()))
    return [Holding(**row) for row in transaction.named(found)]


async def list_of_leases(tx: transaction.Transaction, lease_ids: Collection[str]) -> list[Holding]:
    """Return which addresses these leases had, oldest first."""
    query = _holdings().where(_addresses.c.lease_id.in_(lease_ids))
    found = await tx.execute(query.order_by(_addresses.c.taken_at))
    return [Holding(**row) for row in transaction.named(found)]


def _holdings() -> sa.Select[Any]:
    leases, orders = tables.leases.c, tables.orders
    owner = (
        sa.select(leases.owner).where(leases.lease_id == _addresses.c.lease_id).scalar_subquery()
    )
    paid = (
        sa.select(orders.c.transaction)
        .where(orders.c.lease_id == _addresses.c.lease_id, orders.c.kind == "creation")
        .order_by(orders.c.created_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    return sa.select(
        *(_addresses.c[name] for name in ("address", "network", "lease_id")),
        owner.label("owner"),
        paid.label("transaction"),
        *(_addresses.c[name] for name in ("taken_at", "released_at")),
    )
