"""Keeps the service standing: bounded requests under way, bounded time, no unknown exception out.

A request arrives in the lane of new ones, whatever it carries. Only when its head, its body and a
good credential are in does it change to the lane of known callers, who may wait for machines and
chains, so garbage never takes a place there. Commands and files may take hours: they change to a
lane of their own and are given the time. Websockets have lanes too: one for those that have not
said who they are, one for the others, whose time is bounded by what they do.

In every lane one address has but a share of the places, and so has one lease or wallet.
"""

import asyncio
import dataclasses
from typing import Final

import structlog
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pve402.api.transport import address, lanes, metrics, pace
from pve402.api.transport import errors as error_table
from pve402.domain import errors

logger = structlog.get_logger(__name__)

_ENTRY: Final = "pve402.entry"
_MOST_SILENT_SOCKETS: Final = 512
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


class _Entry:
    """A request that was let in: its place, and the time it has."""

    def __init__(self, guard: "Guard", place: lanes.Place, timeout: asyncio.Timeout | None) -> None:
        self._guard = guard
        self._place = place
        self._timeout = timeout

    def known(self, party: str) -> None:
        """Change to the lane of callers who have shown a good credential."""
        self._place.move(self._guard.known, party)

    def paid(self, party: str) -> None:
        """Change to that lane and start to count anew, with the limit of paid requests."""
        self._place.move(self._guard.known, party)
        self._count_anew(self._guard.limits.paid_request_seconds)

    def hold(self, seconds: float, party: str) -> None:
        """Change to the lane of long requests and start to count anew."""
        self._place.move(self._guard.sockets if self._timeout is None else self._guard.long, party)
        self._count_anew(seconds)

    def _count_anew(self, seconds: float) -> None:
        if self._timeout is not None:
            self._timeout.reschedule(asyncio.get_running_loop().time() + seconds)


def know(request: HTTPConnection, party: str) -> None:
    """Note that the caller has shown a good credential, of `party`: a lease or a wallet.

    Raises Overloaded or ShareUsed where too many such requests are under way.
    """
    entry = request.scope.get(_ENTRY)
    if entry is not None:
        entry.known(party)


def allow_time_for_payment(request: Request, payer: str) -> None:
    """Let a request wait for machines and chains, now that its payment was found good.

    Raises as `know`.
    """
    entry = request.scope.get(_ENTRY)
    if entry is not None:
        entry.paid(payer)


def hold(request: HTTPConnection, seconds: float, party: str) -> None:
    """Let a request, whose lease is known by now, take as long as what it does may take.

    Raises as `know`.
    """
    entry = request.scope.get(_ENTRY)
    if entry is not None:
        entry.hold(seconds, party)


class Guard:
    """ASGI middleware with the bounds."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        limits: GuardLimits,
        clients: address.ClientAddresses | None = None,
    ) -> None:
        self._app = app
        self._clients = clients or address.ClientAddresses(())
        self.limits = limits
        self.new = lanes.Lane(limit=limits.requests, part=2)
        self.known = lanes.Lane(limit=limits.paid_requests)
        self.long = lanes.Lane(limit=limits.paid_requests)
        self.new_sockets = lanes.Lane(limit=min(limits.requests, _MOST_SILENT_SOCKETS))
        self.sockets = lanes.Lane(limit=limits.requests, part=2)

    @property
    def under_way(self) -> int:
        """How many requests are being served now, long ones left out."""
        return self.new.under_way + self.known.under_way

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request within the bounds, or say that there are too many."""
        if scope["type"] == "websocket":
            await self._serve_socket(scope, receive, send)
            return
        if scope["type"] != "http" or scope["path"] in _ALWAYS_SERVED:
            await self._app(scope, receive, send)
            return
        try:
            place = lanes.Place(self.new, lanes.parties_of(self._clients.of(scope)))
        except (errors.Overloaded, lanes.ShareUsed) as refusal:
            metrics.OVERLOADED.inc()
            await error_table.answer(refusal)(scope, receive, send)
            return
        try:
            await self._serve(place, scope, receive, send)
        finally:
            place.leave()

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            place = lanes.Place(self.new_sockets, lanes.parties_of(self._clients.of(scope)))
        except (errors.Overloaded, lanes.ShareUsed):
            metrics.OVERLOADED.inc()
            await receive()
            await send({"type": "websocket.close", "code": 1013})  # try again later
            return
        scope[_ENTRY] = _Entry(self, place, None)
        try:
            await self._app(scope, receive, send)
        finally:
            place.leave()

    async def _serve(self, place: lanes.Place, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer even where the application does not: too late, or an exception nobody expected."""
        started = False

        async def note_start(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                metrics.answered(scope, message["status"])
            await pace.send_paced(send, message)

        try:
            async with asyncio.timeout(self.limits.request_seconds) as limit:
                scope[_ENTRY] = _Entry(self, place, limit)
                await self._app(scope, receive, note_start)
        except Exception as error:
            late = isinstance(error, TimeoutError) and limit.expired()
            _log(scope, error, late=late)
            if started and isinstance(error, errors.Pve402Error | pace.NotRead):
                return  # the server sees that the answer is not whole, and closes the connection
            if started:
                raise
            await _apology(late=late)(scope, receive, note_start)
        except asyncio.CancelledError:  # we are being stopped, and the patience with that is over
            if started:
                raise
            await error_table.answer(errors.OrderPending(_STOPPING))(scope, receive, note_start)


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
            "This took too long; if a payment was sent, ask again with the same payment."
        )
    )
