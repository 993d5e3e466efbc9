"""The same awkward wallets on a real node, whose transactions cost gas and have a sender."""

from __future__ import annotations

import pytest
from tests.support import awkward
from tests.support.anvil import Anvil
from tests.support.chain import authorization, digest, new_account, sign
from tests.support.token import AUTHORIZATION, call_data

from pve402_devnet.chain.contracts import USDC_ADDRESS, Manner

PAYEE = "0x" + "ab" * 20


@pytest.mark.parametrize(
    ("manner", "limit", "pays"),
    [
        (Manner.HONEST, 0, True),
        (Manner.WANTS_GAS, 1_000_000, False),
        (Manner.ONLY_TO_NOBODY, 0, False),
        (Manner.ONLY_UNPAID, 0, False),
        (Manner.BURNS_GAS, 2_000_000, False),
    ],
)
def test_a_yes_to_the_question_and_what_becomes_of_the_payment(
    anvil: Anvil, manner: Manner, limit: int, pays: bool
) -> None:
    owner = new_account()
    wallet = awkward.deploy(anvil, owner, manner, limit, usdc_atomic=400)
    message = authorization(wallet, PAYEE, 400)
    signature = sign(owner, message)
    values = (*message.values(), signature)
    data = call_data(f"transferWithAuthorization({AUTHORIZATION},bytes)", values)

    says = awkward.stands_by(anvil, wallet, digest(message), signature)
    succeeded = awkward.send(anvil, new_account(), USDC_ADDRESS, data, gas=200_000)

    assert says
    assert succeeded is pays
    assert anvil.usdc_balance(PAYEE) == (400 if pays else 0)
