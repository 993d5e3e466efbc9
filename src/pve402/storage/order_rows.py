"""Queries on the order table; the unique payment is the claim."""

import dataclasses
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from pve402.domain import order
from pve402.storage import database, tables, transaction

_orders = tables.orders
_OPEN = [status.value for status in order.OPEN]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unsettled:
    """How many creations wait for their money."""

    by_payer: int
    by_address: int
    in_all: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Failures:
    """How many settlements were refused lately, and when the last of their orders was made."""

    count: int
    last_at: datetime | None


async def get(tx: transaction.Transaction, order_id: str) -> order.Order | None:
    """Return the order of that identity."""
    return await _one(tx, _orders.c.order_id == order_id)


async def get_by_payment(
    tx: transaction.Transaction, *, network: str, asset: str, payer: str, nonce: str
) -> order.Order | None:
    """Return the order that a payment was claimed for."""
    return await _one(tx, *_pays(network, asset, payer, nonce))


async def record_transaction(
    tx: transaction.Transaction,
    *,
    network: str,
    asset: str,
    payer: str,
    nonce: str,
    transaction: str,
) -> None:
    """Keep the hash of the transaction that settles a payment, whoever works on its order."""
    query = _orders.update().where(*_pays(network, asset, payer, nonce))
    await tx.execute(query.values(transaction=transaction))


async def get_by_idempotency(
    tx: transaction.Transaction, idempotency_hash: str
) -> order.Order | None:
    """Return the order that a client named so."""
    return await _one(tx, _orders.c.idempotency_hash == idempotency_hash)


async def get_creation(tx: transaction.Transaction, lease_id: str) -> order.Order | None:
    """Return the order that made a lease."""
    return await _one(
        tx, _orders.c.lease_id == lease_id, _orders.c.kind == order.OrderKind.CREATION.value
    )


async def list_by_lease(tx: transaction.Transaction, lease_id: str) -> list[order.Order]:
    """Return every order of a lease, oldest first."""
    query = sa.select(_orders).where(_orders.c.lease_id == lease_id)
    rows = await tx.execute(query.order_by(_orders.c.created_at))
    return [order.Order.from_row(row) for row in rows.mappings()]


async def insert(
    db: database.Database,
    tx: transaction.Transaction,
    new: order.Order,
    *,
    fence: str | None,
    due_in_seconds: float,
) -> bool:
    """Claim the payment of a new order; False if the payment or the key was claimed before.

    The row is written with a fence for the process that starts on it at once, and falls due for
    any other after `due_in_seconds`.
    """
    values = {field.name: getattr(new, field.name) for field in dataclasses.fields(new)}
    values |= {
        "kind": new.kind.value,
        "status": new.status.value,
        "created_at": db.now(),
        "due_at": db.now(due_in_seconds),
        "fence": fence,
    }
    dialect = sqlite if db.is_sqlite else postgresql
    query = dialect.insert(_orders).values(values).on_conflict_do_nothing()
    return (await tx.execute(query)).rowcount == 1


async def count_unsettled(
    tx: transaction.Transaction, *, payer: str, client_address: str | None
) -> Unsettled:
    """Count open creations; an open order is always due some time, which has an index."""
    by_payer = sa.func.count(sa.case((_orders.c.payer == payer, 1)))
    by_address = sa.func.count(sa.case((_orders.c.client_address == client_address, 1)))
    query = sa.select(by_payer, by_address, sa.func.count()).where(
        _orders.c.due_at.isnot(None),
        _orders.c.kind == order.OrderKind.CREATION.value,
        _orders.c.status.in_(_OPEN),
    )
    row = (await tx.execute(query)).one()
    return Unsettled(by_payer=row[0], by_address=row[1], in_all=row[2])


async def count_failures(
    db: database.Database, tx: transaction.Transaction, *, payer: str, lease_id: str | None = None
) -> Failures:
    """Count the refused settlements of the last hour.

    Those of the payer count, and those of the lease to be renewed, whoever was to pay them.
    """
    whose = _orders.c.payer == payer
    if lease_id is not None:
        whose = sa.or_(whose, _orders.c.lease_id == lease_id)
    query = sa.select(sa.func.count(), sa.func.max(_orders.c.created_at)).where(
        whose,
        _orders.c.refusal == "settlement_refused",
        _orders.c.created_at > db.now(-3600),
    )
    row = (await tx.execute(query)).one()
    return Failures(count=row[0], last_at=row[1])


def wait_after_failures(failures: Failures, now: datetime) -> int:
    """Return the seconds to be waited: a minute after the first failure, then double."""
    if failures.last_at is None:
        return 0
    pause = timedelta(seconds=60 * 2 ** min(failures.count - 1, 6))
    left = failures.last_at + pause - now
    return max(0, int(left.total_seconds()) + 1) if left > timedelta(0) else 0


def _pays(network: str, asset: str, payer: str, nonce: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        _orders.c.network == network,
        _orders.c.asset == asset,
        _orders.c.payer == payer,
        _orders.c.nonce == nonce,
    )


async def _one(
    tx: transaction.Transaction, *conditions: sa.ColumnElement[bool]
) -> order.Order | None:
    row = (await tx.execute(sa.select(_orders).where(*conditions))).mappings().one_or_none()
    return None if row is None else order.Order.from_row(row)
