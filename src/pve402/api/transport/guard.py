"""Keeps the service standing: bounded requests under way, bounded time, no unknown exception out.

Two lanes share one bound: requests that carry a payment or a token may wait for machines and
chains, so they have a smaller bound of their own. However slow those are, catalogue, quotes and
402 answers stay fast. What is over a bound is told to come back, before it costs memory.

Commands and files may take hours: once their caller is known, they change to a lane of their own
and are given the time. Websockets have a lane too; their time is bounded by what they do.
"""

import asyncio
import dataclasses
from typing import Final

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pve402.api.transport import errors as error_table
from pve402.api.transport import metrics
from pve402.domain import errors

logger = structlog.get_logger(__name__)

_CREDENTIALS: Final = frozenset({b"authorization", b"x-payment", b"payment-signature"})
_CLOCK: Final = "pve402.clock"
_STOPPING: Final = (
    "The service is being restarted; if a payment was sent, ask again with the same payment."
)
_ALWAYS_SERVED: Final = frozenset({"/healthz", "/readyz"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class GuardLimits:
    """How many requests may be under way, and for how many seconds, their bodies included."""

    requests: int
    paid_requests: int
    request_seconds: float
    paid_request_seconds: float


@dataclasses.dataclass(kw_only=True)
class _Lane:
    """Requests of one kind that are under way."""

    limit: int
    under_way: int = 0


class _Clock:
    """The time that one request has; a payment that is good gets it more."""

    def __init__(self, timeout: asyncio.Timeout, paid_seconds: float, place: "_Place") -> None:
        self._timeout = timeout
        self._paid_seconds = paid_seconds
        self._place = place

    def allow_time_for_payment(self) -> None:
        """Start to count anew, with the limit of paid requests."""
        self._count_anew(self._paid_seconds)

    def hold(self, seconds: float) -> None:
        """Start to count anew, in the lane of long requests."""
        self._place.move()
        self._count_anew(seconds)

    def _count_anew(self, seconds: float) -> None:
        self._timeout.reschedule(asyncio.get_running_loop().time() + seconds)


class _Place:
    """A request's place in a lane."""

    def __init__(self, lane: _Lane, long: _Lane) -> None:
        self._lane = lane
        self._long = long
        lane.under_way += 1

    def move(self) -> None:
        """Change to the lane of long requests. Raises Overloaded if it is full."""
        if self._lane is self._long:
            return
        if self._long.under_way >= self._long.limit:
            raise errors.Overloaded
        self.leave()
        self._lane = self._long
        self._lane.under_way += 1

    def leave(self) -> None:
        """Give the place up."""
        self._lane.under_way -= 1


def allow_time_for_payment(request: Request) -> None:
    """Let a request wait for machines and chains, now that its payment was found good."""
    clock = request.scope.get(_CLOCK)
    if clock is not None:
        clock.allow_time_for_payment()


def hold(request: Request, seconds: float) -> None:
    """Let a request, whose caller is known by now, take as long as what it does may take.

    Raises Overloaded where too many of this kind are under way.
    """
    clock = request.scope.get(_CLOCK)
    if clock is not None:
        clock.hold(seconds)


class Guard:
    """ASGI middleware with the bounds."""

    def __init__(self, app: ASGIApp, *, limits: GuardLimits) -> None:
        self._app = app
        self._limits = limits
        self._free = _Lane(limit=limits.requests)
        self._paid = _Lane(limit=limits.paid_requests)
        self._long = _Lane(limit=limits.paid_requests)
        self._sockets = _Lane(limit=limits.requests)

    @property
    def under_way(self) -> int:
        """How many requests are being served now, long ones left out."""
        return self._free.under_way + self._paid.under_way

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request within the bounds, or say that there are too many."""
        if scope["type"] == "websocket":
            await self._serve_socket(scope, receive, send)
            return
        if scope["type"] != "http" or scope["path"] in _ALWAYS_SERVED:
            await self._app(scope, receive, send)
            return
        lane = self._lane_of(scope)
        if lane.under_way >= lane.limit or self.under_way >= self._limits.requests:
            metrics.OVERLOADED.inc()
            await error_table.answer(errors.Overloaded())(scope, receive, send)
            return
        place = _Place(lane, self._long)
        try:
            await self._serve(place, scope, receive, send)
        finally:
            place.leave()

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._sockets.under_way >= self._sockets.limit:
            metrics.OVERLOADED.inc()
            await receive()
            await send({"type": "websocket.close", "code": 1013})  # try again later
            return
        place = _Place(self._sockets, self._long)
        try:
            await self._app(scope, receive, send)
        finally:
            place.leave()

    def _lane_of(self, scope: Scope) -> _Lane:
        for name, _value in scope["headers"]:
            if name in _CREDENTIALS:
                return self._paid
        return self._free

    async def _serve(self, place: _Place, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer even where the application does not: too late, or an exception nobody expected."""
        started = False

        async def note_start(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                metrics.answered(scope, message["status"])
            await send(message)

        try:
            async with asyncio.timeout(self._limits.request_seconds) as limit:
                scope[_CLOCK] = _Clock(limit, self._limits.paid_request_seconds, place)
                await self._app(scope, receive, note_start)
        except Exception as error:
            late = isinstance(error, TimeoutError) and limit.expired()
            _log(scope, error, late=late)
            if started:  # half an answer cannot be mended; the server closes the connection
                raise
            await _apology(late=late)(scope, receive, note_start)
        except asyncio.CancelledError:  # we are being stopped, and the patience with that is over
            if started:
                raise
            await error_table.answer(errors.OrderPending(_STOPPING))(scope, receive, note_start)


def _log(scope: Scope, error: Exception, *, late: bool) -> None:
    facts = {"method": scope["method"], "path": scope["path"][:200]}
    if late:
        logger.warning("request_too_slow", **facts)
    else:
        logger.error("request_failed", exc_info=error, **facts)


def _apology(*, late: bool) -> Response:
    if not late:
        return error_table.problem(500, "internal_error", "Something went wrong on our side.")
    return error_table.answer(
        errors.TryLater(
            "This took too long; if a payment was sent, ask again with the same payment."
        )
    )
