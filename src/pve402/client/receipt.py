"""Payment receipts, read from an answer's headers."""

import base64
from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StrictBool

#: A name or number of a chain, such as `eip155:8453` or a transaction's hash.
_Word = Annotated[str, Field(pattern=r"^[!-~]{0,128}$")]


class Receipt(BaseModel):
    """The outcome of a payment; the transaction is empty if nothing reached the chain."""

    model_config = ConfigDict(frozen=True)

    success: StrictBool
    transaction: _Word
    network: _Word
    payer: _Word


def read(headers: Mapping[str, str]) -> Receipt | None:
    """Read an answer's receipt, in either version; None if it has no readable one."""
    header = headers.get("PAYMENT-RESPONSE") or headers.get("X-PAYMENT-RESPONSE")
    if header is None:
        return None
    try:
        return Receipt.model_validate_json(base64.b64decode(header.strip()))
    except ValueError:
        return None
