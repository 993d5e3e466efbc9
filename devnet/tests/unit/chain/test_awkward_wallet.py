"""Contract wallets that say yes to a question and no to the transaction it was about."""

from __future__ import annotations

import pytest
from eth_account.signers.local import LocalAccount
from tests.support import awkward
from tests.support.chain import authorization, digest, new_account, sign
from tests.support.token import AUTHORIZATION, call_data

from pve402_devnet.chain import SimulatedChain, jsonrpc
from pve402_devnet.chain.contracts import USDC_ADDRESS, Manner

PAYEE = "0x" + "ab" * 20
SETTLEMENT_GAS = 200_000
MEGABYTE = 2**20


@pytest.fixture
def owner() -> LocalAccount:
    return new_account()


def settled(
    chain: SimulatedChain, owner: LocalAccount, wallet: str, *, gas: int = SETTLEMENT_GAS
) -> bool:
    """Whether a transfer that the owner signed for the wallet goes through."""
    message = authorization(wallet, PAYEE, 400)
    values = (*message.values(), sign(owner, message))
    data = call_data(f"transferWithAuthorization({AUTHORIZATION},bytes)", values)
    return awkward.send(chain, new_account(), USDC_ADDRESS, data, gas=gas)


def asked(chain: SimulatedChain, owner: LocalAccount, wallet: str, **question: str) -> bool:
    """Whether the wallet stands by the owner's signature in a question."""
    message = authorization(wallet, PAYEE, 400)
    return awkward.stands_by(chain, wallet, digest(message), sign(owner, message), **question)


@pytest.mark.parametrize(
    ("manner", "limit", "pays"),
    [
        (Manner.HONEST, 0, True),
        (Manner.WANTS_GAS, 1_000_000, False),
        (Manner.ONLY_TO_NOBODY, 0, False),
        (Manner.ONLY_UNPAID, 0, False),
        (Manner.BURNS_GAS, 2_000_000, False),
        (Manner.BURNS_GAS, 10_000, True),
    ],
)
def test_a_yes_to_the_question_and_what_becomes_of_the_payment(
    quiet_chain: SimulatedChain, owner: LocalAccount, manner: Manner, limit: int, pays: bool
) -> None:
    wallet = awkward.deploy(quiet_chain, owner, manner, limit, usdc_atomic=400)

    assert asked(quiet_chain, owner, wallet)
    assert settled(quiet_chain, owner, wallet) is pays
    assert quiet_chain.usdc_balance(PAYEE) == (400 if pays else 0)


def test_one_that_burns_two_million_gas_pays_whoever_sends_so_much(
    quiet_chain: SimulatedChain, owner: LocalAccount
) -> None:
    wallet = awkward.deploy(quiet_chain, owner, Manner.BURNS_GAS, 2_000_000, usdc_atomic=400)

    assert settled(quiet_chain, owner, wallet, gas=3_000_000)


@pytest.mark.parametrize(
    ("manner", "unit"), [(Manner.BEFORE_BLOCK, "number"), (Manner.BEFORE_TIME, "timestamp")]
)
def test_one_that_stands_by_nothing_from_some_moment_on(
    quiet_chain: SimulatedChain, owner: LocalAccount, manner: Manner, unit: str
) -> None:
    head = int(quiet_chain.rpc("eth_getBlockByNumber", "latest", False)[unit], 16)
    wallet = awkward.deploy(quiet_chain, owner, manner, head + 60, usdc_atomic=400)
    before = asked(quiet_chain, owner, wallet)

    quiet_chain.rpc("anvil_mine", 61, 1)

    assert before
    assert not asked(quiet_chain, owner, wallet)
    assert not settled(quiet_chain, owner, wallet)


def test_an_owner_can_take_back_what_was_signed(
    quiet_chain: SimulatedChain, owner: LocalAccount
) -> None:
    wallet = awkward.deploy(quiet_chain, owner, Manner.HONEST, usdc_atomic=400)
    before = asked(quiet_chain, owner, wallet)

    awkward.turn(quiet_chain, owner, wallet)

    assert before
    assert not settled(quiet_chain, owner, wallet)


@pytest.mark.parametrize("manner", [Manner.LOOPS, Manner.REVERTS])
def test_one_that_never_answers_fails_question_and_payment(
    quiet_chain: SimulatedChain, owner: LocalAccount, manner: Manner
) -> None:
    wallet = awkward.deploy(quiet_chain, owner, manner, usdc_atomic=400)

    with pytest.raises(jsonrpc.RpcError):
        asked(quiet_chain, owner, wallet)
    assert not settled(quiet_chain, owner, wallet)


def test_one_that_floods_answers_with_as_many_bytes_as_it_was_told(
    quiet_chain: SimulatedChain, owner: LocalAccount
) -> None:
    wallet = awkward.deploy(quiet_chain, owner, Manner.FLOODS, MEGABYTE)
    question = {
        "to": wallet,
        "data": "0x" + call_data("isValidSignature(bytes32,bytes)", (bytes(32), b"")).hex(),
    }

    answer = quiet_chain.rpc("eth_call", question, "latest")

    assert len(answer) == len("0x") + 2 * MEGABYTE


def test_a_strangers_signature_is_refused_by_all_that_answer(
    quiet_chain: SimulatedChain, owner: LocalAccount
) -> None:
    wallet = awkward.deploy(quiet_chain, owner, Manner.WANTS_GAS, 1)

    assert not asked(quiet_chain, new_account(), wallet)


def test_a_plain_account_can_become_awkward(
    quiet_chain: SimulatedChain, owner: LocalAccount
) -> None:
    wallet = awkward.deploy(quiet_chain, owner, Manner.WANTS_GAS, 1_000_000)
    payer = new_account()
    quiet_chain.fund(payer.address, usdc_atomic=400)

    awkward.delegate(quiet_chain, payer, wallet)

    assert asked(quiet_chain, owner, payer.address)
    assert not settled(quiet_chain, owner, payer.address)
    assert quiet_chain.usdc_balance(payer.address) == 400
