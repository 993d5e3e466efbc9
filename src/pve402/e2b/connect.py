"""The Connect protocol with JSON, as E2B's SDKs speak it: calls, and streams of enveloped messages.

A message of a stream has a byte of flags and its length in four bytes before it; the last one has
flag 2 and tells the error, if there is one. Source: connectrpc.com/docs/protocol.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from typing import Any, Final

from aiohttp import web

from pve402.e2b import refusals

JSON: Final = "application/json"
STREAM: Final = "application/connect+json"
_LAST: Final = 2
_HEAD_BYTES: Final = 5
#: Of one message; a command is far smaller.
MOST_BYTES: Final = 4 * 1024 * 1024


def parsed(raw: bytes) -> dict[str, Any]:
    """Read a message. Raises Refused."""
    try:
        found = json.loads(raw or b"{}")
    except (ValueError, RecursionError):
        raise refusals.Refused("invalid_argument", "the message is not JSON") from None
    if not isinstance(found, dict):
        raise refusals.Refused("invalid_argument", "the message is not an object")
    return found


def envelope(message: Mapping[str, Any], flags: int = 0) -> bytes:
    """Write a message of a stream."""
    raw = json.dumps(message, separators=(",", ":")).encode()
    return bytes([flags]) + len(raw).to_bytes(4, "big") + raw


async def messages(request: web.Request) -> AsyncGenerator[dict[str, Any]]:
    """Yield the messages that a client streams. Raises Refused."""
    kept = bytearray()
    async for data in request.content.iter_any():
        kept += data
        while len(kept) >= _HEAD_BYTES:
            size = int.from_bytes(kept[1:_HEAD_BYTES], "big")
            if kept[0] or size > MOST_BYTES:
                raise refusals.Refused("invalid_argument", "the message is compressed or too long")
            if len(kept) < _HEAD_BYTES + size:
                break
            message = bytes(kept[_HEAD_BYTES : _HEAD_BYTES + size])
            del kept[: _HEAD_BYTES + size]
            yield parsed(message)


async def first_message(request: web.Request) -> dict[str, Any]:
    """The only message of a call that is answered by a stream. Raises Refused."""
    async for message in messages(request):
        return message
    raise refusals.Refused("invalid_argument", "the message is missing")


class Answers:
    """The answers of a stream, which begins with the first of them."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._response = web.StreamResponse(headers={"Content-Type": STREAM})

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send a message. Raises ConnectionError if nobody is there any more."""
        await self._write(envelope(message))

    async def end(self, error: Mapping[str, Any] | None = None) -> web.StreamResponse:
        """End the stream, with an error if there is one."""
        await self._write(envelope({} if error is None else {"error": error}, _LAST))
        await self._response.write_eof()
        return self._response

    def left(self) -> web.StreamResponse:
        """What a handler returns when nobody is there any more."""
        return self._response

    async def _write(self, data: bytes) -> None:
        if not self._response.prepared:
            await self._response.prepare(self._request)
        await self._response.write(data)


def answer(message: Mapping[str, Any]) -> web.Response:
    """Answer a call."""
    return web.json_response(message)


def refusal(refused: refusals.Refused) -> web.Response:
    """Refuse a call; clients read the code, whatever the status."""
    return web.json_response(refused.rpc, status=refused.status)


def time_limit(request: web.Request, usual_seconds: float | None = None) -> asyncio.Timeout:
    """The time that the client gives a call, or else the usual. Raises TimeoutError within."""
    text = request.headers.get("Connect-Timeout-Ms", "")
    is_number = text.isascii() and text.isdigit() and 0 < len(text) <= 10
    return asyncio.timeout(int(text) / 1000 if is_number and int(text) else usual_seconds)


@contextlib.contextmanager
def may_be_cut(request: web.Request, cuts: set[Callable[[], None]]) -> Iterator[None]:
    """Let others cut the connection during the block: clients then ask whether we are well."""

    def cut() -> None:
        if request.transport is not None:
            request.transport.abort()

    cuts.add(cut)
    try:
        yield
    finally:
        cuts.discard(cut)
