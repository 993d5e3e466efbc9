"""Reads a payment out of request headers: x402 v1 `X-PAYMENT`, v2 `PAYMENT-SIGNATURE`.

Both headers hold untrusted JSON in base64. Whatever they contain, the result is a Payment, None,
or a PaymentRejected with a code; no error message repeats the input.
"""

import binascii
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, NoReturn, Protocol, cast

import pydantic_core

from pve402.payments import errors, extensions, fields, networks
from pve402.payments.errors import Code
from pve402.payments.payment import Payment, Version
from pve402.payments.schemes import known
from pve402.payments.schemes.base import Scheme

V1_HEADER: Final = "x-payment"
V2_HEADER: Final = "payment-signature"
MAX_HEADER_BYTES: Final = 16 * 1024
"""Plain payments take 550 bytes; those with a wrapped contract-wallet signature a few thousand."""
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9_-]{16,128}", re.ASCII)


class MultiHeaders(Protocol):
    """Headers that can hold the same name several times, like Starlette's."""

    def getlist(self, key: str) -> list[str]:
        """Return all values of a name, ignoring case."""
        ...


class Read(NamedTuple):
    """A request's payment, and the name that its sender gave it.

    The signature does not cover the name, so whoever passes the payment on can change it.
    """

    payment: Payment
    identifier: str | None = None
    """The id of the extension `payment-identifier`, if there is one."""


def read_payment(headers: Mapping[str, str] | MultiHeaders) -> Read | None:
    """Read the payment of a request, or None if it carries none.

    Raises:
        PaymentMalformed: the header cannot be read (400).
        PaymentRejected: the header is readable, but we do not take this kind of payment (402).
    """
    v1, v2 = _values(headers, V1_HEADER), _values(headers, V2_HEADER)
    if v1 and v2:
        fields.malformed("send X-PAYMENT or PAYMENT-SIGNATURE, not both", Code.HEADERS_CONFLICT)
    values = v2 or v1
    if not values:
        return None
    if len(values) > 1:
        fields.malformed("send one payment header", Code.HEADER_REPEATED)
    document = _decode(values[0].strip(" \t"))
    return Read(_read_v2(document), _identifier(document)) if v2 else Read(_read_v1(document))


def _values(headers: Mapping[str, str] | MultiHeaders, name: str) -> list[str]:
    getlist = getattr(headers, "getlist", None)  # isinstance with a Protocol takes 10 us
    if getlist is not None:
        return cast("MultiHeaders", headers).getlist(name)
    return [v for k, v in cast("Mapping[str, str]", headers).items() if k.lower() == name]


def _decode(value: str) -> dict[str, Any]:
    if len(value) > MAX_HEADER_BYTES:
        fields.malformed(
            f"a payment header must be at most {MAX_HEADER_BYTES} bytes", Code.HEADER_TOO_LARGE
        )
    try:
        raw = binascii.a2b_base64(value, strict_mode=True)
    except ValueError:  # also raised for non-ASCII
        fields.malformed("the payment header is not base64", Code.NOT_BASE64)
    try:
        document = pydantic_core.from_json(raw, allow_inf_nan=False, cache_strings="keys")
    except ValueError:  # also raised for deep nesting and huge integers
        fields.malformed("the payment header does not contain JSON", Code.NOT_JSON)
    if not isinstance(document, dict):
        fields.malformed("the payment is not a JSON object")
    return document


def _read_v1(document: dict[str, Any]) -> Payment:
    _require_version(document, 1, "X-PAYMENT")
    scheme = _scheme(document)
    network = networks.resolve_v1(fields.text(document, "network"))
    if network is None:
        _rejected(Code.UNSUPPORTED_NETWORK, "x402 v1 has no such network")
    payload = fields.json_object(document, "payload")
    return scheme.read(1, network, network.asset.lower(), payload)


def _read_v2(document: dict[str, Any]) -> Payment:
    _require_version(document, 2, "PAYMENT-SIGNATURE")
    accepted = fields.json_object(document, "accepted")
    scheme = _scheme(accepted)
    network = networks.BY_CAIP2.get(fields.text(accepted, "network"))
    if network is None:
        _rejected(Code.UNSUPPORTED_NETWORK, "this network is not supported here")
    asset = fields.address(accepted, "asset")
    payment = scheme.read(2, network, asset, fields.json_object(document, "payload"))
    stated = (fields.uint256(accepted, "amount"), fields.address(accepted, "payTo"))
    if stated != (payment.amount_atomic, payment.pay_to):
        _rejected(Code.TERMS_MISMATCH, "`accepted` differs from the terms that were signed")
    return payment


def _identifier(document: dict[str, Any]) -> str | None:
    """Return the name of the payment; clients that give none echo our declaration, without an id.

    Raises:
        PaymentMalformed: a name that would not be found again.
    """
    found: Any = document
    for name in ("extensions", extensions.IDENTIFIER, "info", "id"):
        found = found.get(name) if isinstance(found, dict) else None
    if found is None:
        return None
    if not isinstance(found, str) or not _IDENTIFIER.fullmatch(found):
        fields.malformed("a payment-identifier is 16 to 128 letters, digits, hyphens, underscores")
    return found


def _require_version(document: dict[str, Any], version: Version, header: str) -> None:
    stated = document.get("x402Version")
    if stated == version and type(stated) is int:
        return
    if stated in (1, 2) and type(stated) is int:
        fields.malformed(f"{header} is only for x402 version {version}", Code.VERSION_MISMATCH)
    fields.malformed("x402Version must be 1 or 2")


def _scheme(holder: dict[str, Any]) -> Scheme:
    found = known.BY_NAME.get(fields.text(holder, "scheme"))
    if found is None:
        _rejected(Code.UNSUPPORTED_SCHEME, f"the scheme must be one of: {', '.join(known.BY_NAME)}")
    return found


def _rejected(code: Code, detail: str) -> NoReturn:
    raise errors.PaymentRejected(code, detail) from None


def names() -> Iterable[str]:
    """Return the request headers that carry payments, for CORS and log filters."""
    return (V1_HEADER, V2_HEADER)
