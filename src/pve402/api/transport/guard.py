"""Protects the service: limits concurrent requests and their time, and catches stray exceptions.

Every request starts in the lane for new ones. It moves to the lane for known callers, who may wait
for machines and chains, only after its head, its body and a valid credential have arrived, so
garbage never takes a place there. Commands and files may take hours, so they move to their own lane
and get more time. Websockets have two lanes: one until they have identified themselves, and one
for afterwards, where their own work limits the time.

A new request whose body is large takes one of a few places beside its own, since strangers send
these bodies, too, and we keep them in memory.

In every lane, one address may use only a share of the places, and so may one lease or wallet. Of
requests that arrive together, those of one address start a few at a time.
"""

import asyncio
import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import Final

import structlog
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pve402.api.transport import address, lanes, metrics, pace, turns
from pve402.api.transport import errors as error_table
from pve402.domain import errors

logger = structlog.get_logger(__name__)

_ENTRY: Final = "pve402.entry"
_MOST_SILENT_SOCKETS: Final = 512
_MOST_LARGE_BODIES: Final = 128
_STOPPING: Final = (
    "The service is restarting; if you sent a payment, ask again with the same payment."
)
_ALWAYS_SERVED: Final = frozenset({"/healthz", "/readyz"})


def _count_nothing(_party: str) -> None:
    """Let every request in."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GuardLimits:
    """How many requests may be in progress, and for how many seconds, bodies included."""

    requests: int
    paid_requests: int
    request_seconds: float
    paid_request_seconds: float
    count: Callable[[str], None] = _count_nothing
    """Called for each request with its address; raises RateLimited."""


class _Entry:
    """An admitted request: its place and its time limit."""

    def __init__(self, guard: "Guard", place: lanes.Place, timeout: asyncio.Timeout | None) -> None:
        self._guard = guard
        self._place = place
        self._timeout = timeout
        #: Whether the request has more time than any answer needs to be read.
        self.is_long = False

    def known(self, party: str) -> None:
        """Move to the lane for callers with a valid credential, if not in the long one."""
        if self._place.lane is not self._guard.long:
            self._place.move(self._guard.known, party)

    def paid(self, party: str) -> None:
        """Do the same and restart the clock, with the limit for paid requests."""
        self.known(party)
        self._count_anew(self._guard.limits.paid_request_seconds)

    def large(self) -> None:
        """Take a place among the large bodies, unless the caller has a valid credential."""
        if self._place.lane is self._guard.new:
            self._place.take_beside(self._guard.large)

    def hold(self, seconds: float, *parties: str) -> None:
        """Move to the lane for long requests, or for sockets, and restart the clock."""
        lane = self._guard.sockets if self._timeout is None else self._guard.long
        self._place.move(lane, *parties)
        self._count_anew(seconds)

    def _count_anew(self, seconds: float) -> None:
        if self._timeout is not None:
            self._timeout.reschedule(asyncio.get_running_loop().time() + seconds)
            self.is_long = True


def know(request: HTTPConnection, party: str) -> None:
    """Record that the caller has a valid credential of `party`, a lease or a wallet.

    Raises Overloaded or ShareUsed if too many such requests are in progress.
    """
    entry = request.scope.get(_ENTRY)
    if entry is not None:
        entry.known(party)


def allow_time_for_payment(request: Request, payer: str) -> None:
    """Let a request with a valid payment wait for machines and chains.

    Raises as `know`.
    """
    entry = request.scope.get(_ENTRY)
    if entry is not None:
        entry.paid(payer)


def expect_large_body(request: HTTPConnection) -> None:
    """Count a body as large until the request ends or its caller is known.

    Raises as `know`.
    """
    entry = request.scope.get(_ENTRY)
    if entry is not None:
        entry.large()


def hold(request: HTTPConnection, seconds: float, *parties: str) -> None:
    """Give a request whose lease is known `seconds` from now.

    `parties` are the lease and, unless that has a place already, its wallet. Raises as `know`.
    """
    entry = request.scope.get(_ENTRY)
    if entry is not None:
        entry.hold(seconds, *parties)


class Guard:
    """ASGI middleware that applies the limits."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        limits: GuardLimits,
        clients: address.ClientAddresses | None = None,
    ) -> None:
        self._app = app
        self._clients = clients or address.ClientAddresses(())
        self._turns = turns.Turns()
        self.limits = limits
        self.always = lanes.Lane(limit=sys.maxsize)
        self.new = lanes.Lane(limit=limits.requests, part=2)
        self.large = lanes.Lane(limit=min(limits.requests, _MOST_LARGE_BODIES), part=8)
        self.known = lanes.Lane(limit=limits.paid_requests)
        self.long = lanes.Lane(limit=limits.paid_requests)
        self.new_sockets = lanes.Lane(limit=min(limits.requests, _MOST_SILENT_SOCKETS))
        self.sockets = lanes.Lane(limit=limits.requests, part=2)

    @property
    def under_way(self) -> int:
        """How many requests are in progress, not counting long ones."""
        return self.new.under_way + self.known.under_way

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request within the limits, or answer that there are too many."""
        if scope["type"] != "lifespan":
            _trim(scope)
        if scope["type"] == "websocket":
            await self._serve_socket(scope, receive, send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        lane, parties = self.new, lanes.parties_of(self._clients.of(scope))
        if scope["path"] in _ALWAYS_SERVED:
            lane, parties = self.always, ()
        try:
            self._count(parties)
            place = lanes.Place(lane, parties)
        except (errors.Overloaded, errors.TooMany) as refusal:
            metrics.OVERLOADED.inc()
            await error_table.answer(refusal)(scope, receive, send)
            return
        try:
            await self._serve(place, parties, scope, receive, send)
        finally:
            place.leave()

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        parties = lanes.parties_of(self._clients.of(scope))
        try:
            self._count(parties)
            place = lanes.Place(self.new_sockets, parties)
        except (errors.Overloaded, errors.TooMany):
            metrics.OVERLOADED.inc()
            await receive()
            await send({"type": "websocket.close", "code": 1013})  # try again later
            return
        scope[_ENTRY] = _Entry(self, place, None)
        try:
            for party in parties:
                await self._turns.wait(party)
            await self._app(scope, receive, send)
        finally:
            place.leave()

    def _count(self, parties: Sequence[str]) -> None:
        for party in parties:
            self.limits.count(party)

    async def _wait_turn(self, parties: Sequence[str]) -> None:
        for party in parties:
            if not self._turns.starts_now(party):
                await self._turns.queue(party)

    async def _serve(
        self,
        place: lanes.Place,
        parties: Sequence[str],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Serve the request, and answer time-outs and unexpected exceptions ourselves."""
        started = False
        entry: _Entry | None = None

        async def note_start(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                metrics.answered(scope, message["status"])
            if entry is None or entry.is_long:
                await pace.send_paced(send, message)
            else:  # the request's own limit is short enough
                await send(message)

        try:
            async with asyncio.timeout(self.limits.request_seconds) as limit:
                scope[_ENTRY] = entry = _Entry(self, place, limit)
                await self._wait_turn(parties)
                await self._app(scope, receive, note_start)
        except Exception as error:
            late = isinstance(error, TimeoutError) and limit.expired()
            _log(scope, error, late=late)
            if started and (late or isinstance(error, errors.Pve402Error | pace.NotRead)):
                return  # the server sees an incomplete answer and closes the connection
            if started:
                raise
            await _apology(late=late)(scope, receive, note_start)
        except asyncio.CancelledError:  # the service is stopping, and the grace period is over
            if started:
                raise
            await error_table.answer(errors.OrderPending(_STOPPING))(scope, receive, note_start)


def _trim(scope: Scope) -> None:
    """Remove the blanks around header values (RFC 9110, 5.5); some servers leave them there."""
    scope["headers"] = [(name, value.strip(b" \t")) for name, value in scope["headers"]]


def _log(scope: Scope, error: Exception, *, late: bool) -> None:
    facts = {"method": scope["method"], "path": scope["path"][:200]}
    if isinstance(error, errors.Pve402Error):
        logger.warning("answer_cut_off", code=error.code, **facts)
    elif isinstance(error, pace.NotRead):
        logger.info("answer_not_read", **facts)
    elif late:
        logger.warning("request_too_slow", **facts)
    else:
        logger.error("request_failed", exc_info=error, **facts)


def _apology(*, late: bool) -> Response:
    if not late:
        return error_table.problem(500, "internal_error", "Something went wrong on our side.")
    return error_table.answer(
        errors.TryLater(
            "This took too long; if you sent a payment, ask again with the same payment."
        )
    )
