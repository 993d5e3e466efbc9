"""What the spend ledger tells and is told: payments, their states, limits, sums.

Amounts of money are integers: in atomic units of an asset, or in millionths of a USD.
"""

import enum
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Self


class State(enum.Enum):
    """How far a payment has come."""

    RESERVED = "reserved"  # not signed yet, or not sent
    SENT = "sent"  # on its way; the outcome is unknown
    SETTLED = "settled"  # the money moved
    REFUSED = "refused"  # the service says that it did not take it
    RELEASED = "released"  # it can never move any money


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The most that may be spent, in millionths of a USD; None is no limit."""

    per_call_micro_usd: int | None = None
    per_hour_micro_usd: int | None = None
    in_all_micro_usd: int | None = None


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What is about to be signed."""

    service: str
    what: str  # the path of the request
    payer: str
    network: str  # CAIP-2
    asset: str
    amount_atomic: int
    decimals: int

    @property
    def micro_usd(self) -> int:
        """The amount in millionths of a USD, rounded up."""
        return -(-self.amount_atomic * 10**6 // int(10**self.decimals))


@dataclass(frozen=True, kw_only=True)
class Signed:
    """What identifies a signed payment on chain, and what is sent of it."""

    nonce: str
    valid_before: int  # seconds since 1970
    idempotency_key: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A payment that may be sent, or sent again."""

    payment_id: int
    payer: str
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Payment:
    """One payment of the ledger."""

    payment_id: int
    state: State
    reserved_at: int
    purse: str
    service: str
    what: str
    payer: str
    network: str
    asset: str
    amount_atomic: int
    micro_usd: int
    nonce: str
    valid_before: int
    tx_hash: str
    lease_id: str

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> Self:
        """Read a row."""
        facts = {one.name: row[one.name] for one in fields(cls)}
        return cls(
            **{**facts, "state": State(row["state"]), "amount_atomic": int(row["amount_atomic"])}
        )


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What counts as spent, in millionths of a USD; the outcome of `open_micro_usd` is open."""

    last_hour_micro_usd: int
    in_all_micro_usd: int
    open_micro_usd: int


def usd(micro_usd: int) -> str:
    """Write an amount in USD without trailing zeros after the cents."""
    whole, millionths = divmod(micro_usd, 10**6)
    digits = f"{millionths:06d}".rstrip("0")
    return f"{whole}.{digits:0<2}"
