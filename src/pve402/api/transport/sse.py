"""Executions as server-sent events, with ids for resuming a lost stream.

An id gives the execution and a position in it. A client that repeats its first request with
`Last-Event-ID` resumes the running command instead of starting it twice. Output is base64 because
it may be arbitrary bytes.
"""

import asyncio
import base64
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from pve402.domain import errors
from pve402.hub.request import EventKind, ExecEvent

MEDIA_TYPE: Final = "text/event-stream"


_KEEP_ALIVE: Final = b": still here\n\n"
_KEEP_ALIVE_SECONDS: Final = 15.0
_ID: Final = re.compile(r"(e[0-9a-f]{24}):([0-9]{1,20})")


def is_wanted(request: Request) -> bool:
    """Whether the client asks for events."""
    return MEDIA_TYPE in request.headers.get("accept", "").lower()


def is_sent(response: Response) -> bool:
    """Whether a response is an event stream."""
    return response.headers.get("content-type", "").startswith(MEDIA_TYPE)


def last_event(request: Request) -> tuple[str, int] | None:
    """Return the execution and the client's last position. Raises InvalidRequest."""
    text = request.headers.get("last-event-id")
    if not text:
        return None
    found = _ID.fullmatch(text)
    if found is None:
        raise errors.InvalidRequest("Last-Event-ID is not one of ours")
    return found[1], int(found[2])


def respond(events: AsyncGenerator[bytes]) -> StreamingResponse:
    """Build the event stream, with a keep-alive while there are no events."""
    return StreamingResponse(
        _kept_alive(events), media_type=MEDIA_TYPE, headers={"X-Accel-Buffering": "no"}
    )


def output_event(exec_id: str, event: ExecEvent) -> bytes:
    """Format a piece of output."""
    return _write(event.kind, exec_id, event.id, base64.b64encode(event.data).decode())


def fact_event(kind: EventKind, exec_id: str, number: int, facts: Mapping[str, Any]) -> bytes:
    """Format facts about an execution."""
    return _write(kind, exec_id, number, json.dumps(dict(facts), separators=(",", ":")))


def error_event(exec_id: str, error: errors.Pve402Error, number: int | None = None) -> bytes:
    """Format the loss of an execution; without a number, the client can resume it."""
    facts = {"code": error.code, "detail": error.detail, "execId": exec_id}
    return _write(EventKind.ERROR, exec_id, number, json.dumps(facts, separators=(",", ":")))


def _write(kind: EventKind, exec_id: str, number: int | None, data: str) -> bytes:
    position = f"id: {exec_id}:{number}\n" if number is not None else ""
    return f"event: {kind.value}\n{position}data: {data}\n\n".encode()


async def _kept_alive(events: AsyncGenerator[bytes]) -> AsyncIterator[bytes]:
    waiting: asyncio.Future[bytes] | None = None
    try:
        while True:
            waiting = waiting or asyncio.ensure_future(anext(events))
            done, _ = await asyncio.wait([waiting], timeout=_KEEP_ALIVE_SECONDS)
            if not done:
                yield _KEEP_ALIVE
                continue
            finished, waiting = waiting, None
            try:
                yield finished.result()
            except StopAsyncIteration:
                return
    finally:
        if waiting is not None:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        await events.aclose()
