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

from pve402.payments import addresses, extensions, networks
from pve402.payments.payment import Requirements, Version

EXPOSED_HEADERS: Final = ("PAYMENT-REQUIRED", "PAYMENT-RESPONSE", "X-PAYMENT-RESPONSE")
"""Headers that browsers must be able to read, for `Access-Control-Expose-Headers`."""

MOST_HEADER_BYTES: Final = 3500
"""`PAYMENT-REQUIRED` stays below it: many reverse proxies read at most 4 KiB of all headers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PaymentRequired:
    """A ready 402 answer: send `body` and `headers` as they are."""

    headers: Mapping[str, str]
    body: bytes
    required: str
    """The v2 document that the header holds."""
    status: int = 402

    def offering(self, extension: str, declared: str) -> "PaymentRequired":
        """Return the answer with one more extension, given as JSON."""
        head, has_others, others = self.required.rpartition(',"extensions":{')
        rest = f"{others[:-2]}," if has_others else ""
        start = head if has_others else self.required[:-1]
        required = f'{start},"extensions":{{{rest}"{extension}":{declared}}}}}'
        headers = {**self.headers, "payment-required": _encoded(required)}
        return dataclasses.replace(self, headers=headers, required=required)


def payment_required(
    requirements: Sequence[Requirements],
    *,
    error: str = "payment is required",
    code: str = "payment_required",
    preferred: str | None = None,
) -> PaymentRequired:
    """Build the 402 answer that offers all of `requirements`, best offer first.

    `error` is for people, `code` for programs; the body has both, as in the service's other
    errors. If the header would become too large, it holds less of what the terms declare, then
    fewer offers: the first ones, after those on the network `preferred` (CAIP-2).

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
    first = sorted(entries, key=lambda entry: entry[0].network != preferred)
    required = _fitting(first if preferred else entries, said)
    document = _v1_document(entries, said) or required
    tail = f',"code":{json.dumps(code)},"detail":{said}}}'
    headers = {
        "content-type": "application/json",
        "cache-control": "no-store",
        "payment-required": _encoded(required),
    }
    body = (document[:-1] + tail).encode()
    return PaymentRequired(headers=headers, body=body, required=required)


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


def v2_resource(requirements: Requirements) -> dict[str, Any]:
    """Return the v2 description of the resource to pay for."""
    return {
        "url": requirements.resource_url,
        "description": requirements.description,
        "mimeType": requirements.mime_type,
    }


def catalogued(requirements: Requirements) -> dict[str, Any]:
    """Return what facilitators that keep a catalogue find in a v2 payment."""
    resource = {**v2_resource(requirements), **extensions.SERVICE}
    declared = requirements.declared
    return {"resource": resource} | (
        {} if declared is None else {"extensions": json.loads(declared.full)}
    )


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


def _fitting(entries: _Entries, said: str) -> str:
    """Return the v2 document with as much of everything as the header has room for."""
    declared = entries[0][0].declared
    for form in ("",) if declared is None else declared.forms:
        document = _v2_document(entries, said, form)
        later = 0 if declared is None else declared.later
        if _header_bytes(document) + later < MOST_HEADER_BYTES:
            return document
    if len(entries) > 1:
        return _fitting(entries[:-1], said)
    return _v2_document(entries, said, "")


def _encoded(document: str) -> str:
    return base64.b64encode(document.encode()).decode()


def _header_bytes(document: str) -> int:
    return (len(document) + 2) // 3 * 4


def _v2_document(entries: _Entries, said: str, declared: str) -> str:
    accepts = ",".join(f'{{"amount":"{r.amount_atomic}",{parts.v2_rest}' for r, parts in entries)
    more = f',"extensions":{declared}' if declared else ""
    resource = entries[0][1].v2_resource
    return f'{{"x402Version":2,"error":{said},"resource":{resource},"accepts":[{accepts}]{more}}}'


def _compact(document: Mapping[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"))
