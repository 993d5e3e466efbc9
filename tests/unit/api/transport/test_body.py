"""Request bodies: what is taken, what is refused, and that nothing else comes out."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.api_fixtures import BODY, Api

from pve402 import schemas
from pve402.api.transport import body

BAD_JSON = [
    pytest.param(b"{", id="cut off"),
    pytest.param(b"nonsense", id="no JSON"),
    pytest.param(b'{"a": NaN}', id="NaN"),
    pytest.param(b'{"a": Infinity}', id="Infinity"),
    pytest.param(b'{"a": 1e400}', id="over a float"),
    pytest.param(b'{"a": -1e400}', id="under a float"),
    pytest.param(b'{"a": 1, "a": 2}', id="doubled key"),
    pytest.param(b'{"b": {"a": 1, "a": 2}}', id="doubled key within"),
    pytest.param(b"[" * 60_000, id="deep"),
    pytest.param(b"[" * 300 + b"]" * 300, id="deep and closed"),
    pytest.param(b'{"a": "\\ud800"}', id="half a surrogate pair"),
    pytest.param(b'{"a": "\xff"}', id="no UTF-8"),
    pytest.param(b"\xef\xbb\xbf{}", id="byte order mark"),
    pytest.param(b'{"a": ' + b"9" * 5000 + b"}", id="huge integer"),
    pytest.param(b'{"a": 1} {"b": 2}', id="two documents"),
    pytest.param(b"{'a': 1}", id="Python, not JSON"),
]


@pytest.mark.parametrize("raw", BAD_JSON)
def test_what_is_not_strict_json_is_refused(raw: bytes):
    with pytest.raises(body.BodyNotJson):
        body.strict_json(raw)


@pytest.mark.parametrize("raw", [b"[]", b"true", b"null", b"1", b'"text"', b"[{}]"])
def test_a_body_must_be_an_object(raw: bytes):
    with pytest.raises(body.BodyInvalid, match="must be a JSON object"):
        body.parse(raw, schemas.RenewRequest)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_value_or_a_refusal(raw: bytes):
    try:
        document = body.strict_json(raw)
    except body.BodyNotJson:
        return
    assert json.loads(raw) == document


@pytest.mark.parametrize(
    "minutes", [True, "soon", None, 1.5, 0, -150, 2**60, [], {}, "9" * 5000, " "]
)
def test_minutes_are_whole_and_positive(minutes: object):
    raw = json.dumps({"runtimeMinutes": minutes}).encode()

    with pytest.raises(body.BodyInvalid) as raised:
        body.parse(raw, schemas.RenewRequest)

    assert raised.value.problems[0]["field"] == "runtimeMinutes"


def test_a_refusal_does_not_repeat_what_was_sent():
    raw = json.dumps({**BODY, "password": ["secret-in-a-list"]}).encode()

    with pytest.raises(body.BodyInvalid) as raised:
        body.parse(raw, schemas.LeaseRequest)

    assert "secret-in-a-list" not in str(raised.value) + str(raised.value.problems)


def test_numbers_as_texts_are_taken_as_the_first_service_did():
    parsed = body.parse(b'{"runtimeMinutes": "30"}', schemas.RenewRequest)

    assert parsed.runtime_minutes == 30


@pytest.mark.parametrize(
    ("path", "most"),
    [
        ("/lease/container", body.MAX_CREATION_BYTES),
        ("/lease/quote", body.MAX_CREATION_BYTES),
        ("/lease/10000/renew", body.MAX_BYTES),
    ],
)
async def test_a_body_over_the_bound_is_413(api: Api, path: str, most: int):
    reply = await api.client.post(path, b" " * (most + 1))

    assert (reply.status, reply.code) == (413, "body_too_large")


async def test_a_body_without_announced_length_is_bounded_as_well(api: Api):
    chunks = [b"x" * 40_000] * (body.MAX_CREATION_BYTES // 40_000 + 1)

    reply = await api.client.post(
        "/lease/container", headers={"content-length": "0"}, chunks=chunks
    )

    assert (reply.status, reply.code) == (413, "body_too_large")


async def test_a_body_in_pieces_is_put_together(api: Api):
    whole = json.dumps(BODY).encode()

    reply = await api.client.post("/lease/quote", chunks=[whole[:20], whole[20:50], whole[50:]])

    assert reply.status == 200


async def test_free_form_fields_are_bounded(api: Api):
    reply = await api.client.post("/lease/container", {**BODY, "payload": "x" * 5000})

    assert (reply.status, reply.code) == (422, "invalid_body")
    assert reply.json()["errors"][0]["field"] == "payload"
