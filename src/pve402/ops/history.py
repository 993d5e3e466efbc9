"""Tells what happened to a lease or an order: payments, steps and Proxmox tasks, by time."""

import asyncio
import json
import re
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from rich.console import Console
from rich.table import Table

from pve402 import bootstrap
from pve402.domain import happening, lease, order, owed
from pve402.ops import screen, timeline
from pve402.proxmox import errors as pve
from pve402.proxmox import nodes, tasks
from pve402.storage import address_rows, happening_rows, lease_rows, owed_rows, tables, transaction

EXIT_UNKNOWN: Final = 1
_NEWEST_ORDERS: Final = 500
_NEWEST_GUESTS: Final = 20  # whose tasks are asked for
_ROUNDS: Final = 10  # an order may have had several leases, and each of them several orders
_ASKED_AT_ONCE: Final = 8
_CLOCKS_APART = timedelta(seconds=60)  # tasks are dated by their node, leases by the database
_CTID: Final = re.compile(r"[0-9]{1,9}")
_HASH: Final = re.compile(r"(?:0x)?([0-9a-f]{64})")
_orders = tables.orders.c
Stay = tuple[int, datetime, datetime | None]  # a vmid that a lease had, from when to when


async def show(
    parts: bootstrap.Components, console: Console, *, subject: str, as_json: bool = False
) -> int:
    """Print what happened to a lease, order, debt or transaction; 1 where there is none.

    A ctid is the lease that has it, or the last one that had it.
    """
    found = await _find(parts, subject)
    if not found.leases and not found.orders:
        sys.stderr.write("no lease, order, debt or transaction with this name is known\n")
        return EXIT_UNKNOWN
    await _add_tasks(parts, found)
    if as_json:
        sys.stdout.write(json.dumps(_facts(found), indent=2) + "\n")
    else:
        _print(found, console)
    return 0


async def _find(parts: bootstrap.Components, name: str) -> timeline.History:
    async with parts.db.read() as tx:
        subject = await _resolved(tx, name.strip())
        orders, happenings, lease_ids = await _follow(tx, subject)
        left = [await owed_rows.get_of_order(tx, paid.order_id) for paid in orders]
        debts = {debt.owed_id: debt for debt in left if debt is not None}
        orders += await _redemptions(tx, orders, [*debts])
        taken = [await owed_rows.get(tx, paid.owed_id) for paid in orders if paid.owed_id]
        debts |= {debt.owed_id: debt for debt in taken if debt is not None}
        holdings = await address_rows.list_of_leases(tx, lease_ids)
        leases = [await lease_rows.get(tx, lease_id) for lease_id in sorted(lease_ids)]
    return timeline.History(
        leases=sorted((row for row in leases if row is not None), key=lambda row: row.created_at),
        orders=orders,
        happenings=happenings,
        debts=[*debts.values()],
        holdings=holdings,
    )


async def _follow(
    tx: transaction.Transaction, subject: str
) -> tuple[list[order.Order], list[happening.Happening], set[str]]:
    """Go from a subject to its orders and leases, also to those given up on the way.

    The subject itself counts as a leaseId, as a lease may have no order.
    """
    lease_ids, order_ids = {subject}, {subject}
    for _ in range(_ROUNDS):
        known = len(lease_ids) + len(order_ids)
        named = sa.or_(
            _orders.order_id.in_(order_ids),
            _orders.lease_id.in_(lease_ids),
            _orders.transaction == subject,
        )
        orders = await _list(tx, named)
        order_ids |= {paid.order_id for paid in orders}
        happenings = await happening_rows.list_about(tx, lease_ids, order_ids)
        order_ids |= {one.order_id for one in happenings if one.order_id}
        lease_ids |= {paid.lease_id for paid in orders if paid.lease_id}
        lease_ids |= {one.lease_id for one in happenings if one.lease_id}
        if len(lease_ids) + len(order_ids) == known:
            break
    return orders, happenings, lease_ids


async def _redemptions(
    tx: transaction.Transaction, orders: list[order.Order], owed_ids: list[str]
) -> list[order.Order]:
    """Return the orders that redeem these debts, without those that are known."""
    if not owed_ids:
        return []
    known = {paid.order_id for paid in orders}
    found = await _list(tx, _orders.owed_id.in_(owed_ids))
    return [paid for paid in found if paid.order_id not in known]


