"""The audit finds what the kill loop must never show."""

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.chaos import audit, keeping, payers, payments, rest, running

from pve402.domain import lease, meter, order, owed, power, size_changes, snapshots
from pve402_devnet.chain.contracts import Manner

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_ID = "l" + "0" * 25
_HAS: dict[str, Any] = {"snapshots": [], "size": [1, 128, 1]}
_MINUTE_SECONDS = 4.0
_MINUTE = timedelta(minutes=1)
_ADDRESSES = {"network": "eip155:84532", "asset": "0xa", "pay_to": "0xb"}


def a_lease(**changes: Any) -> lease.Lease:
    """An active lease that ends after one minute."""
    facts: dict[str, Any] = {
        "lease_id": _ID,
        "status": lease.LeaseStatus.ACTIVE,
        "node": "pve1",
        "vmid": 10_000,
        "owner": "eip155:84532:0x1",
        "sku": "standard-lxc",
        "size": lease.Size(cores=1, memory_mb=128, disk_gb=1),
        "hostname": "chaos",
        "template": "local:vztmpl/none",
        "rates": {},
        "created_at": _NOW,
        "expires_at": _NOW + timedelta(seconds=_MINUTE_SECONDS),
        "balance": int(_MINUTE_SECONDS * 1000),
        "burn": 1,
        "metered_at": _NOW,
    }
    return lease.Lease(**{**facts, **changes})


LATE = {
    "metered_at": _NOW + timedelta(seconds=1),
    "expires_at": _NOW + timedelta(seconds=_MINUTE_SECONDS + 1),
}
"""A meter that was looked at a second later, and took nothing off."""
AFTER = _NOW + timedelta(seconds=_MINUTE_SECONDS + 1)


def a_paused_lease(ends_at_ms: int | None = None) -> lease.Lease:
    """A lease that is paused, and whose row may tell another end than its meter has."""
    paused = meter.Meter(balance=90_000, burn=3, metered_at=_NOW).paused(1, _NOW, 10 * _MINUTE)
    row = a_lease(**paused.facts, wanted=power.Wanted.STOPPED)
    if ends_at_ms is None:
        return row
    return row.evolve(expires_at=_NOW + timedelta(milliseconds=ends_at_ms))


def an_order(**changes: Any) -> order.Order:
    """The settled order that made the lease."""
    facts: dict[str, Any] = {
        **_ADDRESSES,
        "order_id": "o1",
        "kind": order.OrderKind.CREATION,
        "status": order.OrderStatus.SETTLED,
        "lease_id": _ID,
        "payer": "0x1",
        "nonce": "0x2",
        "amount_atomic": 10,
        "valid_before": _NOW,
        "minutes": 1,
        "request_hash": "",
        "idempotency_hash": None,
        "created_at": _NOW,
        "transaction": "0xt",
        "settled_at": _NOW,
        "expires_at": _NOW + timedelta(seconds=_MINUTE_SECONDS),
        "final": True,
    }
    return order.Order(**{**facts, **changes})


def a_guest(**changes: Any) -> dict[str, Any]:
    """The lease's guest, which runs."""
    tags = f"lease-{_ID};pve402-chaos"
    return {"vmid": 10_000, "tags": tags, "lock": "", "running": True, **_HAS, **changes}


def a_snapshot(**changes: Any) -> snapshots.Snapshot:
    """A snapshot of the lease's guest that its table says is there."""
    facts = {"lease_id": _ID, "name": "kept", "pve_name": "pve402-a", "created_at": _NOW}
    return snapshots.Snapshot(**{**facts, "state": snapshots.State.THERE, **changes})


def kept(*taken: snapshots.Snapshot) -> keeping.Kept:
    """What the tables say of snapshots."""
    return keeping.Kept(taken=taken)


def a_size_change(**changes: Any) -> size_changes.SizeChange:
    """A change of the lease's size that is not over."""
    size = lease.Size(cores=1, memory_mb=128, disk_gb=1)
    facts: dict[str, Any] = {"lease_id": _ID, "created_at": _NOW, "since": _NOW, "rates_after": {}}
    facts |= {"before": size, "after": size, "burn_before": 1, "burn_after": 1}
    facts |= {"state": size_changes.State.CHANGING, "may_restart": False}
    return size_changes.SizeChange(**{**facts, **changes})


