"""How a websocket into a guest begins and ends: first message, caller, refusals.

A refusal closes the socket with 4000 plus the HTTP status, and the error code as reason.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final, TypeVar

import structlog
from pydantic import BaseModel
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from pve402.api import caller, context, guest_call, visit
from pve402.api.sockets import binary
from pve402.api.transport import body, guard
from pve402.api.transport import errors as error_table
from pve402.domain import errors, power
from pve402.domain.lease import Lease
from pve402.guests import open_calls
from pve402.storage import vault

logger = structlog.get_logger(__name__)

Hello = TypeVar("Hello", bound=BaseModel)

_HELLO_SECONDS: Final = 5.0


class HelloMissing(errors.InvalidRequest):
    """No request arrived as the first message, as JSON text, within 5 seconds."""

    detail = "The first message must be the request, as JSON text, within 5 seconds."


@contextlib.asynccontextmanager
async def refusals_told(socket: WebSocket) -> AsyncIterator[None]:
    """Close the socket with the reason if the block raises one."""
    try:
        yield
    except binary.TextRefused as refusal:
        await close(socket, binary.UNSUPPORTED, refusal.code)
    except errors.Pve402Error as refusal:
        await close(socket, 4000 + error_table.status_of(type(refusal)), refusal.code)
    except WebSocketDisconnect:
        return
    except Exception:
        logger.exception("websocket_failed")
        await close(socket, 1011, "internal_error")


async def hello(socket: WebSocket, model: type[Hello]) -> Hello:
    """Read the first message. Raises HelloMissing and what `body.parse` raises."""
    try:
        async with asyncio.timeout(_HELLO_SECONDS):
            text = await socket.receive_text()
    except (TimeoutError, KeyError):
        raise HelloMissing from None
    return body.parse(text.encode(), model)


@contextlib.asynccontextmanager
async def admitted(socket: WebSocket, token: str | None) -> AsyncIterator[Lease]:
    """Find the caller's lease, and cancel the block when the lease or the token ends.

    A lease whose tenant chose that commands do is woken; a peer that forwards has done so.
    """
    is_forwarded = guest_call.lease_of_peer_call(socket) is not None
    found, token_hash = await _authorized(socket, token)
    guard.hold(socket, visit.LONG_SECONDS, found.lease_id, found.owner)
    app = context.of(socket)
    await app.leases.require_active(found)
    if not is_forwarded:
        found = await app.leases.wake_for(found, power.Use.COMMAND)
    work = app.work
    if work.is_closing:
        raise errors.TryLater
    call = open_calls.OpenCall(found, token_hash, is_forwarded=is_forwarded)
    with work.consoles.open_calls.track(call):
        async with call.lasting():
            yield found


async def close(socket: WebSocket, code: int, reason: str) -> None:
    """Close the socket unless it is closed."""
    if socket.application_state is WebSocketState.CONNECTED:
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await socket.close(code, reason)


async def _authorized(socket: WebSocket, told: str | None) -> tuple[Lease, str | None]:
    """Return the lease and the token's hash; for a peer's call, the peer checks the token."""
    app = context.of(socket)
    lease_id = guest_call.lease_of_peer_call(socket)
    if lease_id is not None:
        return await app.leases.find(lease_id), None
    token = caller.token_text(socket) or told
    if token is None:
        raise errors.Unauthenticated
    holder = await app.access.authenticate(token)
    if not holder.may("exec"):
        raise errors.NotAllowed
    await app.rates.count_caller(holder.owner, by_key=holder.by_key)
    text = caller.checked_lease_text(socket.path_params["ctid"])
    return await app.leases.find(text, holder), vault.token_hash(token)
