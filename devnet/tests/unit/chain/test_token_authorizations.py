"""Transfers by signature (EIP-3009): what moves money, what does not, and what is left behind."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from eth_account.signers.local import LocalAccount
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.chain import authorization, funded_account, new_account, sign
from tests.support.token import ContractCaller, Reverted, topic, word

from pve402_devnet.chain import SimulatedChain
from pve402_devnet.chain.transactions import HALF_ORDER

BALANCE = 10**12
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
PAYEE = "0x" + "ab" * 20
NOW = 2_000_000_000

forms = st.sampled_from(["vrs", "bytes"])
shared_chain = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60
)


@pytest.fixture
def payer(quiet_chain: SimulatedChain) -> LocalAccount:
    quiet_chain.rpc("evm_setNextBlockTimestamp", NOW)
    return funded_account(quiet_chain, usdc_atomic=BALANCE)


@shared_chain
@given(value=st.integers(0, 10**9), form=forms, nonce=st.binary(min_size=32, max_size=32))
def test_a_signed_transfer_moves_exactly_its_value_once(
    token: ContractCaller, payer: LocalAccount, value: int, form: str, nonce: bytes
) -> None:
    before = token.chain.usdc_balance(payer.address), token.chain.usdc_balance(PAYEE)
    message = authorization(payer.address, PAYEE, value, nonce=nonce)
    if token.is_spent(payer.address, nonce):
        message["nonce"] = secrets.token_bytes(32)
    signature = sign(payer, message)

    token.authorize(message, signature, form=form)

    after = token.chain.usdc_balance(payer.address), token.chain.usdc_balance(PAYEE)
    assert after == (before[0] - value, before[1] + value)
    with pytest.raises(Reverted, match="authorization is used or canceled"):
        token.authorize(message, signature, form=form)


@shared_chain
@given(
    field=st.sampled_from(["from", "to", "value", "validAfter", "validBefore", "nonce"]),
    form=forms,
)
def test_a_changed_field_makes_the_signature_invalid(
    token: ContractCaller, payer: LocalAccount, field: str, form: str
) -> None:
    signed = authorization(payer.address, PAYEE, 5, valid_after=1, valid_before=NOW + 999)
    signature = sign(payer, signed)
    other: dict[str, Any] = {
        "from": new_account().address,
        "to": new_account().address,
        "value": 6,
        "validAfter": 2,
        "validBefore": NOW + 998,
        "nonce": secrets.token_bytes(32),
    }

    with pytest.raises(Reverted, match="invalid signature"):
        token.authorize(signed | {field: other[field]}, signature, form=form)

    assert not token.is_spent(payer.address, signed["nonce"])


@shared_chain
@given(signature=st.binary(min_size=65, max_size=65), form=forms)
def test_random_signatures_never_move_money(
    token: ContractCaller, payer: LocalAccount, signature: bytes, form: str
) -> None:
    before = token.chain.usdc_balance(payer.address)

    with pytest.raises(Reverted, match="invalid signature"):
        token.authorize(authorization(payer.address, PAYEE, 1), signature, form=form)

    assert token.chain.usdc_balance(payer.address) == before


@pytest.mark.parametrize("form", ["vrs", "bytes"])
def test_a_transfer_leaves_the_events_that_indexers_read(
    token: ContractCaller, payer: LocalAccount, form: str
) -> None:
    message = authorization(payer.address, PAYEE, 77)

    receipt = token.authorize(message, sign(payer, message), form=form)

    used, moved = receipt.events
    assert used.topics == (
        topic("AuthorizationUsed(address,bytes32)"),
        word(payer.address),
        message["nonce"],
    )
    assert moved.topics == (
        topic("Transfer(address,address,uint256)"),
        word(payer.address),
        word(PAYEE),
    )
    assert (used.data, int.from_bytes(moved.data, "big")) == (b"", 77)


@pytest.mark.parametrize(
    ("valid_after", "valid_before", "reason"),
    [
        (NOW + 600, NOW + 900, "authorization is not yet valid"),
        (0, NOW - 1, "authorization is expired"),
        (0, 0, "authorization is expired"),
    ],
)
def test_outside_its_window_a_transfer_is_refused(
    token: ContractCaller, payer: LocalAccount, valid_after: int, valid_before: int, reason: str
) -> None:
    message = authorization(
        payer.address, PAYEE, 1, valid_after=valid_after, valid_before=valid_before
    )

    with pytest.raises(Reverted, match=reason):
        token.authorize(message, sign(payer, message))


def test_a_transfer_is_valid_strictly_between_its_two_times(
    token: ContractCaller, payer: LocalAccount
) -> None:
    message = authorization(payer.address, PAYEE, 1, valid_after=NOW, valid_before=NOW + 500)
    signature = sign(payer, message)
    token.chain.rpc("evm_mine", NOW + 400)
    token.chain.rpc("evm_setNextBlockTimestamp", NOW + 499)

    token.authorize(message, signature)

    assert token.is_spent(payer.address, message["nonce"])


def test_more_than_the_balance_is_refused_and_the_nonce_stays(
    token: ContractCaller, payer: LocalAccount
) -> None:
    message = authorization(payer.address, PAYEE, BALANCE + 1)

    with pytest.raises(Reverted, match="transfer amount exceeds balance"):
        token.authorize(message, sign(payer, message))

    assert not token.is_spent(payer.address, message["nonce"])


@pytest.mark.parametrize("form", ["vrs", "bytes"])
def test_a_cancelled_nonce_can_never_be_used(
    token: ContractCaller, payer: LocalAccount, form: str
) -> None:
    message = authorization(payer.address, PAYEE, 5)
    order = {"authorizer": payer.address, "nonce": message["nonce"]}

    receipt = token.cancel(order, sign(payer, order, kind="CancelAuthorization"), form=form)

    event = topic("AuthorizationCanceled(address,bytes32)")
    assert receipt.events[0].topics == (event, word(payer.address), message["nonce"])
    assert token.is_spent(payer.address, message["nonce"])
    with pytest.raises(Reverted, match="authorization is used or canceled"):
        token.authorize(message, sign(payer, message))


def test_nobody_else_cancels(token: ContractCaller, payer: LocalAccount) -> None:
    order = {"authorizer": payer.address, "nonce": secrets.token_bytes(32)}
    forged = sign(new_account(), order, kind="CancelAuthorization")

    with pytest.raises(Reverted, match="invalid signature"):
        token.cancel(order, forged)


def test_a_used_nonce_cannot_be_cancelled(token: ContractCaller, payer: LocalAccount) -> None:
    message = authorization(payer.address, PAYEE, 5)
    token.authorize(message, sign(payer, message))
    order = {"authorizer": payer.address, "nonce": message["nonce"]}

    with pytest.raises(Reverted, match="authorization is used or canceled"):
        token.cancel(order, sign(payer, order, kind="CancelAuthorization"))


@pytest.mark.parametrize("form", ["vrs", "bytes"])
def test_only_the_payee_can_receive(token: ContractCaller, payer: LocalAccount, form: str) -> None:
    message = authorization(payer.address, PAYEE, 9)
    signature = sign(payer, message, kind="ReceiveWithAuthorization")
    receive = {"function": "receiveWithAuthorization", "form": form}

    with pytest.raises(Reverted, match="caller must be the payee"):
        token.authorize(message, signature, **receive)
    token.authorize(message, signature, **receive, sender=PAYEE)

    assert token.chain.usdc_balance(PAYEE) == 9


def test_a_transfer_signature_is_no_receive_signature(
    token: ContractCaller, payer: LocalAccount
) -> None:
    message = authorization(payer.address, PAYEE, 9)

    with pytest.raises(Reverted, match="invalid signature"):
        token.authorize(
            message, sign(payer, message), function="receiveWithAuthorization", sender=PAYEE
        )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r, s, v: r + (ORDER - s).to_bytes(32, "big") + bytes([55 - v]), "'s' value"),
        (lambda r, s, v: r + s.to_bytes(32, "big") + bytes([v - 27]), "'v' value"),
        (lambda r, s, v: r + s.to_bytes(32, "big"), "signature length"),
        (lambda r, s, v: bytes(32) + s.to_bytes(32, "big") + bytes([v]), "invalid signature"),
        (lambda *_: b"", "signature length"),
    ],
    ids=["malleable twin", "v below 27", "64 bytes", "r is zero", "empty"],
)
def test_odd_signatures_are_refused(
    token: ContractCaller, payer: LocalAccount, change: Any, reason: str
) -> None:
    message = authorization(payer.address, PAYEE, 5)
    signature = sign(payer, message)
    s = int.from_bytes(signature[32:64], "big")
    assert s <= HALF_ORDER

    with pytest.raises(Reverted, match=reason):
        token.authorize(message, change(signature[:32], s, signature[64]), form="bytes")
