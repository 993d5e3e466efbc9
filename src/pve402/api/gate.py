"""The gate: what a request must pay, and what its payment buys.

It supports both wire versions through `payments`. It answers an unpaid request from memory,
without any outside call, and reuses the answer for the same price and resource.
"""

import asyncio
import contextlib
import dataclasses
import functools
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from fractions import Fraction
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from pve402.api.transport import address, guard, headers, lanes, preferences, shapes
from pve402.domain import errors, order, price
from pve402.domain.request import check_idempotency_key
from pve402.leases import service
from pve402.payments import errors as payment_errors
from pve402.payments import extensions, judgement, networks, protocol, sign_in
from pve402.payments.facilitators import support
from pve402.payments.schemes import base as schemes

Result = TypeVar("Result")
Offers = tuple[protocol.Requirements, ...]

SAID: Final = "payment is required"
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
    answer: protocol.PaymentRequired
    unpaid: Response
    said: str


class _Asked(NamedTuple):
    """All that a 402 depends on."""

    usd: tuple[int, int]
    path: str
    description: str
    said: str
    v1: frozenset[str]
    listed: shapes.Listed | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wishes:
    """How the sender of a purchase wants to be served."""

    client_address: str | None
    idempotency_key: str | None
    wait_seconds: float


async def _count_nobody(_purchase: service.Purchase) -> None:
    """Let every payer in."""


class Gate:
    """Handles a request's payment: price, judge, buy, in this order and once each."""

    def __init__(
        self,
        options: GateOptions,
        clients: address.ClientAddresses,
        *,
        is_readable: Callable[[str], bool] = lambda _network: True,
        versions: Callable[[str], frozenset[int]] = lambda _network: support.EVERY_VERSION,
        count_payer: Callable[[service.Purchase], Awaitable[None]] = _count_nobody,
    ) -> None:
        """Work out which payments to ask for now.

        These are payments on networks whose chain we can read, in the wire versions that their
        facilitator settles.
        """
        self._versions = versions
        self._count_payer = count_payer
        self._options = options
        self._is_readable = is_readable
        self._clients = clients
        self._limits = schemes.Limits(min_remaining_seconds=options.min_remaining_seconds)
        self.public_url = options.public_url
        self._known = functools.lru_cache(maxsize=_CACHED)(self._priced)
        self.origin = _origin(options.public_url)

    def price(
        self,
        usd: Fraction,
        path: str,
        description: str,
        *,
        said: str = SAID,
        listed: shapes.Listed | None = None,
    ) -> Priced:
        """Return a price's offers, one per accepted network, and the 402 that asks for them.

        `listed` is the route as catalogues list it.
        """
        # Pass the two integers: hashing a Fraction is slow, as it computes a modular power.
        v1 = frozenset(name for name in self._options.networks if 1 in self._versions(name))
        pair = usd.as_integer_ratio()
        return self._known(_Asked(pair, path, description, said, v1, listed))

    def ask(self, priced: Priced, *, offer_sign_in: Callable[[str], str] | None = None) -> Response:
        """Return a price's 402. Raises ChainUnavailable if we could not see a payment now.

        `offer_sign_in` makes the extension `sign-in-with-x` for a network.
        """
        settled = [offer for offer in priced.offers if self._versions(offer.network)]
        if not settled:
            raise errors.FacilitatorUnavailable
        readable = tuple(offer for offer in settled if self._is_readable(offer.network))
        if not readable:
            raise errors.ChainUnavailable
        is_usual = len(readable) == len(priced.offers)
        if offer_sign_in is None and is_usual:
            return priced.unpaid
        answer = priced.answer
        if not is_usual:
            answer = protocol.payment_required(readable, error=priced.said)
        if offer_sign_in is not None:
            answer = answer.offering(sign_in.EXTENSION, offer_sign_in(readable[0].network))
        return _response(answer)

    def judge(self, request: Request, prices: Sequence[Priced]) -> service.Purchase:
        """Return what the request's payment can buy, without claiming the payment.

        It may answer any of the prices; the first is today's. A payment that is too late to buy
        anything is returned too, because it may already have bought something. Raises
        PaymentNeeded with today's terms, PaymentMalformed, or InvalidIdempotencyKey.
        """
        with _terms_again(prices[0].offers):
            judged = self._judge(request, prices[0])
            for older in prices[1:]:
                if not judged.is_of_another_price:
                    break
                judged = self._judge(request, older)
        return self._purchase(request, judged)

    def require_timely(self, priced: Priced, purchase: service.Purchase) -> None:
        """Raise PaymentNeeded if a payment is too late to buy anything."""
        with _terms_again(priced.offers):
            if purchase.too_late is not None:
                raise purchase.too_late

    def _judge(self, request: Request, priced: Priced) -> judgement.Judged:
        now = int(time.time())
        return judgement.judge(priced.offers, request.headers, now_seconds=now, limits=self._limits)

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

        Raises PaymentNeeded if the payment is refused, RateLimited, and whatever the action raises.
        """
        try:
            await self._count_payer(purchase)
            guard.allow_time_for_payment(request, purchase.payment.payer)
        except BaseException:
            action.close()
            raise
        with _terms_again(priced.offers, purchase.payment):
            return await asyncio.shield(asyncio.ensure_future(action))

    def _priced(self, asked: "_Asked") -> Priced:
        usd = Fraction(*asked.usd)
        declared = (
            None if asked.listed is None else asked.listed.declared(asked.path, self.public_url)
        )
        offers = tuple(
            protocol.Requirements(
                network=network,
                amount_atomic=price.atomic_units(usd, networks.BY_CAIP2[network].decimals),
                pay_to=self._options.pay_to,
                max_timeout_seconds=self._options.payment_seconds,
                resource_url=self._options.public_url + asked.path,
                description=asked.description,
                speaks_v1=network in asked.v1,
                declared=declared,
            )
            for network in self._options.networks
        )
        answer = protocol.payment_required(offers, error=asked.said)
        return Priced(offers=offers, answer=answer, unpaid=_response(answer), said=asked.said)

    def wishes_of(self, request: Request) -> Wishes:
        """Return how a request wants to be served. Raises InvalidIdempotencyKey."""
        key = request.headers.get("idempotency-key")
        if key is not None:
            check_idempotency_key(key)
        respond_async = preferences.responds_async(request)
        return Wishes(
            client_address=self.client_address(request),
            idempotency_key=key,
            wait_seconds=0.0 if respond_async else self._options.create_wait_seconds,
        )

    def _purchase(self, request: Request, judged: judgement.Judged) -> service.Purchase:
        wishes = self.wishes_of(request)
        purchase = service.Purchase(
            payment=judged.payment,
            requirements=judged.requirements,
            by_key=judged.standing is schemes.Standing.PROVEN,
            too_late=judged.too_late,
            **dataclasses.asdict(wishes),
        )
        if wishes.idempotency_key or judged.identifier is None or not purchase.by_key:
            return purchase
        # No Idempotency-Key has a space, so none can be mistaken for an identifier.
        key = f"{extensions.IDENTIFIER} {judged.identifier}"
        return dataclasses.replace(purchase, idempotency_key=key, key_is_secret=False)


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
    paid_on = None if payment is None else payment.network
    try:
        yield
    except errors.PaymentRefused as refusal:
        said = _WORDS.get(refusal.reason, refusal.detail)
        receipt = None if payment is None else _refused_receipt(payment, refusal.reason)
        again = protocol.payment_required(
            offers, error=said, code=refusal.reason, preferred=paid_on
        )
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
