"""Writes requests to a facilitator and reads its answers.

We build the request from our own typed values, never from the payer's document: the authorization
as signed, and the terms that we offered. Answers are untrusted JSON: we ignore everything in them
that is not about this payment.
"""

import base64
import json
import re
from typing import Any, Final, NamedTuple

from pve402.payments import networks, payment_required
from pve402.payments.facilitators.base import Outcome, Settlement, Verification
from pve402.payments.payment import Payment, Requirements
from pve402.payments.schemes import known

PENDING: Final = "settlement_pending"
"""The official SDK's word for a transaction that was broadcast but not yet seen in a block."""

_REASON: Final = re.compile(r"[A-Za-z0-9_.:-]{1,80}", re.ASCII)
_MOST_LISTING_CHARACTERS: Final = 4096
_TRANSACTION: Final = re.compile(r"0x[0-9a-fA-F]{64}", re.ASCII)


class Unusable(Exception):
    """An answer that tells us nothing about this payment."""


def request_body(payment: Payment, requirements: Requirements) -> dict[str, Any]:
    """Return the body for `/verify` and `/settle`, in the payment's wire version."""
    payload: dict[str, Any] = {
        "x402Version": payment.version,
        "payload": known.scheme_of(payment).payload(payment),
    }
    if payment.version == 1:
        payload |= {"scheme": payment.scheme, "network": requirements.chain.name}
        terms = payment_required.v1_terms(requirements)
    else:
        terms = payment_required.v2_terms(requirements)
        payload |= {"accepted": terms, **payment_required.catalogued(requirements)}
    return {
        "x402Version": payment.version,
        "paymentPayload": payload,
        "paymentRequirements": terms,
    }


def read_verification(status: int, raw: bytes) -> Verification:
    """Read the answer to `/verify`.

    Raises:
        Unusable: it is not a valid answer.
    """
    answer = _object(raw)
    valid = answer.get("isValid")
    if not isinstance(valid, bool):
        raise Unusable("isValid is missing")
    if valid:
        _require_ok(status)
    return Verification(
        valid=valid,
        payer=_payer(answer),
        reason=None if valid else _reason(answer.get("invalidReason")),
    )


def read_settlement(status: int, raw: bytes, payment: Payment) -> Settlement:
    """Read the answer to `/settle`.

    A yes for another payer or network does not count for this payment. A yes without a usable
    hash is still a yes; we then search the chain for the transfer.

    Raises:
        Unusable: it is not an answer about this payment.
    """
    answer = _object(raw)
    success = answer.get("success")
    if not isinstance(success, bool):
        raise Unusable("success is missing")
    transaction = _transaction(answer.get("transaction"))
    if not success:
        reason = _reason(answer.get("errorReason"))
        outcome = Outcome.UNKNOWN if reason == PENDING else Outcome.REFUSED
        return Settlement.of(payment, outcome, transaction=transaction, reason=reason)
    _require_ok(status)
    if _payer(answer) not in (None, payment.payer):
        raise Unusable("another payer")
    if not _is_network(answer.get("network"), payment):
        raise Unusable("another network")
    return Settlement.of(payment, Outcome.SETTLED, transaction=transaction)


class Listing(NamedTuple):
    """Whether a facilitator's catalogue took our declaration, as short codes."""

    status: str
    reason: str | None


def read_listing(header: str) -> Listing | None:
    """Read the header `EXTENSION-RESPONSES`; None if it says nothing about a catalogue."""
    if not header or len(header) > _MOST_LISTING_CHARACTERS:
        return None
    try:
        said = _object(base64.b64decode(header, validate=True)).get("bazaar")
    except (Unusable, ValueError):
        return None
    if not isinstance(said, dict) or "status" not in said:
        return None
    reason = said.get("rejectedReason")
    return Listing(_reason(said["status"]), None if reason is None else _reason(reason))


def read_supported(status: int, raw: bytes) -> frozenset[tuple[int, str]]:
    """Read the answer to `/supported`: wire versions and networks, by either name.

    Raises:
        Unusable: it is not a valid answer.
    """
    _require_ok(status)
    kinds = _object(raw).get("kinds")
    if not isinstance(kinds, list):
        raise Unusable("kinds is missing")
    ours = (k for k in kinds if isinstance(k, dict) and k.get("scheme") in known.BY_NAME)
    return frozenset((_version(kind), str(kind.get("network"))) for kind in ours)


def _version(kind: dict[str, Any]) -> int:
    """Return a kind's wire version; if it has none, infer it from the form of its network name."""
    stated = kind.get("x402Version")
    if type(stated) is int:
        return stated
    return 2 if ":" in str(kind.get("network")) else 1


def _require_ok(status: int) -> None:
    """Raise Unusable for a yes with an error status; only a no may come with a 4xx."""
    if not 200 <= status < 300:
        raise Unusable(f"a yes with HTTP {status}")


def _object(raw: bytes) -> dict[str, Any]:
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        raise Unusable("not JSON") from None
    if not isinstance(document, dict):
        raise Unusable("not a JSON object")
    return document


def _payer(answer: dict[str, Any]) -> str | None:
    payer = answer.get("payer")
    return payer.lower() if isinstance(payer, str) and payer else None


def _is_network(stated: object, payment: Payment) -> bool:
    return stated in (payment.network, networks.BY_CAIP2[payment.network].name)


def _reason(stated: object) -> str:
    """Return a short code from outside, or our own; free text must not reach tenants or logs."""
    return stated if isinstance(stated, str) and _REASON.fullmatch(stated) else "refused"


def _transaction(stated: object) -> str | None:
    if isinstance(stated, str) and _TRANSACTION.fullmatch(stated):
        return stated.lower()
    return None
