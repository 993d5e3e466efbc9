"""Requests against a price."""

import json

import pytest
from tests.support import payments as make

from pve402.payments import errors, paygate
from pve402.payments.schemes.exact import local_checks

LIMITS = local_checks.Limits(min_remaining_seconds=60)


def _decide(headers: dict[str, str], *networks: str) -> paygate.Decision:
    offers = [make.requirements(network=name) for name in networks or ("base-sepolia",)]
    return paygate.decide(offers, headers, now_seconds=make.NOW, limits=LIMITS)


def test_without_a_payment_the_terms_are_given() -> None:
    decision = _decide({})

    assert isinstance(decision, paygate.Unpaid)
    assert json.loads(decision.challenge.body)["code"] == "payment_required"


@pytest.mark.parametrize("version", [1, 2])
def test_a_good_payment_is_paid(version: int) -> None:
    paid = make.payment(version=version)

    decision = _decide(make.header(paid))

    assert isinstance(decision, paygate.Paid)
    assert decision.payment == paid
    assert decision.standing is local_checks.Standing.PROVEN


def test_a_payment_is_held_against_the_offer_of_its_network() -> None:
    terms = make.requirements(network="base")

    decision = _decide(make.header(make.payment(version=1, terms=terms)), "base-sepolia", "base")

    assert isinstance(decision, paygate.Paid)
    assert decision.requirements.network == "eip155:8453"


def test_an_unreadable_header_is_answered_400_without_terms() -> None:
    decision = _decide({"X-PAYMENT": "!"})

    assert isinstance(decision, paygate.Rejected)
    assert (decision.status, decision.challenge) == (400, None)


def test_a_payment_that_is_not_good_is_answered_402_with_terms_and_reason() -> None:
    decision = _decide(make.header(make.payment(valid_before=make.NOW + 10)))

    assert isinstance(decision, paygate.Rejected)
    assert decision.challenge is not None
    body = json.loads(decision.challenge.body)
    assert (decision.status, body["code"]) == (402, errors.Code.EXPIRES_TOO_SOON)
    assert body["accepts"]


def test_a_network_that_is_not_on_offer_is_named() -> None:
    terms = make.requirements(network="polygon")

    decision = _decide(make.header(make.payment(version=1, terms=terms)))

    assert isinstance(decision, paygate.Rejected)
    assert decision.code is errors.Code.NETWORK_NOT_ACCEPTED
