"""A debt: money that reached us and bought nothing, until it is redeemed or paid back."""

import dataclasses
import secrets
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Final, Self

from pve402.domain import rows

OPERATOR: Final = "operator"
"""The holder of a debt that the operator is paying back; no order has this id."""


class OwedReason(Enum):
    """Why money is owed; the values are stored and must not change."""

    UNDELIVERED = "undelivered"  # paid, and its container did not come up for a day
    PAID_LATE = "paid_after_refusal"  # the transfer landed after its order was refused
    LEASE_OVER = "lease_over"  # a renewal that settled after its lease had ended


class OwedStatus(Enum):
    """What can become of a debt now; the values are part of the API."""

    REDEEMABLE = "redeemable"
    REDEEMING = "redeeming"  # a lease for it is being made
    PAYING_BACK = "paying_back"  # the operator has reserved it


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
    holder_order_id: str | None = None  # the redemption in progress, or OPERATOR
    closed_at: datetime | None = None  # nothing is owed any more
    paid_transaction: str | None = None  # the operator's transfer that paid it back
    paid_log: int | None = None  # the position of that transfer among the transaction's events

    @classmethod
    def from_row(cls, row: Mapping[Any, Any]) -> Self:
        """Build a debt from a complete row of its table."""
        return rows.made(cls, {**row, "reason": OwedReason(row["reason"])})

    @property
    def status(self) -> OwedStatus:
        """What can become of it now."""
        if self.holder_order_id is None:
            return OwedStatus.REDEEMABLE
        is_reserved = self.holder_order_id == OPERATOR
        return OwedStatus.PAYING_BACK if is_reserved else OwedStatus.REDEEMING


def new_owed_id() -> str:
    """Return a new id of a debt: a letter and 120 random bits in hex."""
    return f"w{secrets.token_hex(15)}"


def is_owed_id(text: str) -> bool:
    """Return whether text is the id of a debt."""
    return len(text) == 31 and text[0] == "w" and set(text[1:]) <= set("0123456789abcdef")
