"""Tells what was earned, from settled orders and their transactions."""

import csv
import dataclasses
import json
import sys
from collections import defaultdict
from collections.abc import Sequence

import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from pve402 import bootstrap
from pve402.domain import order, price
from pve402.ops import screen
from pve402.payments import networks
from pve402.storage import tables

_COLUMNS = ("settledAt", "kind", "leaseId", "minutes", "network", "payer", "amount", "transaction")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Revenue:
    """What to show and how."""

    since_days: int
    output: str

    async def show(self, parts: bootstrap.Components, console: Console) -> int:
        """Print the settled orders and the sum for each network; 2 for an unknown output."""
        async with parts.db.read() as tx:
            query = (
                sa.select(tables.orders)
                .where(tables.orders.c.status == order.OrderStatus.SETTLED.value)
                .where(tables.orders.c.settled_at > parts.db.now(-self.since_days * 86400))
                .order_by(tables.orders.c.settled_at)
            )
            found = [order.Order.from_row(row) for row in (await tx.execute(query)).mappings()]
        rows = [_row(paid) for paid in found]
        if self.output == "csv":
            writer = csv.writer(sys.stdout)
            writer.writerows([_COLUMNS, *rows])
        elif self.output == "json":
            records = [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
            sys.stdout.write(json.dumps(records, indent=2) + "\n")
        elif self.output == "table":
            _print(rows, found, console)
        else:
            sys.stderr.write("--output is table, csv or json\n")
            return 2
        return 0


def _row(paid: order.Order) -> tuple[str, ...]:
    settled = paid.settled_at.isoformat() if paid.settled_at else ""
    chain = networks.BY_CAIP2[paid.network]
    amount = price.usd_of(paid.amount_atomic, chain.decimals)
    facts = (settled, paid.kind.value, paid.lease_id or "", str(paid.minutes), chain.name)
    return (*facts, paid.payer, amount, paid.transaction or "")


def _print(rows: Sequence[tuple[str, ...]], found: list[order.Order], console: Console) -> None:
    table = Table(*_COLUMNS, box=None)
    for row in rows:
        table.add_row(*row)
    screen.print_whole(console, table)
    sums: dict[str, int] = defaultdict(int)
    for paid in found:
        sums[paid.network] += paid.amount_atomic
    for network, amount in sums.items():
        chain = networks.BY_CAIP2[network]
        total = price.usd_of(amount, chain.decimals)
        console.print(f"{chain.name}: {total} USDC in {len(found)} orders")
