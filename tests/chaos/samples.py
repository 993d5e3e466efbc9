"""A lease, its order, its money and its guest, all as they should be, and what can be wrong."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.chaos import evidence, keeping, running

from pve402.domain import lease, meter, order, owed, power, size_changes, snapshots

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ID = "l" + "0" * 25
_HAS: dict[str, Any] = {"snapshots": [], "size": [1, 128, 1]}
_HAS |= {"template": False, "volumes": [], "keyed": None}
MINUTE_SECONDS = 4.0
MINUTE = timedelta(minutes=1)
_ADDRESSES = {"network": "eip155:84532", "asset": "0xa", "pay_to": "0xb"}


def a_lease(**changes: Any) -> lease.Lease:
    """An active lease that ends after one minute."""
    facts: dict[str, Any] = {
        "lease_id": ID,
        "status": lease.LeaseStatus.ACTIVE,
        "node": "pve1",
        "vmid": 10_000,
        "owner": "eip155:84532:0x1",
        "sku": "standard-lxc",
        "size": lease.Size(cores=1, memory_mb=128, disk_gb=1),
        "hostname": "chaos",
        "template": "local:vztmpl/none",
        "rates": {},
        "created_at": NOW,
        "expires_at": NOW + timedelta(seconds=MINUTE_SECONDS),
        "balance": int(MINUTE_SECONDS * 1000),
        "burn": 1,
        "metered_at": NOW,
    }
    return lease.Lease(**{**facts, **changes})


LATE = {
    "metered_at": NOW + timedelta(seconds=1),
    "expires_at": NOW + timedelta(seconds=MINUTE_SECONDS + 1),
}
"""A meter that was looked at a second later, and took nothing off."""
AFTER = NOW + timedelta(seconds=MINUTE_SECONDS + 1)


def a_paused_lease(ends_at_ms: int | None = None) -> lease.Lease:
    """A lease that is paused, and whose row may tell another end than its meter has."""
    paused = meter.Meter(balance=90_000, burn=3, metered_at=NOW).paused(1, NOW, 10 * MINUTE)
    row = a_lease(**paused.facts, wanted=power.Wanted.STOPPED)
    if ends_at_ms is None:
        return row
    return row.evolve(expires_at=NOW + timedelta(milliseconds=ends_at_ms))


def an_order(**changes: Any) -> order.Order:
    """The settled order that made the lease."""
    facts: dict[str, Any] = {
        **_ADDRESSES,
        "order_id": "o1",
        "kind": order.OrderKind.CREATION,
        "status": order.OrderStatus.SETTLED,
        "lease_id": ID,
        "payer": "0x1",
        "nonce": "0x2",
        "amount_atomic": 10,
        "valid_before": NOW,
        "minutes": 1,
        "request_hash": "",
        "idempotency_hash": None,
        "created_at": NOW,
        "transaction": "0xt",
        "settled_at": NOW,
        "expires_at": NOW + timedelta(seconds=MINUTE_SECONDS),
        "final": True,
    }
    return order.Order(**{**facts, **changes})


def a_guest(**changes: Any) -> dict[str, Any]:
    """The lease's guest, which runs."""
    tags = f"lease-{ID};pve402-chaos"
    return {"vmid": 10_000, "tags": tags, "lock": "", "running": True, **_HAS, **changes}


def a_snapshot(**changes: Any) -> snapshots.Snapshot:
    """A snapshot of the lease's guest that its table says is there."""
    facts = {"lease_id": ID, "name": "kept", "pve_name": "pve402-a", "created_at": NOW}
    return snapshots.Snapshot(**{**facts, "state": snapshots.State.THERE, **changes})


def kept(*taken: snapshots.Snapshot) -> keeping.Kept:
    """What the tables say of snapshots."""
    return keeping.Kept(taken=taken)


