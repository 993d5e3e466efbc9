"""Tells what happened to a lease or an order: payments, steps and Proxmox tasks, by time."""

import dataclasses
import json
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from pve402 import bootstrap
from pve402.domain import lease, order, price
from pve402.ops import screen
from pve402.payments import networks
from pve402.proxmox import errors as pve
from pve402.proxmox import tasks
from pve402.storage import lease_rows, tables

EXIT_UNKNOWN: Final = 1
_NEWEST_ORDERS: Final = 500
_CLOCKS_APART = timedelta(seconds=60)  # tasks are dated by their node, leases by the database
_orders = tables.orders.c


@dataclasses.dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened, or will."""

    at: datetime
    about: str
    what: str


@dataclasses.dataclass(kw_only=True)
class History:
    """All that is known of one lease and its orders."""

    row: lease.Lease | None
    orders: list[order.Order]
    past_tasks: tuple[tasks.PastTask, ...] = ()
    tasks_problem: str | None = None

    def events(self) -> list[Event]:
        """Everything with a time, the oldest first."""
        found = [event for paid in self.orders for event in _of_order(paid)]
        if self.row is not None:
            found += _of_lease(self.row)
        found += [_of_task(task) for task in self.past_tasks]
        return sorted(found, key=lambda event: event.at)


async def show(
    parts: bootstrap.Components, console: Console, *, subject: str, as_json: bool = False
) -> int:
    """Print what happened to a leaseId, an order's id or a transaction; 1 where there is none."""
    found = await _find(parts, subject)
    if found.row is None and not found.orders:
        sys.stderr.write("no lease, order or transaction with this name is known\n")
        return EXIT_UNKNOWN
    if found.row is not None:
        await _add_tasks(parts, found, found.row)
    if as_json:
        sys.stdout.write(json.dumps(_facts(found), indent=2) + "\n")
    else:
        _print(found, console)
    return 0


async def _find(parts: bootstrap.Components, subject: str) -> History:
    named = sa.or_(
        _orders.order_id == subject,
        _orders.lease_id == subject,
        _orders.transaction == subject.lower(),
    )
    async with parts.db.read() as tx:
        orders = await _list(tx, named)
        lease_id = next((paid.lease_id for paid in orders if paid.lease_id), subject)
        if subject != lease_id and orders:
            orders = await _list(tx, sa.or_(named, _orders.lease_id == lease_id))
        return History(row=await lease_rows.get(tx, lease_id), orders=orders)


async def _list(tx: Any, which: sa.ColumnElement[bool]) -> list[order.Order]:
    query = sa.select(tables.orders).where(which)
    newest = query.order_by(_orders.created_at.desc()).limit(_NEWEST_ORDERS)
    rows = (await tx.execute(newest)).mappings().all()
    return [order.Order.from_row(row) for row in reversed(rows)]


async def _add_tasks(parts: bootstrap.Components, found: History, row: lease.Lease) -> None:
    """Ask Proxmox VE for the guest's tasks; another lease may have had the same vmid before."""
    begin = row.created_at - _CLOCKS_APART
    end = (row.ended_at or await parts.db.time()) + _CLOCKS_APART
    try:
        listed = await tasks.Tasks(parts.proxmox).list_past(row.node, row.vmid)
    except pve.ProxmoxError as error:
        found.tasks_problem = str(error)
        return
    found.past_tasks = tuple(task for task in listed if begin <= task.upid.started_at <= end)


def _of_order(paid: order.Order) -> Iterator[Event]:
    about = f"order {paid.order_id}"
    sender = f", requested by {paid.client_address}" if paid.client_address else ""
    moments = (
        (paid.created_at, f"{_bought(paid)} claimed{sender}"),
        (paid.settling_at, "transfer requested"),
        (paid.settled_at, f"transfer is on chain: {paid.transaction}"),
        (paid.described_at, "the guest's description has the new end"),
    )
    for at, what in moments:
        if at is not None:
            yield Event(at=at, about=about, what=what)


def _of_lease(row: lease.Lease) -> Iterator[Event]:
    moments = (
        (row.created_at, f"reserved as {row.node}/{row.vmid}, {row.sku}"),
        (row.create_sent_at, "creation sent to Proxmox VE"),
        (row.pooled_at, "ready in the warm pool"),
        (row.expires_at, "expires"),
        (row.deletes_at, "may be destroyed"),
        (row.ended_at, f"over: {row.end_reason or 'no reason kept'}"),
    )
    for at, what in moments:
        if at is not None:
            yield Event(at=at, about=f"lease {row.lease_id}", what=what)


def _of_task(task: tasks.PastTask) -> Event:
    what = f"{task.upid.type}: {task.exitstatus or 'still running'} ({task.upid.text})"
    return Event(at=task.upid.started_at, about="task", what=what)


def _bought(paid: order.Order) -> str:
    chain = networks.BY_CAIP2.get(paid.network)
    amount = f"{paid.amount_atomic} atomic units on {paid.network}"
    if chain is not None:
        amount = f"{price.usd_of(paid.amount_atomic, chain.decimals)} USD on {chain.name}"
    minutes = f" of {paid.minutes} minutes" if paid.minutes else ""
    return f"{paid.kind.value}{minutes} for {amount} from {paid.payer}"


def _print(found: History, console: Console) -> None:
    table = Table("at (UTC)", "about", "what", box=None)
    for event in found.events():
        at = event.at.strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(at, event.about, screen.plain(event.what))
    screen.print_whole(console, table)
    for state in _states(found):
        words = [f"{name} {value}" for name, value in state.items() if value not in {None, ""}]
        console.print(screen.plain(", ".join(words)), soft_wrap=True)
    if found.tasks_problem:
        console.print(screen.plain(f"no tasks: {found.tasks_problem}"), soft_wrap=True)


def _states(found: History) -> Iterator[dict[str, str | int | None]]:
    for paid in found.orders:
        yield {
            "order": paid.order_id,
            "status": paid.status.value,
            "refusal": paid.refusal,
            "attempts": paid.attempts,
            "lastError": paid.last_error,
        }
    if found.row is not None:
        yield {
            "lease": found.row.lease_id,
            "status": found.row.status.value,
            "endReason": found.row.end_reason,
            "attempts": found.row.attempts,
            "lastError": found.row.last_error,
        }


def _facts(found: History) -> dict[str, Any]:
    events = [
        {"at": event.at.isoformat(), "about": event.about, "what": event.what}
        for event in found.events()
    ]
    return {"events": events, "states": list(_states(found)), "tasksProblem": found.tasks_problem}
