"""Carries one visit, a request or a websocket, while everything it depends on lasts."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from pve402.api import context, visit
from pve402.api.peers import ports as peers_ports
from pve402.api.ports import exchange, pool, websocket
from pve402.api.transport import guard
from pve402.domain import errors, published
from pve402.guests import open_calls


async def carry(
    connection: HTTPConnection,
    goal: exchange.Goal,
    call: open_calls.OpenCall,
    receive: Receive,
    send: Send,
    *,
    ends_at: datetime | None = None,
) -> None:
    """Carry a visit until it or what it depends on ends, at `ends_at` at the latest.

    Raises what ended it, and refusals before that.
    """
    guard.hold(connection, visit.LONG_SECONDS, goal.lease.lease_id, f"visits {goal.lease.owner}")
    work = context.of(connection).work
    if work.is_closing:
        raise errors.TryLater("the service is stopping", retry_after_seconds=2)
    with work.consoles.open_calls.track(call):
        async with call.lasting(), _until(ends_at):
            await _carry(connection, goal, receive, send)


@contextlib.asynccontextmanager
async def _until(ends_at: datetime | None) -> AsyncIterator[None]:
    """Cancel the block when a login ends. Raises LoginRefused."""
    left = None if ends_at is None else (ends_at - datetime.now(UTC)).total_seconds()
    limit = asyncio.timeout(left)
    try:
        async with limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise published.LoginRefused from None


async def _carry(
    connection: HTTPConnection, goal: exchange.Goal, receive: Receive, send: Send
) -> None:
    scope: Scope = connection.scope
    app = context.of(connection)
    if scope["type"] == "http":
        await exchange.carry(pool.of(connection), goal, scope, receive, send)
        return
    opened = await peers_ports.connect(app.work, goal.lease, goal.port)
    try:
        await websocket.carry(opened, goal, scope, receive, send)
    except WebSocketDisconnect:
        return
    finally:
        await asyncio.shield(opened.close())
