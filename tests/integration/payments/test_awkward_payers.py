"""Payers whose contract says yes to a question and no to the transaction: no money, and an end."""

import dataclasses
import time
from typing import Any

import pytest
from eth_account.signers.local import LocalAccount
from tests.support import awkward
from tests.support import payments as make
from tests.support.chain import new_account
from tests.support.signer_nonces import InMemorySignerNonces

from pve402.payments import chain as chains
from pve402.payments import protocol, rpc, settlement
from pve402.payments.facilitators import Facilitator, Outcome
from pve402.payments.facilitators.embedded import EmbeddedFacilitator, EmbeddedOptions
from pve402.payments.facilitators.http import HttpFacilitator, HttpFacilitatorOptions
from pve402.payments.schemes.exact import local_checks
from pve402_devnet.chain.contracts import Manner

TERMS = make.requirements()
LIARS = [
    (Manner.WANTS_GAS, 2_000_000),
    (Manner.ONLY_TO_NOBODY, 0),
    (Manner.ONLY_UNPAID, 0),
    (Manner.BEFORE_BLOCK, 1),
    (Manner.BURNS_GAS, 2_000_000),
    (Manner.FLOODS, 1_000_000),
    (Manner.REVERTS, 0),
]


async def _forget(_payment: protocol.PaymentKey, _transaction: str) -> None:
    return None


@pytest.fixture(params=["http", "embedded"])
async def facilitators(request: Any, chain: Any, facilitator: Any, endpoint: rpc.Rpc) -> Any:
    """Both kinds of facilitator."""
    made: Facilitator
    if request.param == "http":
        made = HttpFacilitator(HttpFacilitatorOptions(url=facilitator.url))
    else:
        key = new_account()
        chain.fund(key.address, eth=1)
        options = EmbeddedOptions(network="base-sepolia", private_key=key.key.hex())
        made = EmbeddedFacilitator(
            options, endpoint, InMemorySignerNonces(), record_transaction=_forget
        )
    yield made
    await made.close()


@pytest.fixture
def settler(facilitators: Facilitator, endpoint: rpc.Rpc) -> settlement.Settler:
    """Our own side, with little patience."""
    route = settlement.Route(facilitator=facilitators, chain=chains.Chain(endpoint))
    patience = settlement.Patience(visible_within_seconds=1.0, ask_again_after_seconds=0.01)
    return settlement.Settler({TERMS.network: route}, patience=patience)


def _signed(owner: LocalAccount, wallet: str) -> protocol.Payment:
    until = int(time.time()) + 300
    unsigned = make.payment(payer=wallet, valid_before=until, signature="0x00")
    signed = owner.unsafe_sign_hash(local_checks.digest(unsigned, TERMS))
    return dataclasses.replace(unsigned, signature="0x" + bytes(signed.signature).hex())


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize(("manner", "limit"), LIARS)
async def test_a_liar_pays_nothing_and_keeps_nothing_open(
    settler: settlement.Settler, chain: Any, manner: Manner, limit: int, is_first: bool
) -> None:
    owner = new_account()
    wallet = awkward.deploy(chain, owner, manner, limit, usdc_atomic=TERMS.amount_atomic)
    payment = _signed(owner, wallet)

    settled = await settler.settle(
        payment, TERMS, since_seconds=int(time.time()), attempted_before=not is_first
    )

    assert settled.outcome is Outcome.REFUSED, settled
    assert chain.usdc_balance(make.OUR_ADDRESS) == 0


@pytest.mark.parametrize("facilitators", ["embedded"], indirect=True)
@pytest.mark.parametrize(
    ("manner", "limit"),
    [(Manner.WANTS_GAS, 600_000), (Manner.BURNS_GAS, 600_000), (Manner.LOOPS, 0)],
)
async def test_our_own_signer_pays_for_no_more_gas_than_it_sends(
    settler: settlement.Settler, chain: Any, manner: Manner, limit: int
) -> None:
    owner = new_account()
    wallet = awkward.deploy(chain, owner, manner, limit, usdc_atomic=TERMS.amount_atomic)
    payment = _signed(owner, wallet)

    verified = await settler.verify(payment, TERMS)
    settled = await settler.settle(payment, TERMS, since_seconds=int(time.time()))

    assert (verified.valid, settled.outcome) == (False, Outcome.REFUSED)
    assert settled.transaction is None


async def test_who_turns_between_the_question_and_the_transaction_is_refused(
    settler: settlement.Settler, chain: Any
) -> None:
    owner = new_account()
    wallet = awkward.deploy(chain, owner, Manner.HONEST, usdc_atomic=TERMS.amount_atomic)
    payment = _signed(owner, wallet)
    verified = await settler.verify(payment, TERMS)
    awkward.turn(chain, owner, wallet)

    settled = await settler.settle(payment, TERMS, since_seconds=int(time.time()))

    assert (verified.valid, settled.outcome) == (True, Outcome.REFUSED)


async def test_who_takes_the_money_away_meanwhile_is_refused(
    settler: settlement.Settler, chain: Any
) -> None:
    owner = new_account()
    wallet = awkward.deploy(chain, owner, Manner.HONEST, usdc_atomic=TERMS.amount_atomic - 1)

    settled = await settler.settle(_signed(owner, wallet), TERMS, since_seconds=int(time.time()))

    assert settled.outcome is Outcome.REFUSED


async def test_an_honest_one_pays(settler: settlement.Settler, chain: Any) -> None:
    owner = new_account()
    wallet = awkward.deploy(chain, owner, Manner.HONEST, usdc_atomic=TERMS.amount_atomic)

    settled = await settler.settle(_signed(owner, wallet), TERMS, since_seconds=int(time.time()))

    assert settled.outcome is Outcome.SETTLED
