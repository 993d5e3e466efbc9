"""The tenants' client: pays within its cap, and repeats without buying twice."""

import json

import pytest
from eth_account import Account
from tests.support import sign_in_texts
from tests.support.scripted_seller import (
    ACCEPTED,
    DONE,
    PENDING,
    UNSETTLED,
    WISH,
    Script,
    receipt,
    script,
)
from tests.support.tenant_service import KEY, LEASE, LEASE_ID

from pve402 import client

__all__ = ["script"]

PASSING = [
    (429, {"detail": "wait", "code": "too_many_requests"}, {"Retry-After": "1"}),
    (500, {"detail": "our side", "code": "internal_error"}, {}),
    (503, {"detail": "wait", "code": "overloaded"}, {}),
    (503, {"detail": "wait", "code": "try_later"}, {}),
    (503, {"detail": "wait", "code": "database_unavailable"}, {}),
    (502, ["a proxy's page"], {}),
    (504, ["a proxy's page"], {}),
]
FINAL = [
    (402, "insufficient_funds"),
    (409, "no_capacity"),
    (429, "wallet_must_wait"),
    (502, "provisioning_failed"),
    (503, "facilitator_unavailable"),
]


@pytest.mark.parametrize(
    "answers", [[DONE], [PENDING, DONE], [UNSETTLED, UNSETTLED, DONE], [None, PENDING, DONE]]
)
async def test_one_payment_is_sent_until_its_outcome_is_known(script: Script, answers: list):
    script.answers = list(answers)

    async with client.Client(script.url, key=KEY) as tenant:
        bought = await tenant.lease(WISH)

    assert bought.answer.ctid == "10000"
    assert bought.receipt
    assert bought.receipt.transaction == "0x1"
    assert len({request["PAYMENT-SIGNATURE"] for request in script.paid}) == 1
    keys = {request["Idempotency-Key"] for request in script.paid}
    assert len(keys) == 1
    assert len(keys.pop()) >= 22


@pytest.mark.parametrize("passing", PASSING, ids=str)
async def test_an_answer_that_is_not_final_is_not_taken_as_one(script: Script, passing: tuple):
    script.answers = [passing, ACCEPTED, passing, DONE]

    async with client.Client(script.url, key=KEY) as tenant:
        bought = await tenant.lease(WISH, on_progress=lambda _lease: None)

    assert bought.answer.ctid == "10000"
    assert len({request["PAYMENT-SIGNATURE"] for request in script.paid}) == 1
    assert len({request["Idempotency-Key"] for request in script.paid}) == 1


@pytest.mark.parametrize(("status", "code"), FINAL)
async def test_a_final_refusal_is_told_at_once(script: Script, status: int, code: str):
    script.answers = [(status, {"detail": "no", "code": code}, {})]

    async with client.Client(script.url, key=KEY) as tenant:
        with pytest.raises(client.Refused, match=code):
            await tenant.lease(WISH)

    assert len(script.paid) == 1


async def test_a_price_over_the_cap_is_not_signed(script: Script):
    script.amount_atomic = 500_001

    async with client.Client(script.url, key=KEY, cap_usd="0.50") as tenant:
        with pytest.raises(client.OverCap):
            await tenant.lease(WISH)

    assert script.paid == []


async def test_without_a_key_nothing_is_paid(script: Script):
    async with client.Client(script.url) as tenant:
        with pytest.raises(client.KeyNeeded):
            await tenant.lease(WISH)


async def test_a_refusal_keeps_status_code_and_time(script: Script):
    script.answers = [(409, {"detail": "full", "code": "no_capacity"}, {"Retry-After": "60"})]

    async with client.Client(script.url, key=KEY) as tenant:
        with pytest.raises(client.Refused) as raised:
            await tenant.lease(WISH)

    refused = raised.value
    assert (refused.status, refused.code, refused.retry_after_seconds) == (409, "no_capacity", 60)


async def test_an_answer_that_is_none_of_ours_is_a_refusal(script: Script):
    script.answers = [(502, ["a proxy's page"], {})]

    async with client.Client(script.url, key=KEY, patience_seconds=0) as tenant:
        with pytest.raises(client.Refused, match="unexpected_answer"):
            await tenant.lease(WISH)


async def test_patience_has_an_end(script: Script):
    script.answers = [PENDING] * 3

    async with client.Client(script.url, key=KEY, patience_seconds=0) as tenant:
        with pytest.raises(client.Refused, match="order_pending"):
            await tenant.lease(WISH)

    assert len(script.paid) == 1


async def test_a_service_that_is_not_there_is_said_so():
    async with client.Client("http://127.0.0.1:9") as tenant:
        with pytest.raises(client.ServiceUnreachable, match=r"127\.0\.0\.1:9: Connection refused"):
            await tenant.catalogue()


@pytest.mark.parametrize(
    ("date", "is_told"), [("Wed, 21 Oct 2015 07:28:00 GMT", True), ("soon", False), ("", False)]
)
async def test_time_is_the_services_if_it_tells_any(script: Script, date: str, is_told: bool):
    script.raw, script.raw_headers = b"", {"Date": date}

    async with client.Client(script.url) as tenant:
        await tenant.send("GET", "/")
        seen = tenant.now()

    assert (seen.year == 2015) == is_told
    assert seen.tzinfo is not None


@pytest.mark.parametrize(
    "url", ["127.0.0.1:4021", "ftp://x", "http://", "http://x:port", "http://[::1", "x"]
)
async def test_an_address_that_is_not_of_http_is_refused(url: str):
    with pytest.raises(client.AddressInvalid, match="http://"):
        async with client.Client(url):
            pass


