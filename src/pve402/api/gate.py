"""The gate: what a request must pay, and what its payment buys.

It supports both wire versions through `payments`. It answers an unpaid request from memory,
without any outside call, and reuses the answer for the same price and resource.
"""

import asyncio
import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Coroutine, Iterator
from fractions import Fraction
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from pve402.api.transport import address, guard, headers, lanes
from pve402.domain import errors, order, price
from pve402.domain.request import check_idempotency_key
from pve402.leases import service
from pve402.payments import errors as payment_errors
from pve402.payments import judgement, networks, protocol
from pve402.payments.facilitators import support
from pve402.payments.schemes import base as schemes

Result = TypeVar("Result")
Offers = tuple[protocol.Requirements, ...]

_SAID: Final = "payment is required"
_CACHED: Final = 4096
_PAYMENT_HEADERS: Final = frozenset({protocol.V1_HEADER.encode(), protocol.V2_HEADER.encode()})
_TOO_LITTLE: Final = "The wallet holds too little of the token to pay this; nothing was charged."
_USED: Final = "This payment was used before; sign a new one. Nothing was charged."
_NOT_DEPLOYED: Final = (
    "This wallet is not deployed yet, and the facilitator does not deploy it: deploy it, then pay "
    "again. Nothing was charged."
)
#: Facilitators' reasons in plain words; `code` keeps the original.
_WORDS: Final = {
    "insufficient_funds": _TOO_LITTLE,
    "invalid_exact_evm_insufficient_balance": _TOO_LITTLE,
    "nonce_already_used": _USED,
    "invalid_exact_evm_nonce_already_used": _USED,
    "wallet_not_deployed": _NOT_DEPLOYED,
    "invalid_exact_evm_payload_undeployed_smart_wallet": _NOT_DEPLOYED,
    "eip6492_factory_not_allowed": _NOT_DEPLOYED,
    "smart_wallet_deployment_failed": _NOT_DEPLOYED,
    "invalid_exact_evm_payload_signature": "The payment's signature is not that of its payer.",
}


class PaymentNeeded(Exception):
    """The request needs a payment, or a different one; carries the answer to send."""

    def __init__(
        self, answer: protocol.PaymentRequired, receipt: tuple[str, str] | None = None
    ) -> None:
        super().__init__("payment needed")
        self.answer = answer
        self.receipt = receipt


@dataclasses.dataclass(frozen=True, kw_only=True)
class GateOptions:
    """The payee, the networks and the validity of the payments we ask for."""

    networks: tuple[str, ...]  # CAIP-2 ids, the preferred one first
    pay_to: str
    public_url: str
    payment_seconds: int  # maxTimeoutSeconds
    create_wait_seconds: float
    min_remaining_seconds: int = 30  # we refuse a payment that expires sooner


@dataclasses.dataclass(frozen=True, kw_only=True)
class Priced:
    """A price for one resource. Responses are stateless, so all clients share one."""

    offers: Offers
    unpaid: Response
    said: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wishes:
    """How the sender of a purchase wants to be served."""

    client_address: str | None
    idempotency_key: str | None
    wait_seconds: float


