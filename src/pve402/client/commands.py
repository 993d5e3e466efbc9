"""Commands in a container: run one to completion, or stream its output.

async with client.Client("https://rent.example.com", token="...") as service:
    answer = await client.commands.run(service, "10001", schemas.ExecRequest(argv=["uptime"]))
    print(answer.stdout, answer.exit_code)
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

import aiohttp
from pydantic import BaseModel, Field

from pve402 import schemas
from pve402.client import errors, refusals, transport
from pve402.client.client import Client

_DEFAULT_SECONDS: Final = 600.0
_MARGIN_SECONDS: Final = 60.0
_END_SECONDS: Final = 5.0
#: A refusal closes the websocket with this plus the HTTP status.
_REFUSED: Final = 4000
_STDIN, _STDOUT, _STDERR, _ENDED, _CLOSE = 0, 1, 2, 3, 255

#: How a program ended; 128 + N if signal N ended it.
ExitCode = Annotated[int, Field(ge=0, le=255)]


@dataclass(frozen=True, kw_only=True)
class Started:
    """A command has started, under this id."""

    exec_id: str


@dataclass(frozen=True, kw_only=True)
class Output:
    """A piece of a command's output."""

    stream: Literal["stdout", "stderr"]
    data: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a command ended; `truncated` if output beyond the limit was dropped."""

    exit_code: int | None
    timed_out: bool
    truncated: bool


Told = Started | Output | Ending


async def run(service: Client, ctid: str, wish: schemas.ExecRequest) -> schemas.ExecAnswer:
    """Run a command to completion. Raises Refused, ServiceUnreachable, KeyNeeded."""
    limit = aiohttp.ClientTimeout(
        total=(wish.timeout_seconds or _DEFAULT_SECONDS) + _MARGIN_SECONDS, connect=10
    )
    async with service.opened(
        "POST",
        f"/management/exec/{ctid}",
        ctid,
        document=transport.document(wish),
        timeout=limit,
    ) as answer:
        return transport.read(await transport.read_reply(answer), schemas.ExecAnswer)


async def follow(
    service: Client,
    ctid: str,
    wish: schemas.ExecRequest,
    stdin: AsyncIterator[bytes] | None = None,
) -> AsyncGenerator[Told]:
    """Run a command and yield its id, its output as it arrives, and finally how it ended.

    The command reads what `stdin` yields. The service ends the command when the generator is
    closed, the connection breaks or this process dies.

    Raises CommandLost, and what `run` raises.
    """
    document = transport.document(wish) | ({"openStdin": True} if stdin is not None else {})
    for is_last in (False, True):
        try:
            async with service.socket(f"/management/exec/{ctid}/ws", ctid) as socket:
                await socket.send_str(json.dumps(document))
                async with (
                    _ended_with_us(service, ctid) as running,
                    _fed(socket, stdin, running.has_started),
                ):
                    async for told in _read(socket, wish):
                        running.note(told)
                        yield told
                return
        except errors.Refused as refused:
            if is_last or refused.status != 401 or not service.forget(ctid):
                raise


async def end(service: Client, ctid: str, exec_id: str) -> None:
    """End a command: TERM, then KILL. Raises what `run` raises."""
    async with service.opened("DELETE", f"/management/exec/{ctid}/{exec_id}", ctid):
        pass


class _Ended(BaseModel):
    """What the service says of a command's end."""

    exit_code: Annotated[ExitCode | None, Field(alias="exitCode")]
    timed_out: Annotated[bool, Field(alias="timedOut")]
    truncated: bool


class _Running:
    """Holds the command's id until it has ended."""

    def __init__(self) -> None:
        self.exec_id = ""
        self.has_started = asyncio.Event()

    def note(self, told: Told) -> None:
        if isinstance(told, Started):
            self.exec_id = told.exec_id
            self.has_started.set()
        elif isinstance(told, Ending):
            self.exec_id = ""


