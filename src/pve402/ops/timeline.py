"""Puts what is known of a lease and its orders in the order of time."""

import dataclasses
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from pve402.domain import happening, lease, order, owed, price
from pve402.payments import networks
from pve402.proxmox import tasks
from pve402.storage import address_rows

_JUST_AFTER = timedelta(microseconds=1)
_TASK: Final = "task"
_WORDS: Final = {
    happening.Kind.MADE_ANEW: "made anew",
    happening.Kind.START: "start asked for",
    happening.Kind.STOP: "stop asked for",
    happening.Kind.REBOOT: "reboot asked for",
    happening.Kind.ROLLBACK: "rollback asked for",
    happening.Kind.SIZE: "another size asked for",
    happening.Kind.REINSTALL: "reinstallation asked for",
    happening.Kind.END: "end asked for",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened, or will."""

    at: datetime
    about: str
    what: str


@dataclasses.dataclass(kw_only=True)
class History:
    """All that is known of one order, its leases one after another, and their other orders."""

    leases: list[lease.Lease]
    orders: list[order.Order]
    happenings: list[happening.Happening]
    debts: list[owed.Owed]
    holdings: list[address_rows.Holding]
    past_tasks: tuple[tasks.PastTask, ...] = ()
    tasks_problem: str | None = None

    def events(self) -> list[Event]:
        """Everything with a time, the oldest first."""
        found = [event for paid in self.orders for event in _of_order(paid)]
        found += [event for debt in self.debts for event in _of_debt(debt)]
        found += [event for row in self.leases for event in _of_lease(row)]
        found += [event for held in self.holdings for event in _of_holding(held)]
        found += self._suspensions()
        found += [_of_happening(one) for one in self.happenings]
        found += [_of_task(task) for task in self.past_tasks]
        return sorted(found, key=self._place)

    def states(self) -> Iterator[dict[str, str | int | None]]:
        """How everything stands now."""
        return _states(self)

    def _suspensions(self) -> Iterator[Event]:
        """Tell of suspensions that were not written down, such as those of a rebuilt lease."""
        kind = happening.Kind.SUSPENDED
        told = {one.lease_id for one in self.happenings if one.kind is kind}
        for row in self.leases:
            if row.suspension is not None and row.lease_id not in told:
                what = f"{kind.value}: {row.suspension.reason}"
                yield Event(at=row.suspension.since, about=f"lease {row.lease_id}", what=what)

    def _place(self, event: Event) -> datetime:
        """When an event was; tasks know only the second, and follow the call that began them."""
        if event.about == _TASK:
            for row in self.leases:
                sent = row.create_sent_at
                if sent is not None and sent.replace(microsecond=0) == event.at:
                    return sent + _JUST_AFTER
        return event.at


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


def _of_debt(debt: owed.Owed) -> Iterator[Event]:
    about = f"debt {debt.owed_id}"
    amount = _amount(debt.network, debt.amount_atomic)
    yield Event(at=debt.created_at, about=about, what=f"{amount} is owed: {debt.reason.value}")
    if debt.closed_at is not None:
        paid = debt.paid_transaction
        what = "redeemed" if paid is None else f"paid back: {paid}"
        yield Event(at=debt.closed_at, about=about, what=what)


def _of_lease(row: lease.Lease) -> Iterator[Event]:
    moments = (
        (row.created_at, f"reserved as {row.node}/{row.vmid}, {row.sku}"),
        (row.create_sent_at, "creation sent to Proxmox VE"),
        (row.pooled_at, _made(row)),
        (row.rules_at, "its isolation rules stand"),
        (row.expires_at, "expires"),
        (row.deletes_at, "may be destroyed"),
        (row.ended_at, f"over: {row.end_reason or 'no reason kept'}"),
    )
    for at, what in moments:
        if at is not None:
            yield Event(at=at, about=f"lease {row.lease_id}", what=what)


def _made(row: lease.Lease) -> str:
    if row.forked_from is not None:
        return f"copied from {row.forked_from}"
    return "cloned" if row.base is not None else "ready to be handed over"


def _of_holding(held: address_rows.Holding) -> Iterator[Event]:
    about = f"lease {held.lease_id}"
    yield Event(at=held.taken_at, about=about, what=f"got the address {held.address}")
    if held.released_at is not None:
        yield Event(at=held.released_at, about=about, what=f"gave up the address {held.address}")


def _of_happening(one: happening.Happening) -> Event:
    of_lease = f"lease {one.lease_id}"
    is_of_order = one.kind is happening.Kind.REFUSED
    what = _WORDS.get(one.kind, one.kind.value)
    return Event(
        at=one.at,
        about=f"order {one.order_id}" if is_of_order else of_lease,
        what=f"{what}: {one.detail}" if one.detail else what,
    )


def _of_task(task: tasks.PastTask) -> Event:
    what = f"{task.upid.type}: {task.exitstatus or 'still running'} ({task.upid.text})"
    return Event(at=task.upid.started_at, about=_TASK, what=what)


def _bought(paid: order.Order) -> str:
    minutes = f" of {paid.minutes} minutes" if paid.minutes else ""
    source = f" out of debt {paid.owed_id}" if paid.owed_id else ""
    amount = _amount(paid.network, paid.amount_atomic)
    return f"{paid.kind.value}{minutes} for {amount} from {paid.payer}{source}"


def _amount(network: str, amount_atomic: int) -> str:
    chain = networks.BY_CAIP2.get(network)
    if chain is None:
        return f"{amount_atomic} atomic units on {network}"
    return f"{price.usd_of(amount_atomic, chain.decimals)} USD on {chain.name}"


def _states(found: History) -> Iterator[dict[str, str | int | None]]:
    for paid in found.orders:
        yield {
            "order": paid.order_id,
            "status": paid.status.value,
            "refusal": paid.refusal,
            "attempts": paid.attempts,
            "lastError": paid.last_error,
        }
    for debt in found.debts:
        yield {
            "debt": debt.owed_id,
            "status": debt.status.value if debt.closed_at is None else "closed",
            "left": _amount(debt.network, debt.left_atomic),
            "lastError": debt.last_error,
        }
    for row in found.leases:
        yield {
            "lease": row.lease_id,
            "status": row.status.value,
            "suspended": None if row.suspension is None else row.suspension.reason,
            "endReason": row.end_reason,
            "attempts": row.attempts,
            "lastError": row.last_error,
        }
