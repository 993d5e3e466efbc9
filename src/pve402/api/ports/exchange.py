"""One HTTP request to a server in a guest, and its answer, both as they come."""

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Final

import h11
from starlette.types import Receive, Scope, Send

from pve402.api.ports import headers
from pve402.api.ports.pool import Pool
from pve402.api.ports.upstream import Upstream
from pve402.api.transport import body
from pve402.domain import errors
from pve402.domain.lease import Lease
from pve402.guests import connections

#: How long a client may pause while it sends its body.
_PAUSE_SECONDS: Final = 60.0
_REPEATABLE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_NEVER: Final = frozenset({"CONNECT", "TRACE"})
_WITHOUT_BODY: Final = frozenset({204, 304})

Rewrite = Callable[[Sequence[headers.Header]], list[headers.Header]]


class MethodRefused(errors.InvalidRequest):
    """A method that only makes sense between neighbours."""

    detail = "CONNECT and TRACE are not passed on."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Goal:
    """Where a request goes, and how its headers and those of the answer are written."""

    lease: Lease
    port: int
    target: bytes
    request_headers: list[headers.Header]
    rewrite: Rewrite


async def carry(pool: Pool, goal: Goal, scope: Scope, receive: Receive, send: Send) -> None:
    """Carry a request and its answer. Raises the refusals of `Pool.take` and `Upstream`."""
    if scope["method"] in _NEVER:
        raise MethodRefused
    is_repeatable = scope["method"] in _REPEATABLE and not _has_body(goal)
    exchange = _Exchange(goal, scope["method"], receive, send)
    upstream = await pool.take(goal.lease, goal.port, fresh=not is_repeatable)
    try:
        await exchange.run(upstream)
    except (connections.PortBroken, OSError):
        # A kept connection may have been closed as we wrote to it; then the server saw nothing.
        if not is_repeatable or upstream.has_begun or exchange.has_begun:
            raise connections.PortBroken from None
        await upstream.close()
        upstream = await pool.take(goal.lease, goal.port, fresh=True)
        try:
            await exchange.run(upstream)
        except OSError:
            raise connections.PortBroken from None
    finally:
        await asyncio.shield(pool.give_back(goal.lease, goal.port, upstream))


class _Exchange:
    """The two directions of one exchange."""

    def __init__(self, goal: Goal, method: str, receive: Receive, send: Send) -> None:
        self.has_begun = False  # whether the client has received anything
        self._goal = goal
        self._method = method
        self._receive = receive
        self._send = send

    async def run(self, upstream: Upstream) -> None:
        """Send the request and the answer; returns early if the client leaves."""
        await self._send_head(upstream)
        asking = asyncio.create_task(self._ask(upstream))
        answering = asyncio.create_task(self._answer(upstream))
        try:
            await asyncio.wait({asking, answering}, return_when=asyncio.FIRST_COMPLETED)
            if asking.done() and not answering.done():
                asking.result()  # the client is too slow
                return
            await answering
        finally:
            for task in (asking, answering):
                task.cancel()
            await asyncio.gather(asking, answering, return_exceptions=True)

    async def _send_head(self, upstream: Upstream) -> None:
        goal = self._goal
        try:
            request = h11.Request(
                method=self._method, target=goal.target, headers=goal.request_headers
            )
            await upstream.send(request)
        except h11.LocalProtocolError:
            raise errors.InvalidRequest("the request cannot be passed on as it is") from None
        if not _has_body(goal):
            await upstream.send(h11.EndOfMessage())

    async def _ask(self, upstream: Upstream) -> None:
        """Send the body; then wait until the client leaves. Raises BodyTooSlow."""
        has_more = _has_body(self._goal)
        while True:
            try:
                async with asyncio.timeout(_PAUSE_SECONDS if has_more else None):
                    message = await self._receive()
            except TimeoutError:
                raise body.BodyTooSlow from None
            if message["type"] == "http.disconnect":
                return
            if has_more:
                has_more = message.get("more_body", False)
                try:
                    await _send_part(upstream, message.get("body", b""), is_last=not has_more)
                except (OSError, h11.LocalProtocolError):
                    has_more = False  # the server takes no more, but may have answered

    async def _answer(self, upstream: Upstream) -> None:
        head = await upstream.head()
        try:
            rewritten = self._goal.rewrite([*head.headers])
        except ValueError:
            raise connections.PortAnswerInvalid from None
        if head.status_code in _WITHOUT_BODY:
            rewritten = [pair for pair in rewritten if pair[0] != b"content-length"]
        start: dict[str, Any] = {"type": "http.response.start", "status": head.status_code}
        self.has_begun = True
        await self._send({**start, "headers": rewritten})
        while (data := await upstream.body()) is not None:
            await self._send({"type": "http.response.body", "body": data, "more_body": True})
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send_part(upstream: Upstream, data: bytes, *, is_last: bool) -> None:
    if data:
        await upstream.send(h11.Data(data=data))
    if is_last:
        await upstream.send(h11.EndOfMessage())


def _has_body(goal: Goal) -> bool:
    return any(
        name in {b"content-length", b"transfer-encoding"} for name, _ in goal.request_headers
    )
