"""What a facilitator is sent, and what its answers are worth."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import payments as make
from x402.extensions import bazaar
from x402.schemas import PaymentPayload, PaymentRequirements, SettleResponse, VerifyResponse
from x402.schemas.v1 import PaymentPayloadV1, PaymentRequirementsV1

from pve402.payments import extensions
from pve402.payments.facilitators import Outcome, http, wire

PAID = make.payment()
TX = make.TRANSACTION


def _settled(status: int = 200, **answer: Any) -> tuple[Outcome, str | None, str | None]:
    read = wire.read_settlement(status, json.dumps(answer).encode(), PAID)
    return read.outcome, read.transaction, read.reason


def test_a_v2_request_is_what_the_official_types_say() -> None:
    body = wire.request_body(PAID, make.requirements())

    payload = PaymentPayload.model_validate(body["paymentPayload"])
    terms = PaymentRequirements.model_validate(body["paymentRequirements"])
    assert (body["x402Version"], payload.accepted) == (2, terms)
    assert payload.payload["authorization"]["nonce"] == PAID.nonce
    assert payload.payload["signature"] == PAID.signature


def test_a_catalogue_finds_what_we_declare_and_nothing_of_the_payers() -> None:
    resource = extensions.Resource(method="GET", path="/list")
    declared = extensions.declared(resource, "/list", takes_identifier=False)

    body = wire.request_body(PAID, make.requirements(declared=declared))

    found = bazaar.extract_discovery_info(body["paymentPayload"], body["paymentRequirements"])
    assert found is not None
    assert (found.method, found.resource_url) == ("GET", make.requirements().resource_url)
    assert (found.service_name, found.tags) == ("pve402", extensions.SERVICE["tags"])
    assert body["paymentPayload"]["extensions"] == json.loads(declared.full)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"bazaar": {"status": "success"}}, ("success", None)),
        ({"bazaar": {"status": "rejected", "rejectedReason": "bad_url"}}, ("rejected", "bad_url")),
        ({"bazaar": {"status": "<b>", "rejectedReason": "no\nway"}}, ("refused", "refused")),
        ({"bazaar": {}}, None),
        ({"bazaar": "x"}, None),
        ([], None),
    ],
)
def test_what_a_catalogue_says_is_read_as_codes(said: Any, expected: Any) -> None:
    header = base64.b64encode(json.dumps(said).encode()).decode()

    assert wire.read_listing(header) == expected


@pytest.mark.parametrize("header", ["", "?", "e30", "A" * 5000])
def test_a_catalogue_that_cannot_be_understood_said_nothing(header: str) -> None:
    assert wire.read_listing(header) is None


def test_a_v1_request_is_what_the_official_types_say() -> None:
    body = wire.request_body(make.payment(version=1), make.requirements())

    payload = PaymentPayloadV1.model_validate(body["paymentPayload"])
    terms = PaymentRequirementsV1.model_validate(body["paymentRequirements"])
    assert (body["x402Version"], payload.network, terms.network) == (1, *["base-sepolia"] * 2)
    assert terms.max_amount_required == "10000"


@pytest.mark.parametrize("valid", [True, False])
def test_an_official_verification_is_read(valid: bool) -> None:
    answer = VerifyResponse(is_valid=valid, invalid_reason="insufficient_funds", payer=PAID.payer)

    read = wire.read_verification(200, answer.model_dump_json(by_alias=True).encode())

    assert (read.valid, read.payer) == (valid, PAID.payer)
    assert read.reason == (None if valid else "insufficient_funds")


@pytest.mark.parametrize("network", ["eip155:84532", "base-sepolia"])
def test_an_official_settlement_is_read(network: str) -> None:
    answer = SettleResponse(success=True, transaction=TX, network=network, payer=PAID.payer)

    read = wire.read_settlement(200, answer.model_dump_json(by_alias=True).encode(), PAID)

    assert (read.outcome, read.transaction) == (Outcome.SETTLED, TX)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"success": False, "errorReason": "bad"}, (Outcome.REFUSED, None, "bad")),
        ({"success": False}, (Outcome.REFUSED, None, "refused")),
        (
            {"success": False, "errorReason": "settlement_pending", "transaction": TX},
            (Outcome.UNKNOWN, TX, "settlement_pending"),
        ),
        (
            {"success": False, "errorReason": "Sign <b>here</b> \n", "transaction": "0x1"},
            (Outcome.REFUSED, None, "refused"),
        ),
        ({"success": True, "network": "base-sepolia"}, (Outcome.SETTLED, None, None)),
        (
            {"success": True, "network": "base-sepolia", "transaction": "not a hash"},
            (Outcome.SETTLED, None, None),
        ),
        (
            {"success": True, "network": "base-sepolia", "payer": make.account().address},
            (Outcome.SETTLED, None, None),
        ),
    ],
)
def test_answers_to_settle(answer: dict[str, Any], expected: Any) -> None:
    assert _settled(**answer) == expected


@pytest.mark.parametrize(
    "answer",
    [
        {"success": "true"},
        {"success": 1},
        {},
        {"success": True, "network": "base", "transaction": TX},
        {"success": True, "transaction": TX},
        {"success": True, "network": "base-sepolia", "payer": make.SOMEBODY},
    ],
)
def test_a_yes_about_something_else_is_not_believed(answer: dict[str, Any]) -> None:
    with pytest.raises(wire.Unusable):
        _settled(**answer)


def test_a_yes_with_an_error_status_is_not_believed() -> None:
    with pytest.raises(wire.Unusable):
        _settled(400, success=True, network="base-sepolia", transaction=TX)
    with pytest.raises(wire.Unusable):
        wire.read_verification(400, b'{"isValid": true}')


def test_a_no_with_an_error_status_is_a_no() -> None:
    assert _settled(400, success=False, errorReason="bad")[0] is Outcome.REFUSED
    assert not wire.read_verification(400, b'{"isValid": false}').valid


@given(st.binary(max_size=200))
def test_any_other_bytes_are_unusable(raw: bytes) -> None:
    for read in (
        lambda: wire.read_verification(200, raw),
        lambda: wire.read_settlement(200, raw, PAID),
    ):
        with pytest.raises(wire.Unusable):
            read()


def test_deep_nesting_is_unusable() -> None:
    with pytest.raises(wire.Unusable):
        wire.read_verification(200, b"[" * 60_000)


@pytest.mark.parametrize("status", [200, 201, 202, 203, 206, 226])
def test_a_yes_with_any_good_status_is_believed(status: int) -> None:
    raw = json.dumps({"isValid": True, "payer": PAID.payer}).encode()

    assert wire.read_verification(status, raw).valid


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://f.example", "https://f.example/verify"),
        ("https://f.example/", "https://f.example/verify"),
        ("https://f.example/x402?key=x", "https://f.example/x402/verify?key=x"),
        ("https://f.example?key=x&b=", "https://f.example/verify?key=x&b="),
        ("https://f.example:8443/a/b/?k=%2F", "https://f.example:8443/a/b/verify?k=%2F"),
    ],
)
def test_what_the_operator_wrote_behind_a_question_mark_is_kept(url: str, address: str) -> None:
    made = http.HttpFacilitator(http.HttpFacilitatorOptions(url=url))

    assert made._address("verify") == address