@pytest.mark.parametrize(
    "url",
    ["http://x?key=y", "http://x/#a", "http://user@x", "https://u:p@x:1/", "https://x/a?b#c"],
)
async def test_an_address_with_more_than_a_place_is_refused(url: str):
    with pytest.raises(client.AddressInvalid, match="must not contain a user, password"):
        async with client.Client(url):
            pass


@pytest.mark.parametrize("form", ["{}", "{}/", " {}", "{}\n", "{}///"])
async def test_an_address_is_taken_as_people_write_it_down(script: Script, form: str):
    script.raw = b"{}"

    async with client.Client(form.format(script.url)) as tenant:
        assert (await tenant.send("GET", "/catalogue")).status == 200


@pytest.mark.parametrize("key", ["0x12", "", "x" * 64, "0x" + "0" * 64, "0x" + "f" * 64])
async def test_what_is_no_key_is_refused_and_not_quoted(script: Script, key: str):
    async with client.Client(script.url, key=key) as tenant:
        with pytest.raises(client.KeyInvalid) as refused:
            await tenant.lease(WISH)

    assert key == "" or key not in str(refused.value)
    assert script.paid == []


@pytest.mark.parametrize("answers", [[DONE], [ACCEPTED, DONE], [PENDING, ACCEPTED, PENDING, DONE]])
async def test_progress_is_told_from_the_payment_on(script: Script, answers: list):
    script.answers, told = list(answers), []

    async with client.Client(script.url, key=KEY) as tenant:
        await tenant.lease(WISH, on_progress=told.append)

    assert told[0] is None
    assert [lease.lease_id for lease in told[1:]] == [LEASE_ID] * answers.count(ACCEPTED)
    waited = [request.get("Prefer") for request in script.paid]
    assert waited[-1] is None or len(answers) == 1
    assert len({request["PAYMENT-SIGNATURE"] for request in script.paid}) == 1


@pytest.mark.parametrize("blanks", ["{}", " {}", "{} ", "\t{}\t"])
@pytest.mark.parametrize("name", ["PAYMENT-RESPONSE", "payment-response", "X-Payment-Response"])
async def test_a_receipt_is_read_however_its_header_is_written(
    script: Script, name: str, blanks: str
):
    (told,) = receipt().values()
    script.answers = [(200, LEASE, {name: blanks.format(told)})]

    async with client.Client(script.url, key=KEY) as tenant:
        bought = await tenant.lease(WISH)

    assert bought.receipt
    assert bought.receipt.payer == "0x2"


async def test_terms_in_a_header_of_small_letters_are_paid(script: Script):
    script.answers, script.lower = [DONE], True

    async with client.Client(script.url, key=KEY) as tenant:
        await tenant.lease(WISH)

    assert len(script.paid) == 1


@pytest.mark.parametrize("body", [b"<html>a proxy's page", b"[1]", b"{}", b"[" * 100_000, b""])
async def test_a_good_answer_that_is_none_of_ours_is_told(script: Script, body: bytes):
    script.raw = body

    async with client.Client(script.url, key=KEY, token="t" * 20) as tenant:
        for call in (tenant.catalogue(), tenant.show("10000"), tenant.quote(WISH)):
            with pytest.raises(client.UnexpectedAnswer, match="address"):
                await call


async def test_what_was_paid_is_told_with_an_answer_that_cannot_be_read(script: Script):
    script.answers = [(200, {"odd": 1}, receipt())]

    async with client.Client(script.url, key=KEY) as tenant:
        with pytest.raises(client.UnexpectedAnswer, match="0x1"):
            await tenant.lease(WISH)


@pytest.mark.parametrize("header", ["", "!!!", "bnVsbA==", "e30="])
async def test_a_receipt_that_cannot_be_read_is_none(script: Script, header: str):
    script.answers = [(200, LEASE, {"PAYMENT-RESPONSE": header})]

    async with client.Client(script.url, key=KEY) as tenant:
        bought = await tenant.lease(WISH)

    assert bought.receipt is None


@pytest.mark.parametrize(
    ("body", "header"),
    [(b"{}", ""), (b"<html>", ""), (b"{}", "!!!"), (b"{}", "bnVsbA=="), (b"{}", "e30=")],
)
async def test_a_demand_that_cannot_be_read_is_not_paid(script: Script, body: bytes, header: str):
    script.raw, script.raw_status = body, 402
    script.raw_headers = {"PAYMENT-REQUIRED": header} if header else {}

    async with client.Client(script.url, key=KEY) as tenant:
        with pytest.raises((client.UnexpectedAnswer, client.OverCap)):
            await tenant.lease(WISH)


@pytest.mark.parametrize(
    ("domain", "signs"),
    [("{own}", True), ("bank.example", False), ("{own}.bank.example", False), ("", False)],
)
async def test_a_challenge_of_another_service_is_not_signed(
    script: Script, domain: str, signs: bool
):
    named = domain.format(own=script.url.removeprefix("http://"))
    message = sign_in_texts.written(script.url, Account.from_key(KEY).address, domain=named)
    moment = "2030-01-01T00:00:00Z"
    challenge = {"message": message, "nonce": sign_in_texts.NONCE, "expiresAt": moment}
    script.raw = json.dumps(challenge).encode()

    async with client.Client(script.url, key=KEY) as tenant:
        with pytest.raises(client.UnexpectedAnswer) as refused:
            await tenant.log_in()

    assert ("another" in str(refused.value)) == (not signs)
