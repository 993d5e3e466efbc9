"""The paygate: what a request must pay, and what its payment header is worth.

It speaks both wire versions through `payments`, and makes no call to anything: an unpaid request
is answered from memory, and the same price for the same resource is the very same answer.
"""

import asyncio
import contextlib
import dataclasses
import functools
import time
from collections.abc import Awaitable, Iterator
from fractions import Fraction
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from pve402.api.transport import address, guard, headers
from pve402.domain import account, errors, order, price
from pve402.domain.request import check_idempotency_key
from pve402.leases import service
from pve402.payments import errors as payment_errors
from pve402.payments import networks, paygate, protocol
from pve402.payments.schemes.exact import local_checks

Result = TypeVar("Result")
Offers = tuple[protocol.Requirements, ...]

_CACHED: Final = 4096
_PAYMENT_HEADERS: Final = frozenset({protocol.V1_HEADER.encode(), protocol.V2_HEADER.encode()})
_ONCE_GOOD: Final = frozenset(
    {
        payment_errors.Code.AMOUNT_MISMATCH,
        payment_errors.Code.EXPIRED,
        payment_errors.Code.EXPIRES_TOO_SOON,
    }
)
_TOO_LITTLE: Final = "The wallet holds too little of the token to pay this; nothing was charged."
_USED: Final = "This payment was used before; sign a new one. Nothing was charged."
#: Reasons that facilitators give, in words for people; `code` keeps theirs.
_WORDS: Final = {
    "insufficient_funds": _TOO_LITTLE,
    "invalid_exact_evm_insufficient_balance": _TOO_LITTLE,
    "nonce_already_used": _USED,
    "invalid_exact_evm_nonce_already_used": _USED,
    "invalid_exact_evm_payload_signature": "The payment's signature is not that of its payer.",
}


class PaymentNeeded(Exception):
    """The request must be paid, or be paid otherwise; carries the answer that says so."""

    def __init__(
        self, challenge: protocol.Challenge, receipt: tuple[str, str] | None = None
    ) -> None:
        super().__init__("payment needed")
        self.challenge = challenge
        self.receipt = receipt


class PaymentStale(PaymentNeeded):
    """The payment can buy nothing now, but may have bought: its window or its price is past."""

    def __init__(self, challenge: protocol.Challenge, paid: paygate.Paid) -> None:
        super().__init__(challenge)
        self.paid = paid


@dataclasses.dataclass(frozen=True, kw_only=True)
class GateOptions:
    """To whom, on which networks, and for how long payments are asked for."""

    networks: tuple[str, ...]  # CAIP-2 ids, the preferred one first
    pay_to: str
    public_url: str
    payment_seconds: int  # maxTimeoutSeconds
    create_wait_seconds: float
    min_remaining_seconds: int = 30  # a payment that expires sooner is refused at once


@dataclasses.dataclass(frozen=True, kw_only=True)
class Priced:
    """A price for one resource. Responses keep no state, so one is sent to everybody."""

    offers: Offers
    unpaid: Response


