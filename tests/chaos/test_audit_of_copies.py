"""The audit finds what is wrong with copies, images, reinstallations and what stands on Proxmox."""

import dataclasses
from datetime import timedelta
from typing import Any

import pytest
from tests.chaos import audit, evidence, keeping, payers, payments, rest, running, standing
from tests.chaos.samples import (
    FAILED,
    ID,
    MINUTE_SECONDS,
    NOW,
    a_guest,
    a_lease,
    a_paused_lease,
    a_run,
    an_order,
    findings,
)

from pve402.domain import forks, order, power, reinstalls


def forked(**of_part: Any) -> dict[str, Any]:
    """A payment for two leases, whose containers are copies of a third one's."""
    first = an_order(parts=2)
    part = {"order_id": "o2", "nonce": "o1:01", "lease_id": "l2", "part_of": "o1"}
    copy = {"forked_from": "l0", "base": "l0"}
    other = a_lease(lease_id="l2", vmid=10_001, **copy)
    second = a_guest(vmid=10_001, tags="lease-l2;pve402-chaos", keyed="l2")
    return {
        "orders": [first, an_order(**{**part, "amount_atomic": 5, **of_part})],
        "leases": [a_lease(**copy), other],
        "guests": [a_guest(keyed=ID), second],
        "vmids": [{"vmid": 10_000}, {"vmid": 10_001}],
    }


def told_of(*leases: str) -> dict[str, Any]:
    """The same, and what its payer was told."""
    signed = payments.sign(payers.new_payer(), 10, kind="creation", minutes=1)
    signed.copies = list(leases)
    found = forked()
    paid = {"payer": signed.payment.payer, "nonce": signed.nonce}
    found["orders"] = [
        dataclasses.replace(found["orders"][0], **paid),
        dataclasses.replace(found["orders"][1], payer=signed.payment.payer),
    ]
    transfer = evidence.Transfer(transaction="0xt", amount_atomic=10, **paid)
    return {**found, "signed": [signed], "transfers": [transfer]}


def reinstalled(late_seconds: float, absent_seconds: float, up_seconds: float) -> dict[str, Any]:
    """A lease that ends late, had no guest for a while and one that ran for another."""
    row = a_lease().evolve(
        expires_at=NOW + timedelta(seconds=MINUTE_SECONDS + late_seconds),
        balance=int((MINUTE_SECONDS + late_seconds) * 1000),
    )
    gone = NOW + timedelta(seconds=1)
    absence = running.Absence(
        vmid=10_000, began=gone, ended=gone + timedelta(seconds=absent_seconds)
    )
    return {
        "leases": [row],
        "kept": keeping.Kept(asked={"reinstall": {ID}}),
        "absences": [absence],
        "runs": [a_run(ended=NOW + timedelta(seconds=up_seconds))],
    }


def a_reinstall(**changes: Any) -> keeping.Kept:
    """A reinstallation of the lease, and that its tenant asked for it."""
    facts: dict[str, Any] = {"lease_id": ID, "reinstall_id": "r1", "created_at": NOW}
    facts |= {"state": reinstalls.State.DONE, "request_hash": "", "template": "local:vztmpl/none"}
    return keeping.Kept(made_anew=[reinstalls.Reinstall(**{**facts, **changes})])


A_FORK = forks.Fork(order_id="o1", lease_id=ID, created_at=NOW)
IMAGE: dict[str, Any] = {"owner": "image:eip155:84532:0x1", "wanted": power.Wanted.STOPPED}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({**forked(), "orders": [an_order(parts=2)]}, "for 2 leases, with 0 parts"),
        ({"orders": [an_order(), *forked()["orders"][1:]]}, "for 1 leases, with 1 parts"),
        (forked(part_of="o9"), "there is no order o9"),
        (forked(amount_atomic=4), "its share is 5"),
        (forked(minutes=2), "is not what was paid for"),
        (forked(transaction="0xz"), "another transaction than its payment"),
        (forked(status=order.OrderStatus.REFUSED), "not as its payment"),
        (forked(status=order.OrderStatus.OWED), "0 debts say so"),
        (told_of(ID, "l3"), "other leases than it bought"),
        ({**told_of(ID, "l2"), "leases": [a_lease(), a_lease(lease_id="l2")]}, "copies of {None}"),
        ({**forked(), "guests": [a_guest(keyed="l0")]}, "has the keys of l0"),
        ({"guests": [a_guest(), a_guest(vmid=10_001, tags="")]}, "guest 10001 has no row"),
        ({"guests": [a_guest(template=True)]}, "template True"),
        ({"leases": [a_lease(**IMAGE)], "guests": [a_guest(running=False)]}, "template False"),
        ({"leases": [a_lease(**IMAGE)], "runs": [a_run()]}, f"image {ID} ran"),
        ({"runs": [a_run(lives=False)]}, "a program of its image"),
        ({"stored": standing.Stored(volumes={"local:a": 10_000})}, "is none of guest 10000"),
        ({"stored": standing.Stored(files=["local:vztmpl/a.tar"])}, "has no row"),
        (reinstalled(2, 0, 5), "ends 2.0 s late, its guest was down 1.0"),
        (reinstalled(-1, 0, 3), "ends -1.0 s late"),
        (reinstalled(1, 2, 1), "had no guest for 2.0 s, and 1.0 more"),
        ({"kept": a_reinstall(state=reinstalls.State.MAKING)}, "is left making"),
        ({"kept": a_reinstall(sealed_secrets=b"x")}, "still keeps its secrets"),
        ({"leases": [FAILED], "kept": a_reinstall()}, "outlived its lease"),
        ({"kept": keeping.Kept(forking=[A_FORK])}, "is still being copied"),
        ({"leases": [a_paused_lease()]}, "paused by nobody's wish"),
    ],
)
def test_what_is_wrong_is_found(changes: dict[str, Any], words: str) -> None:
    found = audit.violations(findings(**changes))

    assert any(words in one for one in found)


@pytest.mark.parametrize(
    "changes",
    [
        forked(),
        told_of(ID, "l2"),
        reinstalled(2, 1, 3),
        {"kept": a_reinstall()},
        {
            "leases": [a_lease(**IMAGE)],
            "guests": [a_guest(template=True, running=False, volumes=["local:a"])],
            "stored": standing.Stored(volumes={"local:a": 10_000}, files=["b"], named=["b"]),
        },
    ],
)
def test_what_was_copied_and_made_anew_as_it_should_be_is_no_violation(
    changes: dict[str, Any],
) -> None:
    assert audit.violations(findings(**changes)) == []


def test_a_reinstallation_whose_number_is_locked_waits_for_root() -> None:
    emptied = a_lease(hold_order_id="reinstall")

    assert rest.needs_root([], [emptied], [a_guest(lock="create")])
    assert not rest.needs_root([], [emptied], [])
