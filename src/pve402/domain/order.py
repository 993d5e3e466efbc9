"""An order: one paid request, identified by its payment."""

import dataclasses
import secrets
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Self

from pve402.domain import rows


class OrderKind(Enum):
    """What was bought."""

    CREATION = "creation"  # a new lease
    RENEWAL = "renewal"  # more minutes for a lease
    FEE = "fee"  # one management call


class OrderStatus(Enum):
    """The state of an order's payment."""

    CLAIMED = "claimed"  # we claimed the payment; nothing else was done yet
    WORKING = "working"  # Proxmox is preparing what was bought
    SETTLING = "settling"  # the transfer was requested; its outcome may be unknown
    SETTLED = "settled"  # the transfer is on chain
    REFUSED = "refused"  # we will never make the transfer
    OWED = "owed"  # the transfer is on chain and bought nothing: its payer is owed the money


OPEN = frozenset({OrderStatus.CLAIMED, OrderStatus.WORKING, OrderStatus.SETTLING})
"""States in which the outcome is still open."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    """One row of the order table; amounts are atomic units of the asset, times aware UTC."""

    order_id: str
    kind: OrderKind
    status: OrderStatus
    lease_id: str | None
    network: str  # CAIP-2
    asset: str  # lower case
    payer: str  # lower case
    nonce: str
    pay_to: str
    amount_atomic: int
    valid_before: datetime
    minutes: int
    request_hash: str
    idempotency_hash: str | None
    created_at: datetime
    client_address: str | None = None
    transaction: str | None = None
    settled_at: datetime | None = None
    refusal: str | None = None  # a stable error code, None unless refused
    final: bool = False  # the settlement was checked again some blocks later
    due_at: datetime | None = None
    fence: str | None = None
    attempts: int = 0
    last_error: str | None = None
    expires_at: datetime | None = None  # the lease's end, as set by this order
    described_at: datetime | None = None  # when the guest received that end, None before
    settling_at: datetime | None = None  # when the transfer was first requested
    settles_first: bool = False  # the payer is a contract: its guest starts only once paid
    tries: int = 0  # how often a paid guest had to be made anew
    tried_at: datetime | None = None  # when the present try to deliver it began
    credit: int | None = None  # what it added to the lease's balance; None: its minutes' worth
    owed_id: str | None = None  # the debt that this order redeems, instead of a payment
    parts: int = 1  # how many leases its payment buys; the other ones have orders of their own
    part_of: str | None = None  # the order whose payment pays for this one, too
    sealed_payment: bytes | None = dataclasses.field(default=None, repr=False)
    sealed_secrets: bytes | None = dataclasses.field(default=None, repr=False)

    @classmethod
    def from_row(cls, row: Mapping[Any, Any]) -> Self:
        """Build an order from a complete row of the order table."""
        facts = dict(row)
        facts["kind"] = OrderKind(facts["kind"])
        facts["status"] = OrderStatus(facts["status"])
        return rows.made(cls, facts)

    @property
    def share_atomic(self) -> int:
        """What its own lease cost, if its payment bought several."""
        return share_of(self.amount_atomic, self.parts)

    @property
    def is_paid(self) -> bool:
        """Whether the transfer is on chain, even if the purchase was not delivered yet."""
        return self.settled_at is not None

    @property
    def is_open(self) -> bool:
        """Whether the outcome is still open."""
        return self.status in OPEN


def share_of(amount_atomic: int, parts: int) -> int:
    """Return the first lease's share of a payment for several: an equal one and the remainder."""
    return amount_atomic - (parts - 1) * (amount_atomic // parts)


def new_order_id() -> str:
    """Return a new order id."""
    return f"o{secrets.token_hex(15)}"
