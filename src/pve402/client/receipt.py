"""Payment receipts, read from an answer's headers."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """The outcome of a payment; the transaction is empty if nothing reached the chain."""

    success: bool
    transaction: str
    network: str
    payer: str


def read(headers: Mapping[str, str]) -> Receipt | None:
    """Read an answer's receipt, in either version; None if it has no readable one."""
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
