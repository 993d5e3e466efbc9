"""Decoding what wallets broadcast."""

from __future__ import annotations

from typing import Any

import pytest
import rlp  # type: ignore[import-untyped, unused-ignore]
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


NO_NUMBER = {
    "an empty list": [],
    "a list": [b"\1"],
    "a list in a list": [[]],
    "a leading zero": b"\0\1",
    "too many bytes": b"\xff" * 33,
}
TYPED = {"legacy": (9, 3, None), "2930": (11, 4, 7), "1559": (12, 5, 8), "7702": (13, 5, 8)}


@pytest.mark.parametrize("kind", TYPED)
@pytest.mark.parametrize("wrong", NO_NUMBER)
def test_any_field_of_another_kind_is_refused(kind: str, wrong: str) -> None:
    count, to, access = TYPED[kind]
    prefix = {"legacy": b"", "2930": b"\1", "1559": b"\2", "7702": b"\4"}[kind]
    fitting = access if wrong == "an empty list" else to + 2 if "list" not in wrong else None
    for place in set(range(count)) - {fitting}:
        fields: list[Any] = [b"\1"] * count
        fields[to] = b"\1" * 20
        if access is not None:
            fields[access] = []
        fields[place] = NO_NUMBER[wrong]
        with pytest.raises(transactions.InvalidTransaction):
            transactions.decode(prefix + rlp.encode(fields))


@pytest.mark.parametrize(
    "entries",
    [
        [b"x"],
        [[b"\1" * 20]],
        [[b"\1" * 20, b"x"]],
        [[b"\1" * 20, [[b"x"]]]],
        [[b"\1" * 19, []]],
        [[[], []]],
        [[b"\1" * 20, [b"\1" * 31]]],
    ],
)
def test_an_access_list_of_another_shape_is_refused(entries: list[Any]) -> None:
    fields: list[Any] = [b"\1"] * 12
    fields[5], fields[8] = b"\1" * 20, entries
    with pytest.raises(transactions.InvalidTransaction, match="failed to decode"):
        transactions.decode(b"\2" + rlp.encode(fields))
