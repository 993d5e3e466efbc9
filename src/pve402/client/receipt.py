"""Receipts of payments, as a tenant's client finds them in an answer's headers."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What became of a payment; the transaction is empty if nothing reached the chain."""

    success: bool
    transaction: str
    network: str
    payer: str


def read(headers: Mapping[str, str]) -> Receipt | None:
    """Read the receipt of an answer, in either version; None if there is none to be read."""
    header = headers.get("PAYMENT-RESPONSE") or headers.get("X-PAYMENT-RESPONSE")
    if header is None:
        return None
    try:
        facts = json.loads(base64.b64decode(header.strip()))
        return Receipt(
            success=facts["success"],
            transaction=facts["transaction"],
            network=facts["network"],
            payer=facts["payer"],
        )
    except (LookupError, TypeError, ValueError, RecursionError):
        return None
