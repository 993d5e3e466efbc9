"""What a facilitator is: it says whether a payment is good, and moves the money."""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from pve402.payments.payment import Payment, Requirements


class Outcome(Enum):
    """How an attempt to settle ended."""

    SETTLED = "settled"  # the transfer happened
    REFUSED = "refused"  # it did not; whether it never will is for `settlement` to say
    UNKNOWN = "unknown"  # it may have happened, or may still happen


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """A facilitator's opinion of a payment before it is settled."""

    valid: bool
    payer: str | None
    """Lower-case address, when the facilitator named one."""
    reason: str | None = None
    """The facilitator's short word for why not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settlement:
    """How a payment's settlement stands."""

    outcome: Outcome
    payer: str
    network: str
    """CAIP-2 id."""
    transaction: str | None = None
    """Transaction hash, lower case; None when none is known."""
    reason: str | None = None
    """A short stable word, never a text of somebody else's."""

    @classmethod
    def of(
        cls,
        payment: Payment,
        outcome: Outcome,
        *,
        transaction: str | None = None,
        reason: str | None = None,
    ) -> "Settlement":
        """The standing of one payment."""
        return cls(
            outcome=outcome,
            payer=payment.payer,
            network=payment.network,
            transaction=transaction,
            reason=reason,
        )


class Facilitator(Protocol):
    """Verifies payments and settles them. Safe to use from many tasks at once."""

    refusals_are_final: bool
    """Whether its no means that it has not submitted the payment, and never will."""

    async def verify(self, payment: Payment, requirements: Requirements) -> Verification:
        """Say whether the payment would settle now. Moves nothing.

        Raises:
            FacilitatorUnavailable: no usable answer; nothing is known.
        """
        ...

    async def settle(self, payment: Payment, requirements: Requirements) -> Settlement:
        """Move the money. Raises nothing of payments: what went wrong is in the outcome.

        Safe to repeat with the same payment, because the token takes a nonce only once.
        """
        ...

    async def close(self) -> None:
        """Give back connections. The facilitator is not used afterwards."""
        ...
