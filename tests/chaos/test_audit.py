"""The audit finds what the kill loop must never show."""

import dataclasses
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from tests.chaos import audit, evidence, keeping, payers, payments, rest, running
from tests.chaos.samples import (
    AFTER,
    CARD,
    EARLY,
    FAILED,
    LATE,
    LATER,
    MINUTE_SECONDS,
    NOW,
    REFUSED,
    RUNNING,
    STOPPED,
    a_debt,
    a_guest,
    a_lease,
    a_paused_lease,
    a_run,
    a_size_change,
    a_snapshot,
    a_wish,
    an_order,
    findings,
    kept,
    owing,
    second_transfer,
    stopped,
)

from pve402.domain import lease, order, snapshots
from pve402_devnet.chain.contracts import Manner


def test_what_came_out_right_is_no_violation() -> None:
    assert audit.violations(findings()) == []


def test_a_failed_creation_that_is_gone_and_not_charged_is_no_violation() -> None:
    of = findings(transfers=[], orders=[an_order(**REFUSED)], leases=[FAILED], guests=[])

    assert audit.violations(of) == []


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
        ({"leases": [a_lease(expires_at=NOW)]}, "its orders say"),
        ({"leases": [a_lease(balance=1)]}, "its meter says"),
        ({"leases": [a_paused_lease(ends_at_ms=1)]}, "its meter says"),
        ({"leases": [a_paused_lease()]}, "more than was put in"),
        ({"leases": [a_lease(wakes=1, balance=0, expires_at=NOW)]}, "more than it can"),
        ({"leases": [a_lease(wakes=1, **LATE)]}, "less than it can"),
        ({"leases": [a_lease(snapshot_burn=5)]}, "its snapshots are"),
        ({"leases": [a_lease(burn=2, balance=int(MINUTE_SECONDS * 2000))]}, "burns 2, not 1"),
        ({"leases": [a_lease(burn=None)]}, "has no meter"),
        ({"guests": []}, "does not run"),
        ({"guests": [a_guest(running=False)]}, "does not run"),
        ({"guests": [a_guest(), a_guest(vmid=10_001)]}, "stands without a lease"),
        ({"leases": [a_lease(status=lease.LeaseStatus.STOPPED)]}, "its lease"),
        ({"leases": [a_lease(), a_lease(lease_id="l1")]}, "was used by 2 leases"),
        ({"vmids": []}, "does not rest"),
        ({"orders": [an_order(due_at=NOW)]}, "is left settled"),
        ({"orders": [an_order(sealed_payment=b"x")]}, "still keeps its payment"),
        ({"leases": [a_lease(hold_order_id="o2")]}, "is held by"),
        ({"runs": [EARLY]}, "ran unpaid for 9.0 s"),
        ({"runs": [a_run(ended=NOW + timedelta(seconds=13))]}, "ran unpaid for 9.0 s"),
        ({"runs": [a_run(lease_id="l1")]}, "ran unpaid for 4.0 s"),
        ({"runs": [a_run(marks=2)]}, "with the marks of 2 leases"),
        ({"runs": [a_run(size=(2, 128, 1))]}, "ran with (2, 128, 1), not (1, 128, 1)"),
        ({"runs": [a_run(card=CARD), a_run(card=CARD, lease_id="l1")]}, "was that of the leases"),
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
        {"runs": [a_run(card=CARD, size=(1, 128, 1)), a_run(card=CARD, size=(1, 128, 1))]},
        {"guests": [a_guest(snapshots=["pve402-a"])], "kept": kept(a_snapshot())},
        {"kept": kept(a_snapshot(state=snapshots.State.FAILED))},
        {"runs": [EARLY], "served": [(NOW - timedelta(seconds=2), NOW)]},
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


def _told(change: Callable[[payments.Signed], None]) -> evidence.Findings:
    signed = payments.sign(payers.new_payer(), 10, kind="creation", minutes=1)
    change(signed)
    made = an_order(payer=signed.payment.payer, nonce=signed.nonce)
    paid = evidence.Transfer(
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


def test_a_lease_guest_or_volume_that_outlives_its_time_is_found() -> None:
    found = audit.after_expiry([a_lease()], [a_guest()], ["local:a"])

    assert len(found) == 3


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
    made = an_order(**{"status": order.OrderStatus.SETTLING, "tries": 2, "due_at": NOW, **changes})

    assert rest.needs_root([made], [a_lease()], [a_guest(lock=lock)]) is waits
