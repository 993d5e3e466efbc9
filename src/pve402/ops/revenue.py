"""Reports earnings from settled orders and their transactions."""

import csv
import dataclasses
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from pve402 import bootstrap
from pve402.domain import order, price
from pve402.ops import screen
from pve402.payments import networks
from pve402.storage import owed_rows, tables, transaction

NEWEST_ORDERS: Final = 50  # in a table, for people; programs get every order

_COLUMNS = ("settledAt", "kind", "leaseId", "minutes", "network", "payer", "amount", "transaction")
_orders = tables.orders.c


@dataclasses.dataclass(frozen=True, kw_only=True)
class Revenue:
    """What to show and how."""

    since_days: int
    output: str

    async def show(self, parts: bootstrap.Components, console: Console) -> int:
        """Print settled orders and totals (a table: only the newest); 2 for an unknown output."""
        if self.output not in {"table", "csv", "json"}:
            sys.stderr.write("--output must be table, csv or json\n")
            return 2
        settled = sa.and_(
            _orders.status == order.OrderStatus.SETTLED.value,
            _orders.settled_at > parts.db.now(-self.since_days * 86400),
        )
        async with parts.db.read() as tx:
            if self.output == "table":
                newest = await _list(tx, settled, newest=NEWEST_ORDERS)
                _print(newest, await _sum(tx, settled), console)
                _print_owed(await owed_rows.totals(tx), console)
            elif self.output == "csv":
                csv.writer(sys.stdout).writerows([_COLUMNS])
                csv.writer(sys.stdout).writerows(await _list(tx, settled))
            else:
                _write_json(await _list(tx, settled))
        return 0


@dataclasses.dataclass(kw_only=True)
class _Sum:
    """What one network earned."""

    orders: int = 0
    amount_atomic: int = 0


async def _list(
    tx: transaction.Transaction, settled: sa.ColumnElement[bool], *, newest: int | None = None
) -> Iterator[tuple[str, ...]]:
    """Return the rows to show, oldest first; with a limit, only that many of the newest."""
    query = sa.select(
        _orders.settled_at,
        _orders.kind,
        _orders.lease_id,
        _orders.minutes,
        _orders.network,
        _orders.payer,
        _orders.amount_atomic,
        _orders.parts,
        _orders.transaction,
    ).where(settled)
    ordered = query.order_by(_orders.settled_at.desc(), _orders.order_id).limit(newest)
    found = (await tx.execute(ordered)).all()
    return (_row(paid) for paid in reversed(found))


async def _sum(tx: transaction.Transaction, settled: sa.ColumnElement[bool]) -> dict[str, _Sum]:
    """Add up each network's orders.

    The database counts the orders of each amount, and we add them up here: it stores amounts as
    text, since they may exceed its integers.
    """
    key = (_orders.network, _orders.amount_atomic, _orders.parts)
    query = sa.select(*key, sa.func.count()).where(settled).group_by(*key)
    sums: dict[str, _Sum] = {}
    for network, amount_atomic, parts, count in (await tx.execute(query)).all():
        added = sums.setdefault(network, _Sum())
        added.orders += count
        added.amount_atomic += order.share_of(amount_atomic, parts) * count
    return sums


def _row(paid: sa.Row[Any]) -> tuple[str, ...]:
    chain = networks.BY_CAIP2[paid.network]
    amount = price.usd_of(order.share_of(paid.amount_atomic, paid.parts), chain.decimals)
    facts = (paid.settled_at.isoformat(), paid.kind, paid.lease_id or "", str(paid.minutes))
    return (*facts, chain.name, paid.payer, amount, paid.transaction or "")


def _print_owed(sums: Mapping[str, int], console: Console) -> None:
    """Print what was received and bought nothing; no part of it is in the totals."""
    for network, amount_atomic in sums.items():
        chain = networks.BY_CAIP2[network]
        total = price.usd_of(amount_atomic, chain.decimals)
        console.print(f"{chain.name}: {total} {chain.symbol} owed to tenants, not earned")


def _write_json(rows: Iterable[tuple[str, ...]]) -> None:
    """Write a JSON list, one order per line."""
    before = "[\n"
    for row in rows:
        sys.stdout.write(before + json.dumps(dict(zip(_COLUMNS, row, strict=True))))
        before = ",\n"
    sys.stdout.write("\n]\n" if before == ",\n" else "[]\n")


def _print(rows: Iterable[tuple[str, ...]], sums: dict[str, _Sum], console: Console) -> None:
    table = Table(*_COLUMNS, box=None)
    for row in rows:
        table.add_row(*row)
    if not sums:
        console.print("no order was settled in these days")
        return
    screen.print_whole(console, table)
    in_all = sum(one.orders for one in sums.values())
    if in_all > table.row_count:
        console.print(f"the newest {table.row_count} of {in_all} orders; --output csv has all")
    for network, one in sums.items():
        chain = networks.BY_CAIP2[network]
        total = price.usd_of(one.amount_atomic, chain.decimals)
        console.print(f"{chain.name}: {total} {chain.symbol} in {one.orders} orders")