def findings(**changes: Any) -> audit.Findings:
    """A lease, its order, its money and its guest, all as they should be."""
    paid = audit.Transfer(transaction="0xt", payer="0x1", nonce="0x2", amount_atomic=10)
    facts: dict[str, Any] = {
        "transfers": [paid],
        "leases": [a_lease()],
        "orders": [an_order()],
        "guests": [a_guest()],
        "vmids": [{"vmid": 10_000}],
        "owed": [],
        "signed": [],
        "minute_seconds": _MINUTE_SECONDS,
        "served": [(_NOW - timedelta(seconds=9), _NOW + timedelta(seconds=99))],
        "unpaid_seconds": 3.0,
    }
    return audit.Findings(**{**facts, **changes})


def second_transfer() -> list[audit.Transfer]:
    """The money, and more of it that nobody asked for."""
    paid = findings().transfers[0]
    return [paid, dataclasses.replace(paid, nonce="0x3", transaction="0xu")]


_CARD = "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:01"


def a_run(**changes: Any) -> running.Run:
    """The guest runs from its payment to the end of its minute."""
    facts: dict[str, Any] = {
        "lease_id": _ID,
        "began": _NOW,
        "ended": _NOW + timedelta(seconds=_MINUTE_SECONDS),
        "block": 7,
    }
    return running.Run(**{**facts, **changes})


def a_wish(wanted: power.Wanted, asked: float, answered: float | None) -> running.Wish:
    """What a tenant asked for, so many seconds after its payment."""
    return running.Wish(
        lease_id=_ID,
        wanted=wanted,
        asked_at=_NOW + timedelta(seconds=asked),
        answered_at=None if answered is None else _NOW + timedelta(seconds=answered),
    )


def stopped(**changes: Any) -> dict[str, Any]:
    """A lease whose tenant stopped it a second after it was paid, and what ran."""
    row = a_lease(wanted=power.Wanted.STOPPED, wanted_by=power.WantedBy.TENANT)
    runs = [a_run(ended=_NOW + timedelta(seconds=1))]
    wishes = [a_wish(power.Wanted.STOPPED, 1, 2)]
    facts = {"leases": [row], "guests": [a_guest(running=False)], "runs": runs, "wishes": wishes}
    return {**facts, **changes}


STOPPED, RUNNING = power.Wanted.STOPPED, power.Wanted.RUNNING
LATER = a_run(began=_NOW + timedelta(seconds=3))
EARLY = a_run(began=_NOW - timedelta(seconds=9))
OWED: dict[str, Any] = {"status": order.OrderStatus.OWED, "expires_at": None}
REFUSED: dict[str, Any] = {"status": order.OrderStatus.REFUSED, "refusal": "create_failed"}
FAILED = a_lease(status=lease.LeaseStatus.FAILED, expires_at=None)


def test_what_came_out_right_is_no_violation() -> None:
    assert audit.violations(findings()) == []


def test_a_failed_creation_that_is_gone_and_not_charged_is_no_violation() -> None:
    of = findings(transfers=[], orders=[an_order(**REFUSED)], leases=[FAILED], guests=[])

    assert audit.violations(of) == []


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
        "since": _NOW,
        "created_at": _NOW,
    }
    return owed.Owed(**{**facts, **changes})


def owing(*debts: owed.Owed, orders: tuple[order.Order, ...] = ()) -> dict[str, Any]:
    """An order that was paid and bought nothing."""
    return {"orders": [an_order(**OWED), *orders], "owed": debts, "leases": [FAILED], "guests": []}


def test_what_is_owed_for_a_transfer_is_no_violation() -> None:
    assert audit.violations(findings(**owing(a_debt()))) == []


REDEEMED = an_order(order_id="o2", nonce="w1:o2", owed_id="w1", amount_atomic=4)


