"""Payments by wallets that change their mind between the question and the transaction."""

from __future__ import annotations

from typing import Any

import pytest
from eth_utils.address import to_checksum_address
from tests.support import awkward, paywall
from tests.support.chain import authorization, new_account, sign

from pve402_devnet.chain import SimulatedChain
from pve402_devnet.chain.contracts import Manner
from pve402_devnet.facilitator import SimulatedFacilitator

PAYEE = "0x" + "ab" * 20


def payment_of(chain: SimulatedChain, manner: Manner, limit: int) -> paywall.Payment:
    """A payment by a wallet of that manner, signed by its owner."""
    owner = new_account()
    wallet = to_checksum_address(awkward.deploy(chain, owner, manner, limit, usdc_atomic=700))
    payment = paywall.sign_payment(owner, PAYEE, 700)
    payload: dict[str, Any] = payment.body["paymentPayload"]["payload"]
    payload["authorization"]["from"] = wallet
    message = authorization(
        wallet,
        PAYEE,
        700,
        valid_after=int(payload["authorization"]["validAfter"]),
        valid_before=int(payload["authorization"]["validBefore"]),
        nonce=payment.nonce,
    )
    payload["signature"] = "0x" + sign(owner, message).hex()
    return payment


@pytest.mark.parametrize(
    ("manner", "limit", "pays"),
    [
        (Manner.HONEST, 0, True),
        (Manner.WANTS_GAS, 2_000_000, False),
        (Manner.BURNS_GAS, 2_000_000, False),
        (Manner.ONLY_UNPAID, 0, False),
    ],
)
async def test_a_yes_to_verify_and_what_becomes_of_the_settlement(
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
    manner: Manner,
    limit: int,
    pays: bool,
) -> None:
    payment = payment_of(chain, manner, limit)

    verified = await paywall.ask(facilitator.url, "verify", payment)
    settled = await paywall.ask(facilitator.url, "settle", payment)

    assert verified["isValid"]
    assert settled["success"] is pays
    assert chain.usdc_balance(PAYEE) == (700 if pays else 0)
    receipt = chain.rpc("eth_getTransactionReceipt", settled["transaction"])
    assert receipt["status"] == ("0x1" if pays else "0x0")