class Gate:
    """Handles a request's payment: price, judge, buy, in this order and once each."""

    def __init__(
        self,
        options: GateOptions,
        clients: address.ClientAddresses,
        *,
        is_readable: Callable[[str], bool] = lambda _network: True,
        versions: Callable[[str], frozenset[int]] = lambda _network: support.EVERY_VERSION,
    ) -> None:
        """Work out which payments to ask for now.

        These are payments on networks whose chain we can read, in the wire versions that their
        facilitator settles.
        """
        self._versions = versions
        self._options = options
        self._is_readable = is_readable
        self._clients = clients
        self._limits = schemes.Limits(min_remaining_seconds=options.min_remaining_seconds)
        self._known = functools.lru_cache(maxsize=_CACHED)(self._priced)
        self.public_url = options.public_url
        self.origin = _origin(options.public_url)

    def price(self, usd: Fraction, path: str, description: str, *, said: str = _SAID) -> Priced:
        """Return a price's offers, one per accepted network, and the 402 that asks for them."""
        # Pass the two integers: hashing a Fraction is slow, as it computes a modular power.
        v1 = frozenset(name for name in self._options.networks if 1 in self._versions(name))
        return self._known(usd.numerator, usd.denominator, path, description, said, v1)

    def ask(self, priced: Priced) -> Response:
        """Return a price's 402. Raises ChainUnavailable if we could not see a payment now."""
        settled = [offer for offer in priced.offers if self._versions(offer.network)]
        if not settled:
            raise errors.FacilitatorUnavailable
        readable = tuple(offer for offer in settled if self._is_readable(offer.network))
        if not readable:
            raise errors.ChainUnavailable
        if len(readable) == len(priced.offers):
            return priced.unpaid
        return _response(protocol.payment_required(readable, error=priced.said))

    def judge(
        self, request: Request, priced: Priced, *, may_join: bool = False
    ) -> service.Purchase:
        """Return what the request's payment can buy, without claiming the payment.

        With `may_join`, a payment that is too late to buy anything is returned too, because it may
        already have bought something. Raises PaymentNeeded with the terms again, PaymentMalformed,
        or InvalidIdempotencyKey.
        """
        with _terms_again(priced.offers):
            judged = judgement.judge(
                priced.offers, request.headers, now_seconds=int(time.time()), limits=self._limits
            )
            if judged.too_late is not None and not may_join:
                raise judged.too_late
        return self._purchase(request, judged)

    def client_address(self, request: Request) -> str | None:
        """Return the client's address or IPv6 subnet; None on a unix socket."""
        return next(iter(lanes.parties_of(self._clients.of(request.scope))), None)

    async def buy(
        self,
        request: Request,
        priced: Priced,
        purchase: service.Purchase,
        action: Coroutine[Any, Any, Result],
    ) -> Result:
        """Run the paid action to completion, even if the client goes away.

        Raises PaymentNeeded if the payment is refused, and whatever the action raises.
        """
        try:
            guard.allow_time_for_payment(request, purchase.payment.payer)
        except BaseException:
            action.close()
            raise
        with _terms_again(priced.offers, purchase.payment):
            return await asyncio.shield(asyncio.ensure_future(action))

    def _priced(
        self,
        numerator: int,
        denominator: int,
        path: str,
        description: str,
        said: str,
        v1: frozenset[str],
    ) -> Priced:
        usd = Fraction(numerator, denominator)
        offers = tuple(
            protocol.Requirements(
                network=network,
                amount_atomic=price.atomic_units(usd, networks.BY_CAIP2[network].decimals),
                pay_to=self._options.pay_to,
                max_timeout_seconds=self._options.payment_seconds,
                resource_url=self._options.public_url + path,
                description=description,
                speaks_v1=network in v1,
            )
            for network in self._options.networks
        )
        unpaid = _response(protocol.payment_required(offers, error=said))
        return Priced(offers=offers, unpaid=unpaid, said=said)

    def wishes_of(self, request: Request) -> Wishes:
        """Return how a request wants to be served. Raises InvalidIdempotencyKey."""
        key = request.headers.get("idempotency-key")
        if key is not None:
            check_idempotency_key(key)
        respond_async = "respond-async" in request.headers.get("prefer", "").lower()
        return Wishes(
            client_address=self.client_address(request),
            idempotency_key=key,
            wait_seconds=0.0 if respond_async else self._options.create_wait_seconds,
        )

    def _purchase(self, request: Request, judged: judgement.Judged) -> service.Purchase:
        return service.Purchase(
            payment=judged.payment,
            requirements=judged.requirements,
            by_key=judged.standing is schemes.Standing.PROVEN,
            too_late=judged.too_late,
            **dataclasses.asdict(self.wishes_of(request)),
        )


def carries_payment(request: Request) -> bool:
    """Whether the request has a payment header, valid or not."""
    return any(name in _PAYMENT_HEADERS for name, _value in request.scope["headers"])


def attach_receipt(request: Request, payment: protocol.Payment, settled: order.Order) -> None:
    """Attach a settled order's receipt to the answer, in the client's wire version."""
    if settled.status is not order.OrderStatus.SETTLED:
        return
    receipt = protocol.receipt_header(
        payment.version,
        success=True,
        network=settled.network,
        payer=settled.payer,
        transaction=settled.transaction or "",
        amount_atomic=settled.amount_atomic,
    )
    headers.attach_receipt(request, receipt)


async def payment_needed(request: Request, error: Any) -> Response:
    """Return the answer that a PaymentNeeded carries."""
    if error.receipt:
        headers.attach_receipt(request, error.receipt)
    return _response(error.answer)


@contextlib.contextmanager
def _terms_again(offers: Offers, payment: protocol.Payment | None = None) -> Iterator[None]:
    """Answer a refused payment with the terms again and the reason for the refusal."""
    try:
        yield
    except errors.PaymentRefused as refusal:
        said = _WORDS.get(refusal.reason, refusal.detail)
        receipt = None if payment is None else _refused_receipt(payment, refusal.reason)
        again = protocol.payment_required(offers, error=said, code=refusal.reason)
        raise PaymentNeeded(again, receipt) from None
    except payment_errors.PaymentMalformed:
        raise
    except payment_errors.PaymentRejected as rejection:
        again = protocol.payment_required(offers, error=rejection.detail, code=rejection.code)
        raise PaymentNeeded(again) from None


def _response(answer: protocol.PaymentRequired) -> Response:
    return Response(answer.body, answer.status, headers=dict(answer.headers))


def _origin(public_url: str) -> str:
    """The Origin browsers send from our pages (RFC 6454, 6.2): no default port, no path."""
    parts = urlsplit(public_url)
    default = {"http": 80, "https": 443}.get(parts.scheme)
    host = parts.hostname or ""
    bracketed = f"[{host}]" if ":" in host else host
    port = f":{parts.port}" if parts.port and parts.port != default else ""
    return f"{parts.scheme}://{bracketed}{port}"


def _refused_receipt(payment: protocol.Payment, reason: str) -> tuple[str, str]:
    return protocol.receipt_header(
        payment.version,
        success=False,
        network=payment.network,
        payer=payment.payer,
        reason=reason,
    )