def test_a_redemption_needs_no_transfer() -> None:
    changes = owing(a_debt(left_atomic=6), orders=(REDEEMED,))
    changes |= {"leases": [a_lease()], "guests": [a_guest()]}

    assert audit.violations(findings(**changes)) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (owing(), "0 debts say so"),
        (owing(a_debt(amount_atomic=9, left_atomic=9)), "9 are owed"),
        (owing(a_debt(left_atomic=9)), "other left"),
        (owing(a_debt(holder_order_id="o2")), "is held by"),
        ({"owed": [a_debt()]}, "is not owed"),
        ({"transfers": []}, "settled without a transfer"),
        ({"transfers": second_transfer()}, "has no order"),
        ({"orders": [an_order(amount_atomic=9)]}, "was paid 10"),
        ({"orders": [an_order(transaction="0xz")]}, "another transaction"),
        ({"orders": [an_order(**REFUSED)]}, "was paid and is refused"),
        ({"orders": [an_order(), an_order(order_id="o2")]}, "paid 2 times"),
        ({"leases": []}, "which is not there"),
        ({"leases": [FAILED], "guests": []}, "paid and never handed over"),
        ({"orders": [an_order(minutes=2)]}, "too many or too few"),
        ({"leases": [a_lease(expires_at=_NOW)]}, "its orders say"),
        ({"leases": [a_lease(balance=1)]}, "its meter says"),
        ({"leases": [a_paused_lease(ends_at_ms=1)]}, "its meter says"),
        ({"leases": [a_paused_lease()]}, "more than was put in"),
        ({"leases": [a_lease(wakes=1, balance=0, expires_at=_NOW)]}, "more than it can"),
        ({"leases": [a_lease(wakes=1, **LATE)]}, "less than it can"),
        ({"leases": [a_lease(snapshot_burn=5)]}, "its snapshots are"),
        ({"leases": [a_lease(burn=2, balance=int(_MINUTE_SECONDS * 2000))]}, "burns 2, not 1"),
        ({"leases": [a_lease(burn=None)]}, "has no meter"),
        ({"guests": []}, "does not run"),
        ({"guests": [a_guest(running=False)]}, "does not run"),
        ({"guests": [a_guest(), a_guest(vmid=10_001)]}, "stands without a lease"),
        ({"leases": [a_lease(status=lease.LeaseStatus.STOPPED)]}, "its lease"),
        ({"leases": [a_lease(), a_lease(lease_id="l1")]}, "was used by 2 leases"),
        ({"vmids": []}, "does not rest"),
        ({"orders": [an_order(due_at=_NOW)]}, "is left settled"),
        ({"orders": [an_order(sealed_payment=b"x")]}, "still keeps its payment"),
        ({"leases": [a_lease(hold_order_id="o2")]}, "is held by"),
        ({"runs": [EARLY]}, "ran unpaid for 9.0 s"),
        ({"runs": [a_run(ended=_NOW + timedelta(seconds=13))]}, "ran unpaid for 9.0 s"),
        ({"runs": [a_run(lease_id="l1")]}, "ran unpaid for 4.0 s"),
        ({"runs": [a_run(marks=2)]}, "with the marks of 2 leases"),
        ({"runs": [a_run(size=(2, 128, 1))]}, "ran with (2, 128, 1), not (1, 128, 1)"),
        ({"runs": [a_run(card=_CARD), a_run(card=_CARD, lease_id="l1")]}, "was that of the leases"),
        ({"guests": [a_guest(snapshots=["pve402-a"])]}, "has no row"),
        ({"kept": kept(a_snapshot())}, "is not on Proxmox"),
        (
            {"kept": kept(a_snapshot(state=snapshots.State.DELETING))},
            "is left deleting",
        ),
        ({"leases": [FAILED], "kept": kept(a_snapshot())}, "outlived its lease"),
        ({"guests": [a_guest(size=[2, 128, 1])]}, "has [2, 128, 1], its lease"),
        ({"kept": keeping.Kept(changes=[a_size_change()])}, "is still being changed"),
        ({"runs": [a_run(shape="1, 128"), a_run(shape="2, 128")]}, "ran as 1, 128 and as 2, 128"),
        (stopped(guests=[a_guest()]), "is active and its guest 10000 runs"),
        (stopped(leases=[a_lease()], guests=[a_guest()]), "its row says running"),
        (stopped(runs=[a_run(), LATER]), "stopped by its tenant, and started again"),
    ],
)
def test_what_is_wrong_is_found(changes: dict[str, Any], words: str) -> None:
    found = audit.violations(findings(**changes))

    assert any(words in one for one in found)


