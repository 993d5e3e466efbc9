"""Signing, held against eth-account byte for byte."""

import pytest
from eth_abi.abi import encode
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import payments as make

from pve402.payments import abi, addresses, protocol
from pve402.payments.facilitators import transactions
from pve402.payments.schemes.exact import eip3009

KEY = "0x" + "42" * 32


@settings(max_examples=60)
@given(
    nonce=st.integers(0, 2**63),
    tip=st.integers(0, 2**80),
    fee=st.integers(0, 2**90),
    gas=st.integers(0, 2**40),
    data=st.binary(max_size=400),
    chain_id=st.sampled_from([1, 137, 8453, 84532, 11142220]),
)
def test_the_bytes_are_those_of_eth_account(
    nonce: int, tip: int, fee: int, gas: int, data: bytes, chain_id: int
) -> None:
    drafted = transactions.Transaction(
        chain_id=chain_id,
        nonce=nonce,
        priority_fee_per_gas_wei=tip,
        max_fee_per_gas_wei=fee,
        gas_limit=gas,
        to=make.OUR_ADDRESS,
        data="0x" + data.hex(),
    )
    theirs = Account.sign_transaction(
        {
            "type": 2,
            "chainId": chain_id,
            "nonce": nonce,
            "maxPriorityFeePerGas": tip,
            "maxFeePerGas": fee,
            "gas": gas,
            "to": addresses.checksum(make.OUR_ADDRESS),
            "value": 0,
            "data": data,
        },
        KEY,
    )

    raw, transaction = transactions.SigningKey(KEY).sign(drafted)

    assert (raw, transaction) == (
        "0x" + bytes(theirs.raw_transaction).hex(),
        "0x" + bytes(theirs.hash).hex(),
    )
    assert transactions.fees_of(raw) == (tip, fee)


def test_the_key_knows_its_address_and_hides_itself() -> None:
    key = transactions.SigningKey(KEY)

    assert key.address == Account.from_key(KEY).address.lower()
    assert "42" * 8 not in repr(key)


@pytest.mark.parametrize("wrong", ["", "0x", "zz" * 32, "42" * 31, "42" * 33, "00" * 32])
def test_what_is_no_key_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="32 bytes of hex"):
        transactions.SigningKey(wrong)


TYPES = ["address", "address", "uint256", "uint256", "uint256", "bytes32"]


def _arguments(paid: protocol.Payment) -> list[object]:
    return [
        bytes.fromhex(paid.payer[2:]),
        bytes.fromhex(paid.pay_to[2:]),
        paid.amount_atomic,
        paid.valid_after,
        paid.valid_before,
        bytes.fromhex(paid.nonce[2:]),
    ]


def test_a_keys_signature_goes_in_three_parts() -> None:
    paid = make.payment()
    r, s, v = paid.signature_bytes[:32], paid.signature_bytes[32:64], paid.signature_bytes[64]

    expected = encode([*TYPES, "uint8", "bytes32", "bytes32"], [*_arguments(paid), v, r, s])

    # e3ee160e is the selector of this form on every USDC
    assert eip3009.transfer_with_authorization(paid) == "0xe3ee160e" + expected.hex()


@pytest.mark.parametrize("size", [1, 31, 32, 64, 66, 600])
def test_a_contract_wallets_signature_goes_as_bytes(size: int) -> None:
    paid = make.payment(signature="0x" + "ab" * size)

    expected = encode([*TYPES, "bytes"], [*_arguments(paid), b"\xab" * size])

    assert eip3009.transfer_with_authorization(paid) == "0xcf092995" + expected.hex()


def test_the_selectors_are_the_known_ones() -> None:
    paid = make.payment()

    assert abi.EIP1271_MAGIC == "0x1626ba7e"
    assert eip3009.authorization_state(paid.payer, paid.nonce)[:10] == "0xe94a0102"
    assert eip3009.balance_of(paid.payer)[:10] == "0x70a08231"
    asked = encode(["bytes32", "bytes"], [b"\x01" * 32, b"\x02" * 65])
    assert abi.is_valid_signature(b"\x01" * 32, b"\x02" * 65) == "0x1626ba7e" + asked.hex()
