"""Checks a request's payment header against a price.

Pure: no framework, no network, no clock. A payment that passes is valid as far as we can tell
locally. That does not mean that money moved, nor that the payment was never used before: the unique
order row ensures that, and settlement moves the money.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pve402.payments import errors, headers
from pve402.payments.payment import Payment, Requirements
from pve402.payments.schemes import known
from pve402.payments.schemes.base import Limits, Standing

_ONCE_GOOD: Final = frozenset(
    {errors.Code.AMOUNT_MISMATCH, errors.Code.EXPIRED, errors.Code.EXPIRES_TOO_SOON}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A request's payment and the terms that it answers."""

    payment: Payment
    requirements: Requirements
    standing: Standing
    identifier: str | None = None
    """The name that its sender gave the payment."""
    too_late: errors.PaymentRejected | None = None
    """Set if the payment can buy nothing now, because its window or its price is no longer valid,
    but may have bought something before."""

    @property
    def is_of_another_price(self) -> bool:
        """Whether the payment's amount is not the price."""
        late = self.too_late
        return late is not None and late.code is errors.Code.AMOUNT_MISMATCH


def judge(
    offers: Sequence[Requirements],
    request_headers: Mapping[str, str] | headers.MultiHeaders,
    *,
    now_seconds: int,
    limits: Limits,
) -> Judged:
    """Check the payment of a request against the terms on offer, one per network and asset.

    Raises:
        PaymentMalformed: the header cannot be read.
        PaymentRejected: there is no payment, or it never met any of the terms.
    """
    read = headers.read_payment(request_headers)
    if read is None:
        raise errors.PaymentRejected(errors.Code.REQUIRED, "payment is required")
    payment = read.payment
    requirements = choose(offers, payment)
    scheme, too_late = known.scheme_of(payment), None
    try:
        scheme.check_terms(payment, requirements, now_seconds=now_seconds, limits=limits)
    except errors.PaymentRejected as rejection:
        if rejection.code not in _ONCE_GOOD:
            raise
        too_late = rejection
    standing = scheme.check_signature(payment, requirements)
    return Judged(
        payment=payment,
        requirements=requirements,
        standing=standing,
        identifier=read.identifier,
        too_late=too_late,
    )


def choose(offers: Sequence[Requirements], payment: Payment) -> Requirements:
    """Find the offer that a payment answers: same network and asset.

    If no offer has the asset, returns the network's first offer, so that the later rejection names
    the asset and not the network.

    Raises:
        PaymentRejected: no offer is on this network.
    """
    same_network = [offer for offer in offers if offer.network == payment.network]
    if not same_network:
        raise errors.PaymentRejected(
            errors.Code.NETWORK_NOT_ACCEPTED, "this network is not accepted here"
        )
    same_asset = [offer for offer in same_network if offer.asset == payment.asset]
    return (same_asset or same_network)[0]
