"""What a payment scheme is: how its payments are read, judged, sent and found on the chain.

Everything else in payments speaks of a scheme by this interface. A new scheme is a folder beside
`exact` and a line in `known`.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from pve402.payments.chain import Block, Chain, Receipt
from pve402.payments.networks import Network
from pve402.payments.payment import Payment, Requirements, Version


class Standing(Enum):
    """How far a payment's signature could be judged without asking anybody."""

    PROVEN = "proven"  # the payer's own key signed it
    NEEDS_FACILITATOR = "needs_facilitator"  # only the payer's contract can say (EIP-1271)


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What is asked of a payment's window."""

    min_remaining_seconds: int
    """How much of the window must be left: the work before settlement, and settlement."""
    clock_skew_seconds: int = 5
    """How far ahead a payer's clock may be where it says from when on a payment is good."""


class Fate(Enum):
    """What became of a payment on the chain."""

    UNSPENT = "unspent"  # its nonce is neither used nor cancelled
    PAID = "paid"  # the transfer to us happened
    SPENT_ELSEWHERE = "spent_elsewhere"  # used for another transfer
    CANCELLED = "cancelled"
    SPENT_BEFORE = "spent_before"  # spent earlier than the time of interest
    UNSEEN = "unseen"  # spent, but in no block that was searched


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A payment's fate, and the transaction that decided it."""

    fate: Fate
    transaction: str | None = None
    block_number: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """A call of a contract: what a facilitator sends to move the money."""

    to: str
    data: str
    """Calldata as `0x` hex."""


class Scheme(Protocol):
    """One payment scheme of x402. Holds no state."""

    name: str
    """As the wire writes it."""

    def read(
        self, version: Version, network: Network, asset: str, payload: dict[str, Any]
    ) -> Payment:
        """Read the `payload` of a payment header.

        Raises:
            PaymentRejected: another way to transfer than ours, or a field that is not good.
        """
        ...

    def payload(self, payment: Payment) -> dict[str, Any]:
        """Write the `payload` again, for a facilitator, from what was read."""
        ...

    def check_terms(
        self, payment: Payment, requirements: Requirements, *, now_seconds: int, limits: Limits
    ) -> None:
        """Hold a payment against its terms and the time, whoever signed it.

        Raises:
            PaymentRejected: it can never settle under these terms, or not in the time we need.
        """
        ...

    def check_signature(
        self, payment: Payment, requirements: Requirements, *, payer_has_code: bool | None = None
    ) -> Standing:
        """Say how far the signature is known to be the payer's, without asking anybody.

        Raises:
            PaymentRejected: it is surely not good.
        """
        ...

    def as_sent(
        self, payment: Payment, standing: Standing, *, payer_has_code: bool | None
    ) -> Payment:
        """The payment with its signature in the form that the token and every facilitator take."""
        ...

    def transfer(self, payment: Payment) -> Call:
        """The call that moves the money."""
        ...

    def judge(self, receipt: Receipt, payment: Payment) -> Finding | None:
        """Say what a mined transaction did with the payment; None if nothing."""
        ...

    async def find(
        self, chain: Chain, payment: Payment, *, not_before_seconds: int, newest: Block
    ) -> Finding:
        """Find out what became of a payment up to the block `newest`, with no transaction to go by.

        Raises:
            ChainUnavailable: no usable answer.
        """
        ...
