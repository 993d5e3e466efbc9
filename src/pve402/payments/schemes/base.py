"""The interface of a payment scheme: how to read, check, send and find its payments.

All other payment modules use schemes through this interface. To add a scheme, add a folder next to
`exact` and a line in `known`.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from pve402.payments.chain import Block, Chain, Receipt
from pve402.payments.networks import Network
from pve402.payments.payment import Payment, Requirements, Version


class Standing(Enum):
    """The result of checking a payment's signature locally, without any call."""

    PROVEN = "proven"  # the payer's own key signed it
    NEEDS_FACILITATOR = "needs_facilitator"  # only the payer's contract can tell (EIP-1271)


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Requirements on a payment's validity window."""

    min_remaining_seconds: int
    """How much of the window must remain, for the work before settlement and settlement itself."""
    clock_skew_seconds: int = 5
    """How far the payer's clock may be ahead of ours when we check validAfter."""


class Fate(Enum):
    """The state of a payment on the chain."""

    UNSPENT = "unspent"  # its nonce is neither used nor cancelled
    PAID = "paid"  # the transfer to us happened
    SPENT_ELSEWHERE = "spent_elsewhere"  # used for another transfer
    CANCELLED = "cancelled"
    SPENT_BEFORE = "spent_before"  # spent earlier than the time of interest
    UNSEEN = "unseen"  # spent, but in no block that was searched


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A payment's state, and the transaction that decided it."""

    fate: Fate
    transaction: str | None = None
    block_number: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """A contract call that a facilitator sends to move the money."""

    to: str
    data: str
    """Calldata as `0x` hex."""


class Scheme(Protocol):
    """A payment scheme of x402. Stateless."""

    name: str
    """The scheme's name in x402 messages."""

    def read(
        self, version: Version, network: Network, asset: str, payload: dict[str, Any]
    ) -> Payment:
        """Read the `payload` of a payment header.

        Raises:
            PaymentRejected: a transfer method that we do not support, or an invalid field.
        """
        ...

    def payload(self, payment: Payment) -> dict[str, Any]:
        """Rebuild the `payload` for a facilitator from the parsed payment."""
        ...

    def check_terms(
        self, payment: Payment, requirements: Requirements, *, now_seconds: int, limits: Limits
    ) -> None:
        """Check a payment against its terms and the time; ignores the signature.

        Raises:
            PaymentRejected: it can never settle under these terms, or not within the time we need.
        """
        ...

    def check_signature(
        self, payment: Payment, requirements: Requirements, *, payer_has_code: bool | None = None
    ) -> Standing:
        """Check locally, as far as possible, that the payer made the signature.

        Raises:
            PaymentRejected: the signature is certainly invalid.
        """
        ...

    def as_sent(
        self, payment: Payment, standing: Standing, *, payer_has_code: bool | None
    ) -> Payment:
        """Return the payment with its signature in the form that all recipients accept.

        The recipients are the token and every facilitator.
        """
        ...

    def transfer(self, payment: Payment) -> Call:
        """Return the call that moves the money."""
        ...

    def judge(self, receipt: Receipt, payment: Payment) -> Finding | None:
        """Return what a mined transaction did with the payment; None if nothing."""
        ...

    async def find(
        self, chain: Chain, payment: Payment, *, not_before_seconds: int, newest: Block
    ) -> Finding:
        """Find a payment's state as of block `newest`, without knowing its transaction.

        Raises:
            ChainUnavailable: no usable answer.
        """
        ...

    async def could_land(self, chain: Chain, payment: Payment) -> bool:
        """Return whether the transfer of a payment with a free nonce could be mined now.

        Also True where no simulation can tell, as for a wallet that is deployed with the transfer.

        Raises:
            ChainUnavailable: no usable answer.
        """
        ...
