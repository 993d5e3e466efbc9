"""Queries on the order table; the unique payment is the claim."""

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from pve402.domain import order
from pve402.storage import clock, column_types, database, queue, tables, transaction, updates

_orders = tables.orders
DUE = queue.DueRows(tables.orders)
"""Orders that need a worker."""
_OPEN = [status.value for status in order.OPEN]
UNSETTLED = (
    _orders.c.due_at.isnot(None),
    _orders.c.settled_at.is_(None),
    _orders.c.kind == order.OrderKind.CREATION.value,
    sa.or_(*(_orders.c.status == status for status in _OPEN)),
)
"""Match the open creations that are not paid; open orders have a due time, which is indexed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unsettled:
    """How many creations are waiting for their settlement."""

    by_payer: int
    by_address: int
    in_all: int

    def with_more(self, count: int) -> "Unsettled":
        """Return the numbers if so many others waited, too."""
        return Unsettled(
            by_payer=self.by_payer + count,
            by_address=self.by_address + count,
            in_all=self.in_all + count,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Past:
    """What is known about a payment and its payer, and as of when."""

    claimed: bool
    """An order exists for the payment."""
    failures: int
    """How many settlements were refused recently."""
    last_failure_at: datetime | None
    """When the newest order with a refused settlement was created."""
    now: datetime
    """The database's time."""

    @property
    def wait_seconds(self) -> int:
        """How long the payer must wait: a minute after the first failure, doubling each time."""
        if self.last_failure_at is None:
            return 0
        pause = timedelta(seconds=60 * 2 ** min(self.failures - 1, 6))
        left = self.last_failure_at + pause - self.now
        return max(0, int(left.total_seconds()) + 1) if left > timedelta(0) else 0


async def get(tx: transaction.Transaction, order_id: str) -> order.Order | None:
    """Return the order with this id."""
    return _order(await tx.run(_GET, order_id=order_id))


async def list_parts(tx: transaction.Transaction, order_id: str) -> list[order.Order]:
    """Return the orders of the other leases that an order's payment buys, in their order."""
    query = sa.select(_orders).where(_orders.c.part_of == order_id).order_by(_orders.c.nonce)
    found = transaction.named(await tx.execute(query))
    return [order.Order.from_row(row) for row in found]


async def pay_parts(
    db: database.Database,
    tx: transaction.Transaction,
    order_id: str,
    values: Mapping[str, Any],
) -> None:
    """Note that an order's payment has paid for its parts.

    Parts that nobody is working on fall due; a worker that holds one reads the payment itself.
    """
    due = sa.case((_orders.c.fence.is_(None), db.now()), else_=_orders.c.due_at)
    parts = _orders.update().where(_orders.c.part_of == order_id, *UNSETTLED)
    await tx.execute(parts.values(**values, due_at=due))


async def take_over(
    db: database.Database, tx: transaction.Transaction, row: order.Order, hold_seconds: float
) -> order.Order:
    """Take an order from whoever works on it. Raises FenceLostError if it has changed."""
    where = {
        "order_id": row.order_id,
        "status": row.status.value,
        "lease_id": row.lease_id,
        "fence": row.fence,
    }
    ours = {"fence": queue.new_fence(), "due_at": db.now(hold_seconds)}
    taken = _order(await updates.update(tx, _orders, where, ours))
    if taken is None:
        raise queue.FenceLostError
    return taken


async def get_by_payment(
    tx: transaction.Transaction, *, network: str, asset: str, payer: str, nonce: str
) -> order.Order | None:
    """Return the order that claimed a payment."""
    found = await tx.run(_GET_BY_PAYMENT, network=network, asset=asset, payer=payer, nonce=nonce)
    return _order(found)


async def record_transaction(
    tx: transaction.Transaction,
    *,
    network: str,
    asset: str,
    payer: str,
    nonce: str,
    transaction: str,
) -> None:
    """Store the hash of the transaction that settles a payment, whoever holds its order."""
    paid_with = {"network": network, "asset": asset, "payer": payer, "nonce": nonce}
    await updates.update(tx, _orders, paid_with, {"transaction": transaction})


async def known_transactions(
    tx: transaction.Transaction, transactions: Sequence[str]
) -> frozenset[str]:
    """Return which of these transactions some order names; reads all orders."""
    if not transactions:
        return frozenset()
    named = sa.select(_orders.c.transaction).where(_orders.c.transaction.in_(transactions))
    return frozenset((await tx.execute(named)).scalars())


async def get_by_idempotency(
    tx: transaction.Transaction, idempotency_hash: str
) -> order.Order | None:
    """Return the order with this idempotency key."""
    return _order(await tx.run(_GET_BY_IDEMPOTENCY, idempotency_hash=idempotency_hash))


async def insert(
    db: database.Database,
    tx: transaction.Transaction,
    new: order.Order,
    *,
    fence: str | None,
    due_in_seconds: float,
) -> order.Order | None:
    """Insert a new order, which claims its payment, and return it.

    Returns None if the payment or the key is already claimed. The row carries the fence of the
    process that starts on it at once, and falls due for others after `due_in_seconds`.
    """
    values = {name: getattr(new, name) for name in _GIVEN}
    values |= {"kind": new.kind.value, "status": new.status.value, "fence": fence}
    insert = _INSERT[db.is_sqlite]
    written = await tx.run(
        insert, **values, now_ms=db.shift_ms(), due_ms=db.shift_ms(due_in_seconds)
    )
    return _order(written)


