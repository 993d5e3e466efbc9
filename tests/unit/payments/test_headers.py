"""Reading payments from strangers."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers
from tests.support import payments as make

from pve402.payments import errors, protocol
from pve402.payments.errors import Code

V1, V2 = "X-PAYMENT", "PAYMENT-SIGNATURE"


def _code(headers: Any) -> Code:
    with pytest.raises(errors.PaymentRejected) as caught:
        protocol.read_payment(headers)
    return caught.value.code


def _changed(version: int, *path: str, to: Any) -> dict[str, str]:
    document: Any = make.document(make.payment(version=version))
    holder = document
    for name in path[:-1]:
        holder = holder[name]
    holder[path[-1]] = to
    return {V1 if version == 1 else V2: make.encode(document)}


@pytest.mark.parametrize("version", [1, 2])
def test_both_versions_become_one_payment(version: int) -> None:
    paid = make.payment(version=version)

    assert protocol.read_payment(make.header(paid)) == (paid, None)


def test_no_header_is_no_payment() -> None:
    assert protocol.read_payment({"accept": "*/*"}) is None


def test_equal_payments_have_equal_keys_however_they_are_written() -> None:
    paid = make.payment(version=2)
    document = make.document(paid)
    document["payload"]["authorization"]["from"] = make.account().address
    document["payload"]["authorization"]["nonce"] = "0x" + paid.nonce[2:].upper()
    document["accepted"]["asset"] = paid.asset

    again = protocol.read_payment({V2: make.encode(document)})

    assert again is not None
    assert again.payment.key == paid.key


def test_header_names_have_no_case() -> None:
    value = make.encode(make.document(make.payment(version=1)))

    assert protocol.read_payment({"x-Payment": value}) is not None
    assert protocol.read_payment(Headers({"x-payment": value})) is not None


def test_both_headers_are_refused() -> None:
    one, two = make.payment(version=1), make.payment(version=2)

    assert _code(make.header(one) | make.header(two)) == Code.HEADERS_CONFLICT


def test_a_repeated_header_is_refused() -> None:
    value = make.encode(make.document(make.payment())).encode()

    repeated = Headers(raw=[(b"payment-signature", value), (b"payment-signature", value)])

    assert _code(repeated) == Code.HEADER_REPEATED


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("A" * (16 * 1024 + 4), Code.HEADER_TOO_LARGE),
        ("not base64!", Code.NOT_BASE64),
        ("é", Code.NOT_BASE64),
        ("AAA", Code.NOT_BASE64),
        (base64.b64encode(b"\xff\xfe").decode(), Code.NOT_JSON),
        (base64.b64encode(b"{").decode(), Code.NOT_JSON),
        (base64.b64encode(b"[" * 10_000).decode(), Code.NOT_JSON),
        (base64.b64encode(b'{"x402Version":NaN}').decode(), Code.NOT_JSON),
        (base64.b64encode(b'{"x402Version":-Infinity}').decode(), Code.NOT_JSON),
        (base64.b64encode(b'{"x402Version":' + b"9" * 5000 + b"}").decode(), Code.NOT_JSON),
        (base64.b64encode(b'{"x402Version":1e400}').decode(), Code.MALFORMED),
        (base64.b64encode(b'{"x402Version":2.0}').decode(), Code.MALFORMED),
        (base64.b64encode(b'{"x402Version":true}').decode(), Code.MALFORMED),
        (base64.b64encode(b"[]").decode(), Code.MALFORMED),
        (base64.b64encode(b"null").decode(), Code.MALFORMED),
        ("", Code.NOT_JSON),
    ],
)
@pytest.mark.parametrize("name", [V1, V2])
def test_what_is_not_a_document_is_refused(name: str, value: str, code: Code) -> None:
    assert _code({name: value}) == code


@pytest.mark.parametrize(("name", "version"), [(V1, 2), (V2, 1)])
def test_a_payload_in_the_other_versions_header_is_refused(name: str, version: int) -> None:
    document = make.document(make.payment(version=version))

    assert _code({name: make.encode(document)}) == Code.VERSION_MISMATCH


AUTHORIZATION = ("payload", "authorization")


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("path", "to", "code"),
    [
        (("payload",), [], Code.MALFORMED),
        (("payload",), {"permit2Authorization": {}}, Code.UNSUPPORTED_METHOD),
        (("payload",), {}, Code.MALFORMED),
        (("payload", "signature"), None, Code.MALFORMED),
        (("payload", "signature"), "0x", Code.MALFORMED),
        (("payload", "signature"), "0xabc", Code.MALFORMED),
        (("payload", "signature"), "0x" + "ab" * 4097, Code.MALFORMED),
        ((*AUTHORIZATION, "from"), "0x1", Code.MALFORMED),
        ((*AUTHORIZATION, "from"), "0x" + "٣" * 40, Code.MALFORMED),
        ((*AUTHORIZATION, "to"), 7, Code.MALFORMED),
        ((*AUTHORIZATION, "value"), "-1", Code.MALFORMED),
        ((*AUTHORIZATION, "value"), "1e3", Code.MALFORMED),
        ((*AUTHORIZATION, "value"), "٣", Code.MALFORMED),
        ((*AUTHORIZATION, "value"), " 1", Code.MALFORMED),
        ((*AUTHORIZATION, "value"), True, Code.MALFORMED),
        ((*AUTHORIZATION, "value"), 1.0, Code.MALFORMED),
        ((*AUTHORIZATION, "value"), str(2**256), Code.MALFORMED),
        ((*AUTHORIZATION, "value"), 2**256, Code.MALFORMED),
        ((*AUTHORIZATION, "value"), "9" * 5000, Code.MALFORMED),
        ((*AUTHORIZATION, "validAfter"), None, Code.MALFORMED),
        ((*AUTHORIZATION, "validBefore"), [], Code.MALFORMED),
        ((*AUTHORIZATION, "nonce"), "0x" + "00" * 31, Code.MALFORMED),
        ((*AUTHORIZATION, "nonce"), "00" * 32, Code.MALFORMED),
    ],
)
def test_a_wrong_field_is_refused(version: int, path: Any, to: Any, code: Code) -> None:
    assert _code(_changed(version, *path, to=to)) == code


@pytest.mark.parametrize(
    ("version", "path", "to", "code"),
    [
        (1, ("scheme",), "upto", Code.UNSUPPORTED_SCHEME),
        (2, ("accepted", "scheme"), "upto", Code.UNSUPPORTED_SCHEME),
        (1, ("network",), "solana", Code.UNSUPPORTED_NETWORK),
        (1, ("network",), "eip155:84532", Code.UNSUPPORTED_NETWORK),
        (2, ("accepted", "network"), "base-sepolia", Code.UNSUPPORTED_NETWORK),
        (2, ("accepted", "network"), 5, Code.MALFORMED),
        (2, ("accepted",), None, Code.MALFORMED),
        (2, ("accepted", "amount"), "1", Code.TERMS_MISMATCH),
        (2, ("accepted", "payTo"), make.SOMEBODY, Code.TERMS_MISMATCH),
    ],
)
def test_other_terms_are_refused(version: int, path: Any, to: Any, code: Code) -> None:
    assert _code(_changed(version, *path, to=to)) == code


def test_what_the_payer_says_about_the_resource_is_not_kept() -> None:
    document = make.document(make.payment())
    document["resource"] = {"url": "https://evil.example/free"}
    document["extensions"] = {"x": "y"}

    read = protocol.read_payment({V2: make.encode(document)})

    assert read is not None
    assert "evil" not in read.payment.to_json()


def _named(given: Any) -> dict[str, str]:
    document = make.document(make.payment())
    document["extensions"] = {"bazaar": {}, "payment-identifier": given}
    return {V2: make.encode(document)}


@pytest.mark.parametrize(
    "identifier", ["pay_7d5d747be160e280504c099d984bcfe0", "a" * 16, "-" * 128]
)
def test_the_name_that_a_client_gives_its_payment_is_read(identifier: str) -> None:
    read = protocol.read_payment(_named({"info": {"required": False, "id": identifier}}))

    assert read is not None
    assert read.identifier == identifier


@pytest.mark.parametrize("given", [None, "x", [], {}, {"info": None}, {"info": {"required": True}}])
def test_a_payment_without_a_name_has_none(given: Any) -> None:
    read = protocol.read_payment(_named(given))

    assert read is not None
    assert read.identifier is None


@pytest.mark.parametrize(
    "identifier", ["a" * 15, "a" * 129, "a" * 16 + "\n", "é" * 16, 10**16, ["a"]]
)
def test_a_name_that_is_none_is_refused(identifier: Any) -> None:
    assert _code(_named({"info": {"id": identifier}})) is Code.MALFORMED


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_with_a_code(raw: bytes) -> None:
    assert _code({V2: base64.b64encode(raw).decode()}) in Code


@given(st.text(max_size=200))
def test_any_text_is_refused_with_a_code(text: str) -> None:
    assert _code({V1: text}) in Code


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
PATHS = st.sampled_from(
    [
        ("x402Version",),
        ("payload",),
        ("accepted",),
        ("payload", "signature"),
        *((*AUTHORIZATION, name) for name in ("from", "to", "value", "validAfter", "nonce")),
        *(("accepted", name) for name in ("scheme", "network", "asset", "amount", "payTo")),
    ]
)


@given(PATHS, JSON)
def test_any_field_of_any_type_gives_a_payment_or_a_code(path: Any, value: Any) -> None:
    headers = _changed(2, *path, to=value)

    try:
        read = protocol.read_payment(headers)
    except errors.PaymentRejected:
        return

    assert read is not None
    assert isinstance(read.payment, protocol.Payment)


@given(
    amount=st.integers(0, 2**256 - 1),
    valid_before=st.integers(0, 2**256 - 1),
    version=st.sampled_from([1, 2]),
)
def test_a_stored_payment_is_read_back(amount: int, valid_before: int, version: int) -> None:
    paid = make.payment(
        version=version, amount_atomic=amount, valid_before=valid_before, signature="0xab"
    )

    assert protocol.Payment.from_json(paid.to_json()) == paid


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"version": 1}'])
def test_a_spoiled_stored_payment_is_refused(text: str) -> None:
    with pytest.raises(errors.PaymentMalformed):
        protocol.Payment.from_json(text)


def test_the_signature_is_in_no_repr_and_no_error() -> None:
    paid = make.payment()
    document = make.document(paid)
    document["payload"]["authorization"]["value"] = paid.signature

    with pytest.raises(errors.PaymentRejected) as caught:
        protocol.read_payment({V2: make.encode(document)})

    assert paid.signature[2:40] not in repr(paid)
    assert paid.signature[2:40] not in repr(caught.value)
    assert json.loads(paid.to_json())["signature"] == paid.signature


@pytest.mark.parametrize(
    "blanks", [(" ", ""), ("", " "), ("\t", "\t"), ("  ", "   "), (" \t ", "")]
)
@pytest.mark.parametrize("version", [1, 2])
def test_blanks_around_a_payment_are_no_part_of_it(version: int, blanks: tuple[str, str]) -> None:
    paid = make.payment(version=version)
    ((name, value),) = make.header(paid).items()

    assert protocol.read_payment({name: blanks[0] + value + blanks[1]}) == (paid, None)