@contextlib.asynccontextmanager
async def _ended_with_us(service: Client, ctid: str) -> AsyncIterator[_Running]:
    """End the command if the block exits while it is still running.

    A service that is waiting for the command to read stdin does not notice that we are gone.
    """
    running = _Running()
    try:
        yield running
    finally:
        if running.exec_id:
            with contextlib.suppress(errors.ClientError, TimeoutError):
                async with asyncio.timeout(_END_SECONDS):
                    await end(service, ctid, running.exec_id)


async def _read(
    socket: aiohttp.ClientWebSocketResponse, wish: schemas.ExecRequest
) -> AsyncGenerator[Told]:
    """Read the service's messages about a command until it ends."""
    started, left = False, wish.max_output_bytes
    while (message := await socket.receive()).type in {
        aiohttp.WSMsgType.TEXT,
        aiohttp.WSMsgType.BINARY,
    }:
        told = _told(message)
        if isinstance(told, Output) and left is not None:
            left -= len(told.data)
            if left < 0:
                raise errors.UnexpectedAnswer("the service sends more output than requested")
        started = started or isinstance(told, Started)
        if told is not None:
            yield told
        if isinstance(told, Ending):
            return
    raise _broken(message, started=started)


def _told(message: aiohttp.WSMessage) -> Told | None:
    """Parse a message. Raises CommandLost, UnexpectedAnswer."""
    try:
        if message.type is aiohttp.WSMsgType.TEXT:
            return Started(exec_id=str(json.loads(message.data)["execId"]))
        return _channel(message.data[0], message.data[1:])
    except (LookupError, TypeError, ValueError, RecursionError):
        raise errors.UnexpectedAnswer(
            "the service's message about the command cannot be read"
        ) from None


def _channel(channel: int, data: bytes) -> Told | None:
    match channel:
        case 1:
            return Output(stream="stdout", data=data)
        case 2:
            return Output(stream="stderr", data=data)
        case 3:
            return _ending(data)
        case _:
            return None


def _ending(data: bytes) -> Ending:
    facts = json.loads(data)
    if "exitCode" not in facts:  # the service does not know how the command ended
        raise errors.CommandLost(errors.told(facts["message"]))
    ended = _Ended.model_validate(facts)
    return Ending(exit_code=ended.exit_code, timed_out=ended.timed_out, truncated=ended.truncated)


def _broken(message: aiohttp.WSMessage, *, started: bool) -> errors.ClientError:
    """Why a websocket ended before its command did."""
    code = message.data if message.type is aiohttp.WSMsgType.CLOSE else None
    reason = errors.told(message.extra or "") if code else ""
    if started:
        why = f" ({reason})" if reason else " because the connection broke"
        return errors.CommandLost(f"the command was ended{why}")
    if code is not None and _REFUSED + 400 <= code < _REFUSED + 600:
        return refusals.of(code - _REFUSED, reason, "the command was not started")
    if code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG:
        return refusals.of(413, "too_large", "the command is longer than the service accepts")
    return errors.ServiceUnreachable("the connection broke before the command was started")


@contextlib.asynccontextmanager
async def _fed(
    socket: aiohttp.ClientWebSocketResponse,
    stdin: AsyncIterator[bytes] | None,
    has_started: asyncio.Event,
) -> AsyncIterator[None]:
    """Send stdin to the command while the block runs.

    Nothing is taken from `stdin` before the command has started: what a refused attempt took would
    be missing from the next one.
    """
    if stdin is None:
        yield
        return
    feeding = asyncio.create_task(_feed(socket, stdin, has_started))
    try:
        yield
    finally:
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)


async def _feed(
    socket: aiohttp.ClientWebSocketResponse,
    stdin: AsyncIterator[bytes],
    has_started: asyncio.Event,
) -> None:
    await has_started.wait()
    with contextlib.suppress(aiohttp.ClientError, ConnectionError):  # the reading side reports it
        async for chunk in stdin:
            await socket.send_bytes(bytes([_STDIN]) + chunk)
        await socket.send_bytes(bytes([_CLOSE, _STDIN]))
