"""Forwards a call to the replica that holds the guest's terminal, and relays its answer.

A dead holder's claim expires within seconds, so we retry a call that did not reach it, here or at
the next holder. If the call reached the holder and was lost, it may have been carried out, so we
answer that the session was lost.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, TypeVar

import aiohttp
import structlog
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from pve402.api.guest_call import GuestCall, lease_of_peer_call
from pve402.api.transport import sse, uploading
from pve402.domain import errors
from pve402.guests import guest_work, holder, peers
from pve402.hub import errors as hub_errors
from pve402.hub.hub import new_exec_id

logger = structlog.get_logger(__name__)

Result = TypeVar("Result")

EXEC_ID_HEADER: Final = "pve402-exec-id"
NOT_HERE: Final = 421
"""How a peer answers that it does not hold the terminal; nothing was done (RFC 9110, 15.5.20)."""

_LOOK_SECONDS: Final = 2.0
_SILENCE_SECONDS: Final = 60.0
_PASSED_ON: Final = (
    *("accept", "content-type", "content-length", "last-event-id"),
    *("content-digest", "repr-digest", "digest", "want-repr-digest"),
    *("if-match", "if-none-match", "range", "if-range"),
)
_PASSED_BACK: Final = frozenset(
    {"content-type", "content-length", "etag", "retry-after", "location", "repr-digest", "digest"}
    | {"pve402-file-mode", "pve402-exec-id", "last-modified", "x-accel-buffering"}
    | {"accept-ranges", "content-range", "cache-control"}
)
_EXEC_ID: Final = re.compile(r"e[0-9a-f]{24}")
_EVENT_ID: Final = re.compile(rb"^id: (e[0-9a-f]{24}):", re.MULTILINE)


def given_exec_id(request: Request) -> str:
    """Return the id for the command that a call starts: the peer's choice, or a new one."""
    given = request.headers.get(EXEC_ID_HEADER, "")
    is_of_peer = lease_of_peer_call(request) is not None and _EXEC_ID.fullmatch(given)
    return given if is_of_peer else new_exec_id()


async def at_owner(call: GuestCall, act: Callable[[], Awaitable[Response]]) -> Response:
    """Run `act` here, or forward the call if another replica holds the guest's terminal."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + holder.FIND_SECONDS
    while True:
        try:
            return await act()
        except hub_errors.Moved as moved:
            if lease_of_peer_call(call.request) is not None:
                return Response(status_code=NOT_HERE)
            if not moved.owner_address:
                raise
            address = moved.owner_address
        answer = await _send(call, address)
        if answer is not None:
            return answer
        if loop.time() > give_up_at:
            raise hub_errors.Moved
        await asyncio.sleep(holder.PAUSE_SECONDS)


async def fetch(
    work: guest_work.GuestWork, address: str, target: str, lease_id: str
) -> Response | None:
    """Relay a peer's answer to a GET; None if it cannot be reached."""
    if work.peers is None:
        return None
    try:
        reply = await work.peers.send(address, "GET", target, lease_id=lease_id, headers={})
    except (peers.PeerUnreachable, peers.PeerLost):
        return None
    return _relayed(reply)


async def _send(call: GuestCall, address: str) -> Response | None:
    """Return the holder's answer; None if the peer is unreachable or not the holder."""
    peer_calls = _peers(call)
    headers = {n: v for n in _PASSED_ON if (v := call.request.headers.get(n)) is not None}
    if call.exec_id:
        headers[EXEC_ID_HEADER] = call.exec_id
    if call.body is None and "content-length" in headers:
        # signed pieces are longer than their data
        headers[uploading.LENGTH_HEADER] = headers.pop("content-length")
    calling = peer_calls.send(
        address,
        call.request.method,
        call.target,
        lease_id=call.lease.lease_id,
        headers=headers,
        body=call.request.stream() if call.body is None else call.body,
    )
    try:
        reply = await _while_held(call, address, calling)
    except peers.PeerUnreachable:
        return None
    except peers.PeerLost:
        raise hub_errors.SessionLost(exec_id=call.exec_id) from None
    if reply.status in {NOT_HERE, 401}:
        reply.release()
        return None
    return _relayed(reply)


async def _while_held(call: GuestCall, address: str, calling: Awaitable[Result]) -> Result:
    """Wait for a peer's answer while it holds the terminal and the client waits."""
    answer = asyncio.ensure_future(calling)
    endings = [asyncio.create_task(_until_let_go(call, address))]
    if call.body is not None:
        endings.append(asyncio.create_task(until_gone(call.request)))
    try:
        await asyncio.wait([answer, *endings], return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise hub_errors.SessionLost(exec_id=call.exec_id)
        return answer.result()
    finally:
        for task in (answer, *endings):
            task.cancel()


async def _until_let_go(call: GuestCall, address: str) -> None:
    """Return once the peer no longer holds the terminal; a dead peer's claim expires."""
    owners = call.work.owners
    while owners is not None:
        await asyncio.sleep(_LOOK_SECONDS)
        try:
            if await owners.address_of_other(guest_work.ref(call.lease)) != address:
                return
        except errors.DatabaseUnavailable:
            continue


async def until_gone(request: Request) -> None:
    """Return once the client has closed its connection; read the body first."""
    while (await request.receive())["type"] != "http.disconnect":
        continue


def _relayed(reply: aiohttp.ClientResponse) -> Response:
    headers = {n: v for n, v in reply.headers.items() if n.lower() in _PASSED_BACK}
    is_stream = reply.headers.get("content-type", "").startswith(sse.MEDIA_TYPE)
    content = _events(reply) if is_stream else _chunks(reply)
    return StreamingResponse(content, reply.status, headers=headers)


async def _chunks(reply: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        while True:
            async with asyncio.timeout(_SILENCE_SECONDS):
                chunk = await reply.content.readany()
            if not chunk:
                return
            yield chunk
    finally:
        reply.close()


async def _events(reply: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Relay events; if the peer is lost, send the error event in its place."""
    exec_id = ""
    try:
        async for chunk in _chunks(reply):
            for found in _EVENT_ID.finditer(chunk):
                exec_id = found[1].decode()
            yield chunk
    except (aiohttp.ClientError, OSError, TimeoutError):
        yield b"\n\n" + sse.error_event(exec_id, hub_errors.SessionLost(exec_id=exec_id))


def _peers(call: GuestCall) -> peers.Peers:
    if call.work.peers is None:
        raise hub_errors.Moved
    return call.work.peers
