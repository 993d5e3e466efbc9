"""Reads a payment out of request headers: x402 v1 `X-PAYMENT`, v2 `PAYMENT-SIGNATURE`.

Both headers hold base64 of JSON written by a stranger. Whatever is in there, the outcome is a
Payment, None, or a PaymentRejected with a code; no text of an error repeats what was sent.
"""

import binascii
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NoReturn, Protocol, cast

import pydantic_core

from pve402.payments import addresses, errors, networks
from pve402.payments.errors import Code
from pve402.payments.payment import SCHEME, UINT256_MAX, Payment, Version

V1_HEADER: Final = "x-payment"
V2_HEADER: Final = "payment-signature"
MAX_HEADER_BYTES: Final = 16 * 1024
"""Plain payments take 550 bytes, with a wrapped contract-wallet signature a few thousand."""
MAX_SIGNATURE_BYTES: Final = 4096

_NONCE: Final = re.compile(r"0x[0-9a-fA-F]{64}", re.ASCII)
_HEX: Final = re.compile(r"0x(?:[0-9a-fA-F]{2})+", re.ASCII)
_DECIMAL: Final = re.compile(r"[0-9]{1,78}", re.ASCII)


class MultiHeaders(Protocol):
    """Headers that can hold a name several times, as Starlette's do."""

    def getlist(self, key: str) -> list[str]:
        """All values of one name, whatever its case."""
        ...


def read_payment(headers: Mapping[str, str] | MultiHeaders) -> Payment | None:
    """Read the payment of a request, or None if it carries none.

    Raises:
        PaymentMalformed: the header cannot be read (400).
        PaymentRejected: it can be read, but is not a kind of payment taken here (402).
    """
    v1, v2 = _values(headers, V1_HEADER), _values(headers, V2_HEADER)
    if v1 and v2:
        _malformed(Code.HEADERS_CONFLICT, "send X-PAYMENT or PAYMENT-SIGNATURE, not both")
    values = v2 or v1
    if not values:
        return None
    if len(values) > 1:
        _malformed(Code.HEADER_REPEATED, "send one payment header")
    document = _decode(values[0])
    return _read_v2(document) if v2 else _read_v1(document)


def _values(headers: Mapping[str, str] | MultiHeaders, name: str) -> list[str]:
    getlist = getattr(headers, "getlist", None)  # isinstance of a Protocol takes 10 us
    if getlist is not None:
        return cast("MultiHeaders", headers).getlist(name)
    return [v for k, v in cast("Mapping[str, str]", headers).items() if k.lower() == name]


def _decode(value: str) -> dict[str, Any]:
    if len(value) > MAX_HEADER_BYTES:
        _malformed(Code.HEADER_TOO_LARGE, f"a payment header has at most {MAX_HEADER_BYTES} bytes")
    try:
        raw = binascii.a2b_base64(value, strict_mode=True)
    except ValueError:  # not ASCII as well
        _malformed(Code.NOT_BASE64, "the payment header is not base64")
    try:
        document = pydantic_core.from_json(raw, allow_inf_nan=False, cache_strings="keys")
    except ValueError:  # deep nesting and huge integers as well
        _malformed(Code.NOT_JSON, "the payment header does not hold JSON")
    if not isinstance(document, dict):
        _malformed(Code.MALFORMED, "the payment is not a JSON object")
    return document


def _read_v1(document: dict[str, Any]) -> Payment:
    _require_version(document, 1, "X-PAYMENT")
    _require_scheme(document)
    network = networks.resolve_v1(_text(document, "network"))
    if network is None:
        _rejected(Code.UNSUPPORTED_NETWORK, "the network is not one that x402 v1 names")
    return _read_authorization(1, network.caip2, network.asset.lower(), document)


def _read_v2(document: dict[str, Any]) -> Payment:
    _require_version(document, 2, "PAYMENT-SIGNATURE")
    accepted = _object(document, "accepted")
    _require_scheme(accepted)
    network = networks.BY_CAIP2.get(_text(accepted, "network"))
    if network is None:
        _rejected(Code.UNSUPPORTED_NETWORK, "the network is not one that is known here")
    payment = _read_authorization(2, network.caip2, _address(accepted, "asset"), document)
    stated = (_uint256(accepted, "amount"), _address(accepted, "payTo"))
    if stated != (payment.amount_atomic, payment.pay_to):
        _rejected(Code.TERMS_MISMATCH, "`accepted` says other terms than the authorization")
    return payment


def _read_authorization(
    version: Version, network: str, asset: str, document: dict[str, Any]
) -> Payment:
    payload = _object(document, "payload")
    if "authorization" not in payload:
        if "permit2Authorization" in payload:
            _rejected(Code.UNSUPPORTED_METHOD, "only EIP-3009 authorizations are taken")
        _malformed(Code.MALFORMED, "payload.authorization is missing")
    signed = _object(payload, "authorization")
    return Payment(
        version=version,
        network=network,
        asset=asset,
        payer=_address(signed, "from"),
        pay_to=_address(signed, "to"),
        amount_atomic=_uint256(signed, "value"),
        valid_after=_uint256(signed, "validAfter"),
        valid_before=_uint256(signed, "validBefore"),
        nonce=_matching(signed, "nonce", _NONCE, 66),
        signature=_matching(payload, "signature", _HEX, 2 + 2 * MAX_SIGNATURE_BYTES),
    )


def _require_version(document: dict[str, Any], version: Version, header: str) -> None:
    stated = document.get("x402Version")
    if stated == version and type(stated) is int:
        return
    if stated in (1, 2) and type(stated) is int:
        _malformed(Code.VERSION_MISMATCH, f"{header} is the header of x402 version {version}")
    _malformed(Code.MALFORMED, "x402Version is not a version of x402")


def _require_scheme(holder: dict[str, Any]) -> None:
    if _text(holder, "scheme") != SCHEME:
        _rejected(Code.UNSUPPORTED_SCHEME, "only the scheme `exact` is taken")


def _object(holder: dict[str, Any], name: str) -> dict[str, Any]:
    found = holder.get(name)
    if not isinstance(found, dict):
        _malformed(Code.MALFORMED, f"{name} is not an object")
    return found


def _text(holder: dict[str, Any], name: str) -> str:
    found = holder.get(name)
    if not isinstance(found, str):
        _malformed(Code.MALFORMED, f"{name} is not a string")
    return found


def _matching(
    holder: dict[str, Any], name: str, pattern: re.Pattern[str], max_characters: int
) -> str:
    found = _text(holder, name)
    if len(found) > max_characters or not pattern.fullmatch(found):
        _malformed(Code.MALFORMED, f"{name} is not the hex it should be")
    return found.lower()


def _address(holder: dict[str, Any], name: str) -> str:
    return _matching(holder, name, addresses.ADDRESS, 42)


def _uint256(holder: dict[str, Any], name: str) -> int:
    """Read a number that the wire writes as a decimal string; plain integers are taken too."""
    found = holder.get(name)
    if isinstance(found, str) and _DECIMAL.fullmatch(found):
        found = int(found)
    if type(found) is not int or not 0 <= found <= UINT256_MAX:
        _malformed(Code.MALFORMED, f"{name} is not a whole number of 256 bits")
    return found


def _malformed(code: Code, detail: str) -> NoReturn:
    raise errors.PaymentMalformed(code, detail) from None


def _rejected(code: Code, detail: str) -> NoReturn:
    raise errors.PaymentRejected(code, detail) from None


def names() -> Iterable[str]:
    """The request headers that carry payments, for CORS and for log filters."""
    return (V1_HEADER, V2_HEADER)
