"""What is decided about a payment locally, without asking anybody."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import payments as make
from x402.mechanisms.evm.eip712 import hash_eip3009_authorization
from x402.mechanisms.evm.types import ExactEIP3009Authorization

from pve402.payments import errors, protocol
from pve402.payments.errors import Code
from pve402.payments.schemes import known
from pve402.payments.schemes.base import Limits, Standing
from pve402.payments.schemes.exact import local_checks

LIMITS = Limits(min_remaining_seconds=60)
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def _check(paid: protocol.Payment, **more: Any) -> Standing:
    scheme, terms = known.scheme_of(paid), make.requirements()
    scheme.check_terms(paid, terms, now_seconds=make.NOW, limits=LIMITS)
    return scheme.check_signature(paid, terms, **more)


def _code(paid: protocol.Payment, **more: Any) -> Code:
    with pytest.raises(errors.PaymentRejected) as caught:
        _check(paid, **more)
    return caught.value.code


@pytest.mark.parametrize("version", [1, 2])
def test_a_good_payment_is_proven(version: int) -> None:
    assert _check(make.payment(version=version)) is Standing.PROVEN


@settings(max_examples=50)
@given(
    amount=st.integers(0, 2**256 - 1),
    window=st.tuples(st.integers(0, 2**256 - 1), st.integers(0, 2**256 - 1)),
    nonce=st.binary(min_size=32, max_size=32),
)
def test_the_digest_is_the_one_of_the_official_sdk(
    amount: int, window: tuple[int, int], nonce: bytes
) -> None:
    terms = make.requirements()
    paid = make.payment(
        amount_atomic=amount,
        valid_after=window[0],
        valid_before=window[1],
        nonce="0x" + nonce.hex(),
        signature="0x00",
    )
    theirs = ExactEIP3009Authorization(
        from_address=paid.payer,
        to=paid.pay_to,
        value=str(amount),
        valid_after=str(window[0]),
        valid_before=str(window[1]),
        nonce=paid.nonce,
    )

    expected = hash_eip3009_authorization(theirs, 84532, terms.asset, "USDC", "2")

    assert local_checks.digest(paid, terms) == expected


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        ({"network": "base"}, Code.NETWORK_NOT_ACCEPTED),
        (
            {"asset": make.SOMEBODY, "asset_name": "E", "asset_version": "1"},
            Code.ASSET_MISMATCH,
        ),
        ({"pay_to": make.SOMEBODY}, Code.RECIPIENT_MISMATCH),
        ({"amount_atomic": 9_999}, Code.AMOUNT_MISMATCH),
        ({"amount_atomic": 10_001}, Code.AMOUNT_MISMATCH),
    ],
)
def test_a_payment_for_other_terms_is_refused(terms: dict[str, Any], code: Code) -> None:
    assert _code(make.payment(terms=make.requirements(**terms))) == code


@pytest.mark.parametrize(
    ("window", "code"),
    [
        ({"valid_after": make.NOW + 6}, Code.NOT_YET_VALID),
        ({"valid_before": make.NOW}, Code.EXPIRED),
        ({"valid_before": 0}, Code.EXPIRED),
        ({"valid_before": make.NOW + 59}, Code.EXPIRES_TOO_SOON),
        ({"valid_before": make.NOW + 300 + 86_401}, Code.VALID_TOO_LONG),
        ({"valid_before": 2**256 - 1}, Code.VALID_TOO_LONG),
    ],
)
def test_a_window_that_does_not_fit_is_refused(window: dict[str, int], code: Code) -> None:
    assert _code(make.payment(**window)) == code


@pytest.mark.parametrize(
    "window",
    [
        {"valid_after": make.NOW + 5},
        {"valid_before": make.NOW + 60},
        {"valid_before": make.NOW + 300 + 120},
    ],
)
def test_a_window_at_its_edge_is_taken(window: dict[str, int]) -> None:
    assert _check(make.payment(**window)) is Standing.PROVEN


def test_recovery_ids_of_zero_and_one_are_taken_like_27_and_28() -> None:
    paid = make.payment()
    v = int(paid.signature[-2:], 16) - 27
    twin = dataclasses.replace(paid, signature=paid.signature[:-2] + f"{v:02x}")

    assert _check(twin) is Standing.PROVEN


def _malleable_twin(paid: protocol.Payment) -> protocol.Payment:
    raw = paid.signature_bytes
    s = (ORDER - int.from_bytes(raw[32:64], "big")).to_bytes(32, "big")
    flipped = raw[:32] + s + bytes((55 - raw[64],))
    return dataclasses.replace(paid, signature="0x" + flipped.hex())


def test_the_malleable_twin_of_a_signature_is_refused_as_the_token_does() -> None:
    assert _code(_malleable_twin(make.payment())) == Code.SIGNATURE_INVALID


def _signed_by_another(paid: protocol.Payment) -> protocol.Payment:
    other = make.payment(key=make.account(2), nonce=paid.nonce)
    return dataclasses.replace(paid, signature=other.signature)


STRANGE = [
    _signed_by_another(make.payment()),
    make.payment(signature="0x" + "ab" * 64),
    make.payment(signature="0x" + "ab" * 200),
    make.payment(signature="0x" + "00" * 65),
    make.payment(signature="0x" + "ff" * 65),
    make.payment(signature="0x" + "ff" * 64 + "1b"),
]


@pytest.mark.parametrize("paid", STRANGE)
@pytest.mark.parametrize("payer_has_code", [None, True])
def test_a_contract_wallets_signature_is_left_to_the_facilitator(
    paid: protocol.Payment, payer_has_code: bool | None
) -> None:
    assert _check(paid, payer_has_code=payer_has_code) is Standing.NEEDS_FACILITATOR


@pytest.mark.parametrize("paid", STRANGE)
def test_it_is_refused_when_the_payer_is_known_to_have_no_code(paid: protocol.Payment) -> None:
    assert _code(paid, payer_has_code=False) == Code.SIGNATURE_INVALID


def test_a_payer_with_code_is_never_judged_by_its_key() -> None:
    assert _check(make.payment(), payer_has_code=True) is Standing.NEEDS_FACILITATOR


@given(st.binary(min_size=65, max_size=65))
def test_no_signature_makes_recovery_fail_otherwise(signature: bytes) -> None:
    recovered = local_checks.recover(bytes(32), signature)

    assert recovered is None or len(recovered) == 42
