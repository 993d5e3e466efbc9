"""Decides what a request's headers are worth against a price: unpaid, paid, or rejected.

Pure: no framework, no network, no clock. `Paid` means that everything which can be judged here is
in order. It does not mean that money moved, nor that the payment was not used before: the unique
order row says that, and settlement moves the money.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pve402.payments import challenge as challenges
from pve402.payments import errors, headers
from pve402.payments.payment import Payment, Requirements
from pve402.payments.schemes.exact import local_checks


@dataclass(frozen=True, kw_only=True, slots=True)
class Unpaid:
    """No payment came: answer with the challenge."""

    challenge: challenges.Challenge


@dataclass(frozen=True, kw_only=True, slots=True)
class Paid:
    """A payment that meets these terms came."""

    payment: Payment
    requirements: Requirements
    standing: local_checks.Standing


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejected:
    """A payment came that is not good."""

    code: errors.Code
    detail: str
    status: int
    """400 when the header cannot be read, else 402."""
    challenge: challenges.Challenge | None
    """With status 402: the terms again, saying what was wrong, so that the client can pay anew."""


Decision = Unpaid | Paid | Rejected


def decide(
    offers: Sequence[Requirements],
    request_headers: Mapping[str, str] | headers.MultiHeaders,
    *,
    now_seconds: int,
    limits: local_checks.Limits,
    extensions: Mapping[str, Any] | None = None,
) -> Decision:
    """Judge a request against the terms on offer, one per accepted network and asset.

    Raises:
        ValueError: `offers` is empty, which is a mistake of the caller's.
    """
    try:
        payment = headers.read_payment(request_headers)
        if payment is None:
            return Unpaid(challenge=challenges.challenge(offers, extensions=extensions))
        requirements = choose(offers, payment)
        standing = local_checks.check(payment, requirements, now_seconds=now_seconds, limits=limits)
    except errors.PaymentRejected as rejection:
        return reject(offers, rejection, extensions=extensions)
    return Paid(payment=payment, requirements=requirements, standing=standing)


def choose(offers: Sequence[Requirements], payment: Payment) -> Requirements:
    """Find the offer that a payment answers: same network and asset.

    The first offer of the network is given where none has the asset, so that the rejection
    which follows names the asset and not the network.

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


def reject(
    offers: Sequence[Requirements],
    rejection: errors.PaymentRejected,
    *,
    extensions: Mapping[str, Any] | None = None,
) -> Rejected:
    """Turn a rejection, from here or from a facilitator's verify, into the answer."""
    again = None
    if rejection.status == 402:
        again = challenges.challenge(
            offers, error=rejection.detail, code=rejection.code, extensions=extensions
        )
    return Rejected(
        code=rejection.code, detail=rejection.detail, status=rejection.status, challenge=again
    )
