"""The 402 answer, read as the official clients read it."""

import base64
import json
from typing import Any

import pytest
from tests.support import payments as make
from x402.http import utils as sdk
from x402.schemas import PaymentRequired
from x402.schemas.v1 import PaymentRequiredV1

from pve402.payments import extensions, networks, payment_required, protocol

V1_CLIENT_FIELDS = {  # required by the schemas of x402 1.0 (Python) and 1.x (JavaScript)
    "scheme": str,
    "network": str,
    "maxAmountRequired": str,
    "resource": str,
    "description": str,
    "mimeType": str,
    "payTo": str,
    "maxTimeoutSeconds": int,
    "asset": str,
    "extra": dict,
}


def _body(*terms: protocol.Requirements, **more: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(protocol.payment_required(terms, **more).body)
    return document


def _header(*terms: protocol.Requirements, **more: Any) -> PaymentRequired:
    read = sdk.decode_payment_required_header(
        protocol.payment_required(terms, **more).headers["payment-required"]
    )
    assert isinstance(read, PaymentRequired)
    return read


def test_the_v2_header_is_what_the_official_client_reads() -> None:
    declared = extensions.Declared(forms=('{"e":{"info":1}}',))
    terms = make.requirements(declared=declared)

    read = _header(terms, error="pay")

    assert (read.x402_version, read.error, read.extensions) == (2, "pay", {"e": {"info": 1}})
    assert read.resource is not None
    assert read.resource.url == terms.resource_url
    assert read.accepts[0].model_dump(by_alias=True) == protocol.v2_terms(terms)


def test_the_v1_body_is_what_v1_clients_read() -> None:
    body = _body(make.requirements(), error="pay")

    read = PaymentRequiredV1.model_validate(body)
    assert (body["x402Version"], body["error"]) == (1, "pay")
    assert read.accepts[0].max_amount_required == "10000"
    assert {k: type(v) for k, v in body["accepts"][0].items()} == V1_CLIENT_FIELDS


def test_the_answer_is_not_stored_and_carries_the_services_error_form() -> None:
    answer = protocol.payment_required([make.requirements()], error='no "money"', code="too_little")

    body = json.loads(answer.body)
    assert answer.status == 402
    assert answer.headers["cache-control"] == "no-store"
    assert (body["code"], body["detail"], body["error"]) == ("too_little", *['no "money"'] * 2)


def test_only_the_amount_differs_between_two_prices() -> None:
    cheap, dear = make.requirements(amount_atomic=1), make.requirements(amount_atomic=10**30)

    assert (
        _body(cheap)["accepts"][0] | {"maxAmountRequired": str(10**30)}
        == (_body(dear)["accepts"][0])
    )
    assert _header(dear).accepts[0].amount == str(10**30)


@pytest.mark.parametrize(
    ("offered", "named"),
    [
        (["base", "polygon"], ["base"]),  # Python's v1 client would reject the whole offer
        (["polygon", "base-sepolia"], ["base-sepolia"]),
        (["polygon", "celo"], ["polygon", "celo"]),
        (["ethereum", "sei"], ["sei"]),
    ],
)
def test_v1_clients_see_only_names_they_know(offered: list[str], named: list[str]) -> None:
    terms = [make.requirements(network=name) for name in offered]

    assert [entry["network"] for entry in _body(*terms)["accepts"]] == named
    assert len(_header(*terms).accepts) == len(offered)


def test_terms_that_v1_cannot_express_are_in_the_body_as_v2() -> None:
    body = _body(make.requirements(network="ethereum"))

    assert body["x402Version"] == 2
    assert body["accepts"][0]["network"] == "eip155:1"


def test_an_asset_of_ones_own_is_offered_to_v2_alone() -> None:
    terms = make.requirements(
        network="base", asset=make.SOMEBODY, asset_name="EURC", asset_version="2"
    )

    assert _header(terms).accepts[0].extra == {"name": "EURC", "version": "2"}
    assert _body(terms)["x402Version"] == 2


def test_an_output_schema_is_given_to_v1_clients() -> None:
    terms = make.requirements(output_schema_json='{"input":{"type":"http"}}')

    assert _body(terms)["accepts"][0]["outputSchema"] == {"input": {"type": "http"}}


def _offers(count: int, *forms: str) -> list[protocol.Requirements]:
    declared = extensions.Declared(forms=forms or ("{}",))
    return [
        make.requirements(network=each.caip2, declared=declared)
        for each in networks.NETWORKS[:count]
    ]


@pytest.mark.parametrize(
    ("lengths", "shown"), [((10, 5), 10), ((3000, 10), 10), ((3000, 2000, 7), 7), ((9000,), None)]
)
def test_less_is_declared_where_the_header_has_less_room(
    lengths: tuple[int, ...], shown: int | None
) -> None:
    forms = [json.dumps({"e": "x" * length}) for length in lengths]

    read = _header(*_offers(3, *forms))

    assert len(read.accepts) == (3 if shown else 1)
    assert read.extensions == ({"e": "x" * shown} if shown else None)


def test_the_header_holds_the_first_offers_that_fit_and_the_one_that_was_paid_on() -> None:
    every = _offers(len(networks.NETWORKS))
    last = every[-1].network

    plain, again = (
        protocol.payment_required(every, preferred=network).headers["payment-required"]
        for network in (None, last)
    )

    first = [offer.network for offer in every]
    for header, expected in ((plain, first), (again, [last, *first])):
        assert len(header) < payment_required.MOST_HEADER_BYTES
        offered = [terms.network for terms in sdk.decode_payment_required_header(header).accepts]
        assert len(offered) >= 8
        assert offered == expected[: len(offered)]


def test_nothing_to_pay_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one"):
        protocol.payment_required([])


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount_atomic": 0},
        {"amount_atomic": -5},
        {"amount_atomic": 2**256},
        {"max_timeout_seconds": 0},
        {"pay_to": "0x1"},
        {"asset": make.SOMEBODY},
    ],
)
def test_terms_that_nobody_could_meet_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be|is 0x|needs"):
        make.requirements(**wrong)


@pytest.mark.parametrize(
    ("version", "name", "network"),
    [(1, "X-PAYMENT-RESPONSE", "base-sepolia"), (2, "PAYMENT-RESPONSE", "eip155:84532")],
)
def test_a_receipt_is_what_the_official_client_reads(version: Any, name: str, network: str) -> None:
    header, value = protocol.receipt_header(
        version,
        success=True,
        network="eip155:84532",
        payer=make.SOMEBODY,
        transaction=make.TRANSACTION,
        amount_atomic=7,
    )

    read = sdk.decode_payment_response_header(value)
    assert header == name
    assert (read.success, read.network, read.transaction) == (True, network, make.TRANSACTION)
    assert (read.payer or "").lower() == make.SOMEBODY


def test_a_receipt_of_a_failure_gives_the_reason() -> None:
    _name, value = protocol.receipt_header(
        2, success=False, network="base", payer=make.SOMEBODY, reason="insufficient_funds"
    )

    assert json.loads(base64.b64decode(value))["errorReason"] == "insufficient_funds"
    assert sdk.decode_payment_response_header(value).transaction == ""
