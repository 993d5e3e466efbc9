"""Writes the 402 answer and the receipts, in both wire versions at once.

Each 402 carries a v1 JSON body and a v2 `PAYMENT-REQUIRED` header, so every official client
understands it. Every unpaid request gets this answer, so we build it from cached parts: everything
but the amount is encoded once per set of terms.
"""

import base64
import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from pve402.payments import addresses, networks
from pve402.payments.payment import Requirements, Version

EXPOSED_HEADERS: Final = ("PAYMENT-REQUIRED", "PAYMENT-RESPONSE", "X-PAYMENT-RESPONSE")
"""Headers that browsers must be able to read, for `Access-Control-Expose-Headers`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PaymentRequired:
    """A ready 402 answer: send `body` and `headers` as they are."""

    headers: Mapping[str, str]
    body: bytes
    status: int = 402


def payment_required(
    requirements: Sequence[Requirements],
    *,
    error: str = "payment is required",
    code: str = "payment_required",
    extensions: Mapping[str, Any] | None = None,
) -> PaymentRequired:
    """Build the 402 answer that offers all of `requirements`, best offer first.

    `error` is for people, `code` for programs; the body has both, as in the service's other
    errors. `extensions` are x402 v2 declarations.

    v1 clients reject the whole offer if they do not know one of its network names. So if the offer
    includes names that all clients know, the v1 body holds only those. If v1 cannot express any of
    the terms, the body holds the v2 document.

    Raises:
        ValueError: `requirements` is empty.
    """
    if not requirements:
        raise ValueError("a 402 answer needs at least one way to pay")
    entries = [(r, _parts(dataclasses.replace(r, amount_atomic=1))) for r in requirements]
    said = json.dumps(error)
    required = _v2_document(entries, said, extensions)
    document = _v1_document(entries, said) or required
    tail = f',"code":{json.dumps(code)},"detail":{said}}}'
    headers = {
        "content-type": "application/json",
        "cache-control": "no-store",
        "payment-required": base64.b64encode(required.encode()).decode(),
    }
    return PaymentRequired(headers=headers, body=(document[:-1] + tail).encode())


def receipt_header(
    version: Version,
    *,
    success: bool,
    network: str,
    payer: str,
    transaction: str = "",
    amount_atomic: int | None = None,
    reason: str | None = None,
) -> tuple[str, str]:
    """Return name and value of the header that tells the payer the result of the payment.

    v1 uses `X-PAYMENT-RESPONSE` and network names, v2 `PAYMENT-RESPONSE` and CAIP-2 ids.
    `transaction` is the hash with `0x`, or empty if nothing reached the chain.
    """
    named = networks.resolve(network)
    receipt: dict[str, Any] = {
        "success": success,
        "transaction": transaction,
        "network": named.name if version == 1 else named.caip2,
        "payer": addresses.checksum(payer),
    }
    if reason:
        receipt["errorReason"] = reason
    if version == 2 and amount_atomic is not None:
        receipt["amount"] = str(amount_atomic)
    name = "X-PAYMENT-RESPONSE" if version == 1 else "PAYMENT-RESPONSE"
    return name, base64.b64encode(_compact(receipt).encode()).decode()


def v1_terms(requirements: Requirements) -> dict[str, Any]:
    """Return the terms as an entry of a v1 `accepts` list, also used for v1 facilitators."""
    terms: dict[str, Any] = {
        "maxAmountRequired": str(requirements.amount_atomic),
        "scheme": requirements.scheme,
        "network": requirements.v1_network,
        "resource": requirements.resource_url,
        "description": requirements.description,
        "mimeType": requirements.mime_type,
        "payTo": addresses.checksum(requirements.pay_to),
        "maxTimeoutSeconds": requirements.max_timeout_seconds,
        "asset": addresses.checksum(requirements.asset),
        "extra": requirements.extra,
    }
    if requirements.output_schema_json:  # a null would fail the JavaScript clients' schema
        terms["outputSchema"] = json.loads(requirements.output_schema_json)
    return terms


def v2_terms(requirements: Requirements) -> dict[str, Any]:
    """Return the terms as an entry of a v2 `accepts` list, also used for v2 facilitators."""
    return {
        "amount": str(requirements.amount_atomic),
        "scheme": requirements.scheme,
        "network": requirements.network,
        "asset": addresses.checksum(requirements.asset),
        "payTo": addresses.checksum(requirements.pay_to),
        "maxTimeoutSeconds": requirements.max_timeout_seconds,
        "extra": requirements.extra,
    }


def v2_resource(requirements: Requirements) -> dict[str, str]:
    """Return the v2 description of the resource to pay for."""
    return {
        "url": requirements.resource_url,
        "description": requirements.description,
        "mimeType": requirements.mime_type,
    }


class _Parts(NamedTuple):
    """JSON of one set of terms without the amount, which comes first in each entry."""

    v1_rest: str
    v2_rest: str
    v2_resource: str


_Entries = Sequence[tuple[Requirements, _Parts]]


@functools.lru_cache(maxsize=1024)
def _parts(terms: Requirements) -> _Parts:
    v1, v2 = v1_terms(terms), v2_terms(terms)
    del v1["maxAmountRequired"], v2["amount"]
    return _Parts(_compact(v1)[1:], _compact(v2)[1:], _compact(v2_resource(terms)))


def _v1_document(entries: _Entries, said: str) -> str | None:
    named = [(r, parts) for r, parts in entries if r.v1_network]
    everywhere = [entry for entry in named if entry[0].v1_network in networks.V1_EVERYWHERE]
    offered = everywhere or named
    if not offered:
        return None
    accepts = ",".join(
        f'{{"maxAmountRequired":"{r.amount_atomic}",{parts.v1_rest}' for r, parts in offered
    )
    return f'{{"x402Version":1,"accepts":[{accepts}],"error":{said}}}'


def _v2_document(entries: _Entries, said: str, extensions: Mapping[str, Any] | None) -> str:
    accepts = ",".join(f'{{"amount":"{r.amount_atomic}",{parts.v2_rest}' for r, parts in entries)
    more = f',"extensions":{_compact(extensions)}' if extensions else ""
    resource = entries[0][1].v2_resource
    return f'{{"x402Version":2,"error":{said},"resource":{resource},"accepts":[{accepts}]{more}}}'


def _compact(document: Mapping[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"))
