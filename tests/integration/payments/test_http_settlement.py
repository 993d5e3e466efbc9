"""Settling through facilitators over HTTP, honest and hostile, against a real EVM."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.support import payments as make
from tests.support.chain import new_account

from pve402.payments import errors, protocol, settlement
from pve402.payments.facilitators import Outcome, Settlement
from pve402.payments.facilitators.http import HttpFacilitator, HttpFacilitatorOptions
from pve402_devnet.facilitator import Endpoint, Fault, FaultKind

SETTLED, REFUSED, UNKNOWN = Outcome.SETTLED, Outcome.REFUSED, Outcome.UNKNOWN
TERMS = make.requirements()
Sign = Callable[..., protocol.Payment]


def _earned(chain: Any) -> int:
    earned: int = chain.usdc_balance(make.OUR_ADDRESS)
    return earned


async def _settle(settler: settlement.Settler, paid: protocol.Payment, **more: Any) -> Settlement:
    return await settler.settle(paid, TERMS, since_seconds=int(time.time()), **more)


@pytest.mark.parametrize("version", [1, 2])
async def test_a_payment_is_verified_and_settled(
    settler: settlement.Settler, chain: Any, paid: Sign, version: int
) -> None:
    payment = paid(version=version)

    verified = await settler.verify(payment, TERMS)
    settled = await _settle(settler, payment)

    assert (verified.valid, settled.outcome) == (True, SETTLED)
    assert settled.transaction is not None
    assert _earned(chain) == TERMS.amount_atomic


async def test_a_payer_without_money_is_refused(
    settler: settlement.Settler, chain: Any, paid: Sign
) -> None:
    payment = paid(key=new_account())

    verified = await settler.verify(payment, TERMS)
    settled = await _settle(settler, payment)

    assert not verified.valid
    assert (settled.outcome, _earned(chain)) == (REFUSED, 0)


async def test_a_nonce_spent_on_somebody_else_is_refused(
    settler: settlement.Settler, chain: Any, paid: Sign
) -> None:
    other_terms = make.requirements(pay_to=make.SOMEBODY)
    tenant = make.account(7)
    chain.fund(tenant.address, usdc_atomic=50_000)
    payment = paid(key=tenant)
    elsewhere = make.payment(
        key=tenant, terms=other_terms, nonce=payment.nonce, valid_before=payment.valid_before
    )
    spent = await settler.settle(elsewhere, other_terms, since_seconds=int(time.time()))

    settled = await _settle(settler, payment)

    assert (spent.outcome, settled.outcome) == (SETTLED, REFUSED)
    assert (settled.reason, _earned(chain)) == ("nonce_spent_elsewhere", 0)


HOSTILE = [
    # fault, first conclusion, after the facilitator is honest again
    (FaultKind.UNAVAILABLE, UNKNOWN, SETTLED),
    (FaultKind.ERROR_AFTER_TRANSFER, SETTLED, SETTLED),
    (FaultKind.SILENT, UNKNOWN, SETTLED),
    (FaultKind.SILENT_AFTER_TRANSFER, SETTLED, SETTLED),
    (FaultKind.MALFORMED, SETTLED, SETTLED),
    (FaultKind.WRONG_SHAPE, SETTLED, SETTLED),
    (FaultKind.LYING_YES, UNKNOWN, SETTLED),
    (FaultKind.BORROWED_YES, UNKNOWN, SETTLED),
    (FaultKind.LYING_NO, SETTLED, SETTLED),
    (FaultKind.WRONG_PAYER, SETTLED, SETTLED),
    (FaultKind.WRONG_NETWORK, SETTLED, SETTLED),
    (FaultKind.PENDING, SETTLED, SETTLED),
    (FaultKind.PENDING_LOST, UNKNOWN, SETTLED),
]


@pytest.mark.parametrize("case", HOSTILE, ids=lambda case: case[0].value)
async def test_nobody_loses_whatever_the_facilitator_does(
    settler: settlement.Settler,
    facilitator: Any,
    chain: Any,
    paid: Sign,
    case: tuple[FaultKind, Outcome, Outcome],
) -> None:
    kind, first, then = case
    await _settle(settler, paid())  # so that there is an earlier transaction to borrow
    before, payment = _earned(chain), paid()
    facilitator.faults.add(Fault(kind=kind, times=1, delay_seconds=30))

    concluded = await _settle(settler, payment)
    moved_at_first = _earned(chain) - before
    again = await _settle(
        settler, payment, attempted_before=True, known_transaction=concluded.transaction
    )

    assert (concluded.outcome, again.outcome) == (first, then)
    assert moved_at_first == (TERMS.amount_atomic if first is SETTLED else 0)
    assert _earned(chain) - before == TERMS.amount_atomic


@pytest.mark.parametrize(
    "kind",
    [FaultKind.UNAVAILABLE, FaultKind.SILENT, FaultKind.MALFORMED, FaultKind.WRONG_SHAPE],
)
async def test_a_facilitator_that_cannot_verify_is_unavailable(
    settler: settlement.Settler, facilitator: Any, paid: Sign, kind: FaultKind
) -> None:
    facilitator.faults.add(Fault(kind=kind, endpoint=Endpoint.VERIFY))

    with pytest.raises(errors.FacilitatorUnavailable):
        await settler.verify(paid(), TERMS)


async def test_a_verification_of_another_payer_is_not_believed(
    settler: settlement.Settler, facilitator: Any, paid: Sign
) -> None:
    facilitator.faults.add(Fault(kind=FaultKind.WRONG_PAYER, endpoint=Endpoint.VERIFY))

    assert not (await settler.verify(paid(), TERMS)).valid


async def test_an_unknown_settlement_ends_when_chain_time_passes_the_window(
    settler: settlement.Settler, facilitator: Any, chain: Any, paid: Sign
) -> None:
    payment = paid()
    facilitator.faults.add(Fault(kind=FaultKind.UNAVAILABLE))
    while_valid = await _settle(settler, payment)
    chain.rpc("evm_increaseTime", 400)
    for _block in range(4):
        chain.rpc("evm_mine")

    after = await settler.look(payment, since_seconds=int(time.time()))

    assert (while_valid.outcome, after.outcome) == (UNKNOWN, REFUSED)
    assert after.reason == "authorization_expired"


@pytest.mark.parametrize(
    ("requeue", "standing"),
    [(False, settlement.Recheck.VANISHED), (True, settlement.Recheck.TOO_EARLY)],
)
async def test_a_reorganisation_is_noticed_and_settled_again(
    settler: settlement.Settler, chain: Any, paid: Sign, requeue: bool, standing: Any
) -> None:
    payment, now = paid(), int(time.time())
    settled = await _settle(settler, payment)
    assert settled.transaction is not None
    chain.rpc("devnet_reorg", 1, {"requeue": requeue})
    chain.rpc("evm_mine")

    found = await settler.recheck(payment, transaction=settled.transaction, since_seconds=now)
    again = await _settle(settler, payment, known_transaction=settled.transaction)

    assert (found.standing, again.outcome) == (standing, SETTLED)
    assert _earned(chain) == TERMS.amount_atomic


async def test_ten_blocks_later_it_is_final(
    settler: settlement.Settler, chain: Any, paid: Sign
) -> None:
    payment = paid()
    settled = await _settle(settler, payment)
    for _block in range(9):
        chain.rpc("evm_mine")

    found = await settler.recheck(
        payment, transaction=settled.transaction or "", since_seconds=int(time.time())
    )

    assert found.standing is settlement.Recheck.FINAL


async def test_nobody_listening_is_unavailable(paid: Sign) -> None:
    closed = HttpFacilitator(HttpFacilitatorOptions(url="http://127.0.0.1:9"))
    payment = paid()

    with pytest.raises(errors.FacilitatorUnavailable):
        await closed.verify(payment, TERMS)
    assert (await closed.settle(payment, TERMS)).outcome is UNKNOWN
    await closed.close()