async def count_unsettled(
    db: database.Database,
    tx: transaction.Transaction,
    *,
    payer: str,
    client_address: str | None,
    stuck_seconds: float,
) -> Unsettled:
    """Count open creations that are not paid.

    Those that have been settling for longer than `stuck_seconds` count only towards their payer
    and address, not the total.
    """
    found = await tx.run(
        _COUNT_UNSETTLED,
        payer=payer,
        client_address=client_address,
        stuck_ms=db.shift_ms(-stuck_seconds),
    )
    by_payer, by_address, in_all = found.one()
    return Unsettled(by_payer=by_payer, by_address=by_address, in_all=in_all)


async def count_settled(
    tx: transaction.Transaction, *, network: str, asset: str, payer: str, most: int
) -> int:
    """Count the creations and renewals that a wallet paid for on a network, up to `most`.

    Looks at no more than 1,000 of its orders: placement waits meanwhile.
    """
    found = await tx.run(_COUNT_SETTLED, network=network, asset=asset, payer=payer)
    return min(int(found.scalar_one()), most)


async def look_back(
    db: database.Database,
    tx: transaction.Transaction,
    *,
    network: str,
    asset: str,
    payer: str,
    nonce: str,
    lease_id: str | None = None,
) -> Past:
    """Return the history of a payment: its own, and the refused settlements of the last hour.

    Counts refusals of the payer, and of the lease to be renewed, whoever paid.
    """
    found = await tx.run(
        _LOOK_BACK,
        network=network,
        asset=asset,
        payer=payer,
        nonce=nonce,
        lease_id=lease_id,
        since_ms=db.shift_ms(-3600),
        now_ms=db.shift_ms(),
    )
    claimed, failures, last_failure_at, now = found.one()
    return Past(claimed=bool(claimed), failures=failures, last_failure_at=last_failure_at, now=now)


def _order(found: transaction.Found) -> order.Order | None:
    row = transaction.only(found)
    return None if row is None else order.Order.from_row(row)


def _hole(name: str) -> sa.BindParameter[Any]:
    return transaction.hole(name, type_=_orders.c[name].type)


def _moment(name: str) -> clock.Moment:
    return clock.Moment(transaction.hole(name, type_=sa.BigInteger))


def _are(*names: str) -> list[sa.ColumnElement[bool]]:
    return [_orders.c[name] == _hole(name) for name in names]


def _get(*names: str) -> transaction.Query:
    return sa.select(_orders).where(*_are(*names))


def _inserting(dialect: Any) -> Any:
    made = {"created_at": _moment("now_ms"), "due_at": _moment("due_ms")}
    given = {name: _hole(name) for name in _GIVEN}
    claiming = dialect.insert(_orders).values({**given, **made}).on_conflict_do_nothing()
    return claiming.returning(_orders)


_GIVEN = tuple(
    field.name
    for field in dataclasses.fields(order.Order)
    if field.name not in {"created_at", "due_at"}
)
_INSERT = {True: _inserting(sqlite), False: _inserting(postgresql)}
_PAYMENT = ("network", "asset", "payer", "nonce")
_GET = _get("order_id")
_GET_BY_PAYMENT = _get(*_PAYMENT)
_GET_BY_IDEMPOTENCY = _get("idempotency_hash")
_COUNT_UNSETTLED = sa.select(
    sa.func.count(sa.case((_orders.c.payer == _hole("payer"), 1))),
    sa.func.count(sa.case((_orders.c.client_address == _hole("client_address"), 1))),
    sa.func.count(
        sa.case(
            (_orders.c.settling_at.is_(None), 1), (_orders.c.settling_at > _moment("stuck_ms"), 1)
        )
    ),
).where(*UNSETTLED)
# By the index of payments. That does not tell what settled, and fees and refusals pile up cheaply.
_looked_at = (
    sa.select(_orders.c.settled_at, _orders.c.kind)
    .where(*_are("network", "asset", "payer"))
    .limit(1000)
    .subquery()
)
_COUNT_SETTLED = (
    sa.select(sa.func.count())
    .select_from(_looked_at)
    .where(
        _looked_at.c.settled_at.isnot(None),
        _looked_at.c.kind != order.OrderKind.FEE.value,
    )
)
_claims = _orders.alias()


def _refused_of(name: str) -> sa.Select[Any]:
    return sa.select(_orders.c.order_id, _orders.c.created_at).where(
        *_are(name),
        # Literal, not a parameter: with one, the plan could not use the index of refused orders.
        _orders.c.refusal == sa.literal_column("'settlement_refused'"),
        _orders.c.created_at > _moment("since_ms"),
    )


# Two searches: with OR between them, SQLite reads every order that was ever refused.
_refused = sa.union(_refused_of("payer"), _refused_of("lease_id")).subquery()
_LOOK_BACK = sa.select(
    sa.exists(
        sa.select(_claims.c.order_id).where(*(_claims.c[name] == _hole(name) for name in _PAYMENT))
    ),
    sa.func.count(),
    sa.func.max(_refused.c.created_at),
    sa.type_coerce(_moment("now_ms"), column_types.UtcMilliseconds()),
).select_from(_refused)
