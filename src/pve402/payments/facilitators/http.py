"""A facilitator reached over HTTP: `POST /verify` and `POST /settle` of the x402 specification.

Calls are bounded in time and size, a signed payment never goes to another host, and every answer
becomes one of the interface's results. If a settle call gets no usable answer, the outcome is
unknown: the transfer may have landed.
"""

import asyncio
import dataclasses
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import aiohttp
import structlog

from pve402.domain import causes
from pve402.payments import errors
from pve402.payments.facilitators import wire
from pve402.payments.facilitators.base import Outcome, Settlement, Verification
from pve402.payments.payment import Payment, Requirements

log = structlog.get_logger(__name__)

_ATTEMPTS: Final = 2  # a second try in case the server had closed the kept-alive connection
_SAYS_NO: Final = frozenset({400, 402, 409, 412, 422})
"""Statuses of a well-formed refusal from a facilitator; 401, 403, 404, 429 are our own fault."""

_SAME_METHOD: Final = frozenset({307, 308})
_MAX_REDIRECTS: Final = 2

Authorize = Callable[[str, str], str]
"""Creates an Authorization header from method and URL."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpFacilitatorOptions:
    """The facilitator's address and our timeouts."""

    url: str
    verify_timeout_seconds: float = 10.0
    settle_timeout_seconds: float = 45.0
    """Covers the wait for a block; must stay well below the payments' window."""
    max_response_bytes: int = 64 * 1024
    max_connections: int = 64
    authorize: Authorize | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Answer:
    status: int
    raw: bytes
    may_have_acted_before: bool
    """The request was sent twice, and the facilitator may have acted on the first."""


class HttpFacilitator:
    """See `Facilitator`."""

    refusals_are_final = False

    def __init__(self, options: HttpFacilitatorOptions) -> None:
        self._options = options
        self._base = urlsplit(options.url)
        self._sessions: dict[bool, aiohttp.ClientSession] = {}  # settling uses separate connections

    async def verify(self, payment: Payment, requirements: Requirements) -> Verification:
        """See `Facilitator`."""
        try:
            answer = await self._ask(
                "verify", payment, requirements, self._options.verify_timeout_seconds
            )
            return wire.read_verification(answer.status, answer.raw)
        except wire.Unusable as error:
            log.warning("facilitator_unusable", call="verify", reason=str(error))
            raise errors.FacilitatorUnavailable(str(error)) from None

    async def settle(self, payment: Payment, requirements: Requirements) -> Settlement:
        """See `Facilitator`."""
        started = time.monotonic()
        try:
            answer = await self._ask(
                "settle", payment, requirements, self._options.settle_timeout_seconds
            )
            said = wire.read_settlement(answer.status, answer.raw, payment)
        except wire.Unusable as error:
            seconds = round(time.monotonic() - started, 3)
            log.warning("facilitator_unusable", call="settle", reason=str(error), seconds=seconds)
            return Settlement.of(payment, Outcome.UNKNOWN, reason="facilitator_unavailable")
        if said.outcome is Outcome.REFUSED and answer.may_have_acted_before:
            return dataclasses.replace(said, outcome=Outcome.UNKNOWN)
        return said

    async def supported_networks(self) -> frozenset[str]:
        """Return the networks from `supported`."""
        return frozenset(network for _version, network in await self.supported())

    async def supported(self) -> frozenset[tuple[int, str]]:
        """Ask for the wire versions and networks it settles; networks by either kind of name.

        Raises:
            FacilitatorUnavailable: no usable answer.
        """
        url = self._address("supported")
        try:
            answer = await self._call("GET", url, None, self._options.verify_timeout_seconds)
            return wire.read_supported(*answer)
        except wire.Unusable as error:
            raise errors.FacilitatorUnavailable(str(error)) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise errors.FacilitatorUnavailable(causes.reason(error)) from None

    async def close(self) -> None:
        """See `Facilitator`."""
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    def _address(self, call: str) -> str:
        """Return the URL of a call; keeps the query string of the operator's URL."""
        return self._base._replace(path=f"{self._base.path.rstrip('/')}/{call}").geturl()

    async def _ask(
        self, call: str, payment: Payment, requirements: Requirements, timeout_seconds: float
    ) -> _Answer:
        body = wire.request_body(payment, requirements)
        may_have_acted = False
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                status, raw = await self._call("POST", self._address(call), body, timeout_seconds)
                return _Answer(status=status, raw=raw, may_have_acted_before=may_have_acted)
            except TimeoutError:
                raise wire.Unusable("timeout") from None
            except aiohttp.ClientConnectionError as error:
                if attempt == _ATTEMPTS:
                    raise wire.Unusable(type(error).__name__) from None
                may_have_acted = not isinstance(error, aiohttp.ClientConnectorError)
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise wire.Unusable(type(error).__name__) from None
        raise AssertionError("unreachable")

    async def _call(
        self, method: str, url: str, body: dict[str, Any] | None, timeout_seconds: float
    ) -> tuple[int, bytes]:
        async with asyncio.timeout(timeout_seconds):
            for _hop in range(_MAX_REDIRECTS + 1):
                async with self._send(method, url, body) as response:
                    if response.status in _SAME_METHOD:
                        url = _redirected(url, response.headers.get("Location", ""))
                        continue
                    if not _is_answer(response.status):
                        raise wire.Unusable(f"HTTP {response.status}")
                    _tell_listing(response.headers.get("EXTENSION-RESPONSES", ""))
                    return response.status, await self._read(response)
        raise wire.Unusable("too many redirects")

    def _send(
        self, method: str, url: str, body: dict[str, Any] | None
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        authorize = self._options.authorize
        headers = {"Authorization": authorize(method, url)} if authorize else {}
        session = self._open(settling=urlsplit(url).path.endswith("/settle"))
        return session.request(method, url, json=body, headers=headers, allow_redirects=False)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        raw = bytearray()
        async for chunk in response.content.iter_any():
            raw += chunk
            if len(raw) > self._options.max_response_bytes:
                raise wire.Unusable("answer too large")
        return bytes(raw)

    def _open(self, *, settling: bool) -> aiohttp.ClientSession:
        if settling not in self._sessions:
            connector = aiohttp.TCPConnector(
                limit=self._options.max_connections, keepalive_timeout=15
            )
            self._sessions[settling] = aiohttp.ClientSession(connector=connector)
        return self._sessions[settling]


def _tell_listing(header: str) -> None:
    """Log what a facilitator says about its catalogue; it changes nothing, and tenants see none."""
    listing = wire.read_listing(header)
    if listing is not None:
        log.info("catalogue_listing", status=listing.status, reason=listing.reason)


def _is_answer(status: int) -> bool:
    return 200 <= status < 300 or status in _SAYS_NO


def _redirected(url: str, location: str) -> str:
    """Return the redirect's target. The public facilitator redirects only to its `www.` name.

    Raises:
        Unusable: the redirect leads to another host, or away from TLS.
    """
    try:
        here, there = urlsplit(url), urlsplit(urljoin(url, location))
    except ValueError:
        raise wire.Unusable("a redirect to no address") from None
    if (here.scheme, here.netloc.removeprefix("www.")) != (
        there.scheme,
        there.netloc.removeprefix("www."),
    ):
        raise wire.Unusable("a redirect to another host")
    return there.geturl()