async def _resolved(tx: transaction.Transaction, name: str) -> str:
    """Return the leaseId, order id or transaction that a name stands for, as it is stored."""
    if _CTID.fullmatch(name):
        leased = await lease_rows.get_by_vmid(tx, int(name))
        return name if leased is None else leased.lease_id
    if owed.is_owed_id(name):
        debt = await owed_rows.get(tx, name)
        return name if debt is None else debt.order_id
    hashed = _HASH.fullmatch(name.lower())
    if hashed is None:
        return name
    debt = await owed_rows.get_of_repayment(tx, f"0x{hashed[1]}")
    return f"0x{hashed[1]}" if debt is None else debt.order_id


async def _list(tx: Any, which: sa.ColumnElement[bool]) -> list[order.Order]:
    query = sa.select(tables.orders).where(which)
    newest = query.order_by(_orders.created_at.desc()).limit(_NEWEST_ORDERS)
    rows = (await tx.execute(newest)).mappings().all()
    return [order.Order.from_row(row) for row in reversed(rows)]


async def _add_tasks(parts: bootstrap.Components, found: timeline.History) -> None:
    """Ask every node for the tasks of every guest that the leases had.

    Guests move, and one that was given up had another vmid, perhaps on another node.
    """
    stays = _stays(found)[-_NEWEST_GUESTS:]
    if not stays:
        return
    now = await parts.db.time()
    try:
        listed = await nodes.Nodes(parts.proxmox).list()
    except pve.ProxmoxError as error:
        found.tasks_problem = str(error)
        return
    turns = asyncio.Semaphore(_ASKED_AT_ONCE)
    asking = [
        _tasks_of(parts, turns, node.node, stay, now)
        for node in listed
        if node.online
        for stay in stays
    ]
    answers = await asyncio.gather(*asking)
    found.past_tasks = tuple(
        {
            task.upid.text: task
            for answer in answers
            if not isinstance(answer, str)
            for task in answer
        }.values()
    )
    problems = {answer for answer in answers if isinstance(answer, str)}
    problems |= {f"{node.node}: it is offline" for node in listed if not node.online}
    found.tasks_problem = "; ".join(sorted(problems)) or None


async def _tasks_of(
    parts: bootstrap.Components, turns: asyncio.Semaphore, node: str, stay: Stay, now: datetime
) -> list[tasks.PastTask] | str:
    """Return a guest's tasks on a node, or why they are not known.

    Another lease may have had the same vmid before.
    """
    vmid, begin, end = stay
    async with turns:
        try:
            listed = await tasks.Tasks(parts.proxmox).list_past(node, vmid)
        except pve.ProxmoxError as error:
            return f"{node}: {error}"
    last = (end or now) + _CLOCKS_APART
    return [task for task in listed if begin - _CLOCKS_APART <= task.upid.started_at <= last]


def _stays(found: timeline.History) -> list[Stay]:
    """Return the vmids that the leases had, and when; the newest last."""
    stays = [stay for row in found.leases for stay in _stays_of(row, found.happenings)]
    return sorted(stays, key=lambda stay: stay[1])


def _stays_of(row: lease.Lease, happenings: list[happening.Happening]) -> Iterator[Stay]:
    begin = min(
        row.created_at, row.create_sent_at or row.created_at
    )  # a warm guest was made before
    for one in happenings:
        if one.lease_id == row.lease_id and one.vmid is not None:
            yield one.vmid, row.created_at, one.at
    yield row.vmid, begin, row.ended_at


def _print(found: timeline.History, console: Console) -> None:
    table = Table("at (UTC)", "about", "what", box=None)
    for event in found.events():
        at = event.at.strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(at, event.about, screen.plain(event.what))
    screen.print_whole(console, table)
    for state in found.states():
        words = [f"{name} {value}" for name, value in state.items() if value not in {None, ""}]
        console.print(screen.plain(", ".join(words)), soft_wrap=True)
    if found.tasks_problem:
        console.print(screen.plain(f"tasks are missing: {found.tasks_problem}"), soft_wrap=True)


def _facts(found: timeline.History) -> dict[str, Any]:
    events = [
        {"at": event.at.isoformat(), "about": event.about, "what": event.what}
        for event in found.events()
    ]
    return {"events": events, "states": list(found.states()), "tasksProblem": found.tasks_problem}
