"""An order: one paid request, unique by its payment."""

import dataclasses
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
    """Where the money of an order stands."""

    CLAIMED = "claimed"  # the payment is ours to use; nothing was done
    WORKING = "working"  # Proxmox is preparing what was bought
    SETTLING = "settling"  # the transfer was asked for; its outcome may be open
    SETTLED = "settled"  # the transfer is on chain
    REFUSED = "refused"  # the transfer will never be made by us


OPEN = frozenset({OrderStatus.CLAIMED, OrderStatus.WORKING, OrderStatus.SETTLING})
"""States in which the outcome is still to come."""


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
    refusal: str | None = None  # a stable code, None unless refused
    final: bool = False  # the settlement was seen again some blocks later
    due_at: datetime | None = None
    fence: str | None = None
    attempts: int = 0
    last_error: str | None = None
    expires_at: datetime | None = None  # of the lease, as this order left it
    described_at: datetime | None = None  # when the guest was told that end, None before
    settling_at: datetime | None = None  # since when the transfer is asked for
    settles_first: bool = False  # the payer's contract decides: no guest is started unpaid
    sealed_payment: bytes | None = dataclasses.field(default=None, repr=False)
    sealed_secrets: bytes | None = dataclasses.field(default=None, repr=False)

    @classmethod
    def from_row(cls, row: Mapping[Any, Any]) -> Self:
        """Build the value from one whole row of the order table."""
        facts = dict(row)
        facts["kind"] = OrderKind(facts["kind"])
        facts["status"] = OrderStatus(facts["status"])
        return rows.made(cls, facts)

    @property
    def is_paid(self) -> bool:
        """Whether the transfer is on chain, though what it bought may be still to come."""
        return self.settled_at is not None

    @property
    def is_open(self) -> bool:
        """Whether the outcome is still to come."""
        return self.status in OPEN
