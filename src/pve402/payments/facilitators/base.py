"""The interface of a facilitator, which verifies payments and moves the money."""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from pve402.payments.payment import Payment, Requirements


class Outcome(Enum):
    """The result of an attempt to settle."""

    SETTLED = "settled"  # the transfer happened
    REFUSED = "refused"  # it did not; `settlement` decides whether that is final
    UNKNOWN = "unknown"  # it may have happened, or may still happen


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """A facilitator's opinion of a payment before it is settled."""

    valid: bool
    payer: str | None
    """Lower-case address, if the facilitator named one."""
    reason: str | None = None
    """The facilitator's short reason for a refusal."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settlement:
    """The state of a payment's settlement."""

    outcome: Outcome
    payer: str
    network: str
    """CAIP-2 id."""
    transaction: str | None = None
    """Transaction hash, lower case; None if unknown."""
    reason: str | None = None
    """A short stable code, never text from outside."""

    @classmethod
    def of(
        cls,
        payment: Payment,
        outcome: Outcome,
        *,
        transaction: str | None = None,
        reason: str | None = None,
    ) -> "Settlement":
        """Return the settlement state of one payment."""
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
    """Whether a refusal means that it has not submitted the payment, and never will."""

    async def verify(self, payment: Payment, requirements: Requirements) -> Verification:
        """Check whether the payment would settle now. Moves nothing.

        Raises:
            FacilitatorUnavailable: no usable answer; the result is unknown.
        """
        ...

    async def settle(self, payment: Payment, requirements: Requirements) -> Settlement:
        """Move the money. Raises no payment errors: the outcome reports failures.

        Safe to repeat with the same payment, because the token takes a nonce only once.
        """
        ...

    async def close(self) -> None:
        """Close the connections. The facilitator must not be used afterwards."""
        ...
