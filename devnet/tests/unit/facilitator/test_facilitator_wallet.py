"""The facilitator's own signing of transactions beside the usual library."""

from __future__ import annotations

from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from pve402_devnet.facilitator.wallet import Wallet

numbers = st.integers(0, 2**64 - 1)
TO = "0x036CbD53842c5426634e7929541eC2318f3dCF7e"


@given(key=st.binary(min_size=31, max_size=31), nonce=numbers, fee=numbers, data=st.binary())
def test_it_signs_byte_for_byte_as_eth_account(
    key: bytes, nonce: int, fee: int, data: bytes
) -> None:
    account = Account.from_key(b"\x01" + key)
    wallet = Wallet(account.key.hex())

    ours = wallet.sign(
        chain_id=84532, nonce=nonce, fee_per_gas=fee, gas_limit=1_000_000, to=TO, data=data
    )

    theirs = account.sign_transaction(
        {
            "type": 2,
            "chainId": 84532,
            "nonce": nonce,
            "maxFeePerGas": fee,
            "maxPriorityFeePerGas": fee,
            "gas": 1_000_000,
            "to": TO,
            "value": 0,
            "data": data,
        }
    )
    assert (wallet.address, ours) == (account.address, bytes(theirs.raw_transaction))