@pytest.mark.parametrize(
    "changes",
    [
        {"runs": [a_run()]},
        {"leases": [a_lease(wakes=1, balance=0, metered_at=AFTER, expires_at=AFTER)]},
        {"runs": [a_run(card=_CARD, size=(1, 128, 1)), a_run(card=_CARD, size=(1, 128, 1))]},
        {"guests": [a_guest(snapshots=["pve402-a"])], "kept": kept(a_snapshot())},
        {"kept": kept(a_snapshot(state=snapshots.State.FAILED))},
        {"runs": [EARLY], "served": [(_NOW - timedelta(seconds=2), _NOW)]},
        stopped(),
        stopped(wishes=[a_wish(STOPPED, 1, 2), a_wish(RUNNING, 2.5, None)], runs=[LATER]),
        stopped(wishes=[a_wish(RUNNING, 0, 0.5), a_wish(STOPPED, 1, 2)]),
    ],
)
def test_what_was_paid_and_wanted_is_no_violation(changes: dict[str, Any]) -> None:
    assert audit.violations(findings(**changes)) == []


@pytest.mark.parametrize("manner", [Manner.HONEST, Manner.WANTS_GAS, Manner.ONLY_TO_NOBODY])
@pytest.mark.parametrize(("paid_in", "early"), [(6, False), (7, False), (8, True), (None, True)])
def test_a_guest_of_a_contract_that_ran_before_its_money_is_found(
    manner: Manner, paid_in: int | None, early: bool
) -> None:
    kind = payers.Kind(name="contract", manner=manner)
    payer = dataclasses.replace(payers.new_payer(), kind=kind)
    signed = payments.sign(payer, 10, kind="creation", minutes=1)
    made = an_order(payer=payer.address, nonce=signed.nonce)
    blocks = {} if paid_in is None else {(payer.address, signed.nonce): paid_in}

    found = list(running.unpaid_starts([made], [a_run()], [signed], blocks))

    assert bool(found) is early


def _told(change: Callable[[payments.Signed], None]) -> audit.Findings:
    signed = payments.sign(payers.new_payer(), 10, kind="creation", minutes=1)
    change(signed)
    made = an_order(payer=signed.payment.payer, nonce=signed.nonce)
    paid = audit.Transfer(
        transaction="0xt", payer=signed.payment.payer, nonce=signed.nonce, amount_atomic=10
    )
    return findings(signed=[signed], orders=[made], transfers=[paid])


@pytest.mark.parametrize(
    ("attribute", "value", "words"),
    [
        ("minutes", 2, "not what was signed"),
        ("kind", "renewal", "not what was signed"),
        ("lease_id", "l2", "another lease"),
        ("violations", ["a token twice"], "a token twice"),
    ],
)
def test_what_a_tenant_was_promised_is_compared(attribute: str, value: Any, words: str) -> None:
    found = audit.violations(_told(lambda signed: setattr(signed, attribute, value)))

    assert any(words in one for one in found)


def test_an_answer_without_an_order_is_found() -> None:
    signed = payments.sign(payers.new_payer(), 10, kind="creation", minutes=1)
    signed.told.append((200, ""))

    found = audit.violations(findings(signed=[signed]))

    assert any("answered 200 and has no order" in one for one in found)


def test_a_lease_or_guest_that_outlives_its_time_is_found() -> None:
    found = audit.after_expiry([a_lease()], [a_guest()])

    assert len(found) == 2


@pytest.mark.parametrize(
    ("changes", "lock", "waits"),
    [
        ({}, "create", True),
        ({}, "", False),
        ({}, "backup", False),
        ({"tries": 1}, "create", False),  # it gets another vmid
        ({"settled_at": None}, "create", False),  # it is refused
        ({"due_at": None}, "create", False),  # it is over
        ({"lease_id": "l1"}, "create", False),  # the guest is an earlier lease's
    ],
)
def test_who_waits_for_root_is_found(changes: dict[str, Any], lock: str, waits: bool) -> None:
    made = an_order(**{"status": order.OrderStatus.SETTLING, "tries": 2, "due_at": _NOW, **changes})

    assert rest.needs_root([made], [a_lease()], [a_guest(lock=lock)]) is waits