class Gate:
    """Makes offers, and turns payment headers into purchases."""

    def __init__(self, options: GateOptions, clients: address.ClientAddresses) -> None:
        self._options = options
        self._clients = clients
        self._limits = local_checks.Limits(min_remaining_seconds=options.min_remaining_seconds)
        self._known = functools.lru_cache(maxsize=_CACHED)(self._priced)
        self.public_url = options.public_url
        self.origin = _origin(options.public_url)

    def priced(self, usd: Fraction, path: str, description: str) -> Priced:
        """Return the offers of a price, one for each accepted network, and the 402 that asks."""
        # By its two integers: the hash of a Fraction is a modular power.
        return self._known(usd.numerator, usd.denominator, path, description)

    def _priced(self, numerator: int, denominator: int, path: str, description: str) -> Priced:
        usd = Fraction(numerator, denominator)
        offers = tuple(
            protocol.Requirements(
                network=network,
                amount_atomic=price.atomic_units(usd, networks.BY_CAIP2[network].decimals),
                pay_to=self._options.pay_to,
                max_timeout_seconds=self._options.payment_seconds,
                resource_url=self._options.public_url + path,
                description=description,
            )
            for network in self._options.networks
        )
        return Priced(offers=offers, unpaid=challenge_response(protocol.challenge(offers)))

    def carries_payment(self, request: Request) -> bool:
        """Whether there is a payment header, good or not."""
        return any(name in _PAYMENT_HEADERS for name, _value in request.scope["headers"])

    def judge(self, request: Request, offers: Offers) -> paygate.Paid:
        """Return the payment if it meets one of the offers; nothing is claimed by that.

        Raises PaymentNeeded with the terms again, as PaymentStale where it may have been good
        once, or PaymentMalformed.
        """
        decision = paygate.decide(
            offers, request.headers, now_seconds=int(time.time()), limits=self._limits
        )
        if isinstance(decision, paygate.Paid):
            return decision
        if decision.challenge is None:
            raise payment_errors.PaymentMalformed(decision.code, decision.detail)
        if isinstance(decision, paygate.Rejected) and decision.code in _ONCE_GOOD:
            raise PaymentStale(decision.challenge, _unproven(request, offers))
        raise PaymentNeeded(decision.challenge)

    def purchase(self, request: Request, paid: paygate.Paid) -> service.Purchase:
        """Gather what the service needs to know about a payment. Raises InvalidIdempotencyKey."""
        key = request.headers.get("idempotency-key")
        if key is not None:
            check_idempotency_key(key)
        respond_async = "respond-async" in request.headers.get("prefer", "")
        return service.Purchase(
            payment=paid.payment,
            requirements=paid.requirements,
            client_address=self._clients.of(request.scope),
            idempotency_key=key,
            by_key=paid.standing is local_checks.Standing.PROVEN,
            wait_seconds=0.0 if respond_async else self._options.create_wait_seconds,
        )

    async def charge(
        self, request: Request, offers: Offers, paid: paygate.Paid, action: Awaitable[Result]
    ) -> Result:
        """Run what a payment pays for, to its end even if the client goes away.

        Raises PaymentNeeded if the payment is refused, and what the action raises.
        """
        guard.allow_time_for_payment(request)
        with self._refusals(offers, paid):
            return await asyncio.shield(asyncio.ensure_future(action))

    @contextlib.contextmanager
    def _refusals(self, offers: Offers, paid: paygate.Paid) -> Iterator[None]:
        try:
            yield
        except errors.PaymentRefused as refusal:
            said = _WORDS.get(refusal.reason, refusal.detail)
            again = protocol.challenge(offers, error=said, code=refusal.reason)
            raise PaymentNeeded(again, _refused_receipt(paid.payment, refusal.reason)) from None
        except payment_errors.PaymentRejected as rejection:
            refused = paygate.reject(offers, rejection)
            if refused.challenge is None:
                raise
            raise PaymentNeeded(refused.challenge) from None


def _origin(public_url: str) -> str:
    """What browsers send as Origin from our pages (RFC 6454, 6.2): no default port, no path."""
    parts = urlsplit(public_url)
    default = {"http": 80, "https": 443}.get(parts.scheme)
    host = parts.hostname or ""
    bracketed = f"[{host}]" if ":" in host else host
    port = f":{parts.port}" if parts.port and parts.port != default else ""
    return f"{parts.scheme}://{bracketed}{port}"


def _unproven(request: Request, offers: Offers) -> paygate.Paid:
    """The payment of a request whose terms or window were not met; its signature is unseen."""
    payment = protocol.read_payment(request.headers)
    if payment is None:
        raise PaymentNeeded(protocol.challenge(offers))
    return paygate.Paid(
        payment=payment,
        requirements=paygate.choose(offers, payment),
        standing=local_checks.Standing.NEEDS_FACILITATOR,
    )


def payer(paid: paygate.Paid) -> str:
    """Return the CAIP-10 account that a payment names as its payer."""
    return account.account(paid.payment.network, paid.payment.payer)


def attach_receipt(request: Request, paid: paygate.Paid, settled: order.Order) -> None:
    """Have the answer carry the receipt of a settled order, in the words the client spoke."""
    if settled.status is not order.OrderStatus.SETTLED:
        return
    receipt = protocol.receipt_header(
        paid.payment.version,
        success=True,
        network=settled.network,
        payer=settled.payer,
        transaction=settled.transaction or "",
        amount_atomic=settled.amount_atomic,
    )
    headers.attach_receipt(request, receipt)


async def payment_needed(request: Request, error: Any) -> Response:
    """Answer a PaymentNeeded."""
    if error.receipt:
        headers.attach_receipt(request, error.receipt)
    return challenge_response(error.challenge)


def challenge_response(challenge: protocol.Challenge) -> Response:
    """Build the response of a challenge."""
    return Response(challenge.body, challenge.status, headers=dict(challenge.headers))


def _refused_receipt(payment: protocol.Payment, reason: str) -> tuple[str, str]:
    return protocol.receipt_header(
        payment.version,
        success=False,
        network=payment.network,
        payer=payment.payer,
        reason=reason,
    )
