"""Requests against a price."""

import pytest
from tests.support import payments as make

from pve402.payments import errors, judgement
from pve402.payments.schemes.base import Limits, Standing

LIMITS = Limits(min_remaining_seconds=60)


def _judge(headers: dict[str, str], *networks: str) -> judgement.Judged:
    offers = [make.requirements(network=name) for name in networks or ("base-sepolia",)]
    return judgement.judge(offers, headers, now_seconds=make.NOW, limits=LIMITS)


def test_without_a_payment_one_is_asked_for() -> None:
    with pytest.raises(errors.PaymentRejected) as told:
        _judge({})

    assert (told.value.status, told.value.code) == (402, "payment_required")


@pytest.mark.parametrize("version", [1, 2])
def test_a_good_payment_is_proven(version: int) -> None:
    paid = make.payment(version=version)

    judged = _judge(make.header(paid))

    assert judged.payment == paid
    assert judged.standing is Standing.PROVEN
    assert judged.too_late is None


def test_a_payment_is_held_against_the_offer_of_its_network() -> None:
    terms = make.requirements(network="base")

    judged = _judge(make.header(make.payment(version=1, terms=terms)), "base-sepolia", "base")

    assert judged.requirements.network == "eip155:8453"


def test_an_unreadable_header_is_malformed() -> None:
    with pytest.raises(errors.PaymentMalformed) as told:
        _judge({"X-PAYMENT": "!"})

    assert told.value.status == 400


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"valid_before": make.NOW + 10}, errors.Code.EXPIRES_TOO_SOON),
        ({"valid_before": make.NOW - 10}, errors.Code.EXPIRED),
        ({"amount_atomic": 9_000}, errors.Code.AMOUNT_MISMATCH),
    ],
)
def test_a_payment_that_may_have_bought_before_comes_too_late(
    changes: dict[str, int], code: errors.Code
) -> None:
    judged = _judge(make.header(make.payment(**changes)))

    assert judged.too_late is not None
    assert judged.too_late.code is code
    assert judged.standing is Standing.PROVEN


@pytest.mark.parametrize("beyond_seconds", [121, 600, 3_600, 86_400, 10 * 365 * 86_400])
def test_a_payment_that_stays_valid_for_long_is_rejected(beyond_seconds: int) -> None:
    paid = make.payment(valid_before=make.NOW + 300 + beyond_seconds)

    with pytest.raises(errors.PaymentRejected) as told:
        _judge(make.header(paid))

    assert told.value.code is errors.Code.VALID_TOO_LONG


@pytest.mark.parametrize("beyond_seconds", [0, 1, 60, 119, 120])
def test_a_payers_clock_may_be_a_little_ahead(beyond_seconds: int) -> None:
    paid = make.payment(valid_before=make.NOW + 300 + beyond_seconds)

    assert _judge(make.header(paid)).too_late is None


def test_a_network_that_is_not_on_offer_is_named() -> None:
    terms = make.requirements(network="polygon")

    with pytest.raises(errors.PaymentRejected) as told:
        _judge(make.header(make.payment(version=1, terms=terms)))

    assert told.value.code is errors.Code.NETWORK_NOT_ACCEPTED