def a_size_change(**changes: Any) -> size_changes.SizeChange:
    """A change of the lease's size that is not over."""
    size = lease.Size(cores=1, memory_mb=128, disk_gb=1)
    facts: dict[str, Any] = {"lease_id": ID, "created_at": NOW, "since": NOW, "rates_after": {}}
    facts |= {"before": size, "after": size, "burn_before": 1, "burn_after": 1}
    facts |= {"state": size_changes.State.CHANGING, "may_restart": False}
    return size_changes.SizeChange(**{**facts, **changes})


def findings(**changes: Any) -> evidence.Findings:
    """A lease, its order, its money and its guest, all as they should be."""
    paid = evidence.Transfer(transaction="0xt", payer="0x1", nonce="0x2", amount_atomic=10)
    facts: dict[str, Any] = {
        "transfers": [paid],
        "leases": [a_lease()],
        "orders": [an_order()],
        "guests": [a_guest()],
        "vmids": [{"vmid": 10_000}],
        "owed": [],
        "signed": [],
        "minute_seconds": MINUTE_SECONDS,
        "read_at": NOW + timedelta(seconds=99),
        "served": [(NOW - timedelta(seconds=9), NOW + timedelta(seconds=99))],
        "unpaid_seconds": 3.0,
    }
    return evidence.Findings(**{**facts, **changes})


def second_transfer() -> list[evidence.Transfer]:
    """The money, and more of it that nobody asked for."""
    paid = findings().transfers[0]
    return [paid, dataclasses.replace(paid, nonce="0x3", transaction="0xu")]


CARD = "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:01"


def a_run(**changes: Any) -> running.Run:
    """The guest runs from its payment to the end of its minute."""
    facts: dict[str, Any] = {
        "lease_id": ID,
        "began": NOW,
        "ended": NOW + timedelta(seconds=MINUTE_SECONDS),
        "block": 7,
    }
    return running.Run(**{**facts, **changes})


def a_wish(wanted: power.Wanted, asked: float, answered: float | None) -> running.Wish:
    """What a tenant asked for, so many seconds after its payment."""
    return running.Wish(
        lease_id=ID,
        wanted=wanted,
        asked_at=NOW + timedelta(seconds=asked),
        answered_at=None if answered is None else NOW + timedelta(seconds=answered),
    )


def stopped(**changes: Any) -> dict[str, Any]:
    """A lease whose tenant stopped it a second after it was paid, and what ran."""
    row = a_lease(wanted=power.Wanted.STOPPED, wanted_by=power.WantedBy.TENANT)
    runs = [a_run(ended=NOW + timedelta(seconds=1))]
    wishes = [a_wish(power.Wanted.STOPPED, 1, 2)]
    facts = {"leases": [row], "guests": [a_guest(running=False)], "runs": runs, "wishes": wishes}
    return {**facts, **changes}


STOPPED, RUNNING = power.Wanted.STOPPED, power.Wanted.RUNNING
LATER = a_run(began=NOW + timedelta(seconds=3))
EARLY = a_run(began=NOW - timedelta(seconds=9))
OWED: dict[str, Any] = {"status": order.OrderStatus.OWED, "expires_at": None}
REFUSED: dict[str, Any] = {"status": order.OrderStatus.REFUSED, "refusal": "create_failed"}
FAILED = a_lease(status=lease.LeaseStatus.FAILED, expires_at=None)


def a_debt(**changes: Any) -> owed.Owed:
    """What is owed for the order."""
    facts: dict[str, Any] = {
        "owed_id": "w1",
        "order_id": "o1",
        "reason": owed.OwedReason.PAID_LATE,
        "network": _ADDRESSES["network"],
        "asset": _ADDRESSES["asset"],
        "payer": "0x1",
        "amount_atomic": 10,
        "left_atomic": 10,
        "transaction": "0xt",
        "since": NOW,
        "created_at": NOW,
    }
    return owed.Owed(**{**facts, **changes})


def owing(*debts: owed.Owed, orders: tuple[order.Order, ...] = ()) -> dict[str, Any]:
    """An order that was paid and bought nothing."""
    return {"orders": [an_order(**OWED), *orders], "owed": debts, "leases": [FAILED], "guests": []}
