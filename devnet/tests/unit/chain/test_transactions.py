"""Decoding what wallets broadcast."""

from __future__ import annotations

from typing import Any

import pytest
from eth_account.signers.local import LocalAccount
from hypothesis import given
from hypothesis import strategies as st
from tests.support.chain import new_account
from tests.support.transactions import GWEI, PAYEE, raw

from pve402_devnet.chain import transactions

ACCESS = [{"address": PAYEE, "storageKeys": ["0x" + "00" * 31 + "05"]}]


@pytest.fixture(scope="module")
def account() -> LocalAccount:
    return new_account()


def decoded(text: str) -> transactions.Transaction:
    return transactions.decode(bytes.fromhex(text[2:]))


@pytest.mark.parametrize(
    ("fields", "kind", "max_fee"),
    [
        ({}, 2, 2 * GWEI),
        ({"gasPrice": 7}, 0, 7),
        ({"gasPrice": 7, "chainId": None}, 0, 7),
        ({"gasPrice": 7, "accessList": ACCESS, "type": 1}, 1, 7),
        ({"accessList": ACCESS}, 2, 2 * GWEI),
    ],
    ids=["1559", "legacy", "legacy without a chain", "2930", "1559 with an access list"],
)
def test_every_kind_is_read_and_its_sender_recovered(
    account: LocalAccount, fields: dict[str, Any], kind: int, max_fee: int
) -> None:
    transaction = decoded(raw(account, nonce=5, value=9, data=b"\1\2", **fields))

    assert transaction.sender == account.address.lower()
    assert (transaction.kind, transaction.max_fee_per_gas) == (kind, max_fee)
    assert (transaction.to, transaction.nonce, transaction.value) == (PAYEE, 5, 9)
    assert (transaction.data, bool(transaction.access_list)) == (b"\1\2", "accessList" in fields)


def test_no_recipient_means_a_new_contract(account: LocalAccount) -> None:
    assert decoded(raw(account, to="")).to is None


@given(st.binary(max_size=200))
def test_noise_is_refused_and_nothing_else_happens(noise: bytes) -> None:
    with pytest.raises(transactions.InvalidTransaction):
        transactions.decode(noise)


@given(cut=st.integers(1, 100), flip=st.integers(0, 90))
def test_a_damaged_transaction_has_no_known_sender(cut: int, flip: int) -> None:
    signed = bytearray.fromhex(raw(new_account())[2:])
    signed[1 + flip] ^= 1 << (cut % 8)

    try:
        sender = transactions.decode(bytes(signed)).sender
    except transactions.InvalidTransaction:
        return
    assert sender != decoded(raw(new_account())).sender


def test_a_huge_transaction_is_refused(account: LocalAccount) -> None:
    with pytest.raises(transactions.InvalidTransaction, match="size"):
        decoded(raw(account, data=bytes(200_000), gas=9_000_000))
