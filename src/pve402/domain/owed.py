"""A debt: money that reached us and bought nothing, until it is redeemed or paid back."""

import dataclasses
import secrets
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Self

from pve402.domain import rows


class OwedReason(Enum):
    """Why money is owed; the values are stored and must not change."""

    UNDELIVERED = "undelivered"  # paid, and its container could not be delivered for a day
    PAID_LATE = "paid_after_refusal"  # the transfer landed after its order was refused
    LEASE_OVER = "lease_over"  # a renewal that settled after its lease had ended


@dataclasses.dataclass(frozen=True, kw_only=True)
class Owed:
    """One row of the table of debts; amounts are atomic units of the asset, times aware UTC."""

    owed_id: str
    order_id: str  # whose payment it is
    reason: OwedReason
    network: str  # CAIP-2
    asset: str  # lower case
    payer: str  # lower case
    amount_atomic: int  # what was owed at first
    left_atomic: int  # what is owed now, without what a redemption in progress takes
    transaction: str | None  # that brought the money
    since: datetime  # when the money came
    created_at: datetime
    tries: int = 0  # how often the container was made anew
    last_error: str | None = None
    holder_order_id: str | None = None  # the redemption in progress
    closed_at: datetime | None = None  # nothing is owed any more
    paid_transaction: str | None = None  # the operator's transfer that paid it back
    paid_log: int | None = None  # the position of that transfer among the transaction's events

    @classmethod
    def from_row(cls, row: Mapping[Any, Any]) -> Self:
        """Build a debt from a complete row of its table."""
        return rows.made(cls, {**row, "reason": OwedReason(row["reason"])})


def new_owed_id() -> str:
    """Return a new id of a debt: a letter and 120 random bits in hex."""
    return f"w{secrets.token_hex(15)}"


def is_owed_id(text: str) -> bool:
    """Return whether text is the id of a debt."""
    return len(text) == 31 and text[0] == "w" and set(text[1:]) <= set("0123456789abcdef")
