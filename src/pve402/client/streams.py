"""Streams: bytes both ways with a program in a container, over connections that may break.

async with streams.opened(service, "10001", schemas.StreamSocketRequest(argv=["cat"])) as stream:
    await stream.write(b"hello")
    await stream.end_input()
    async for piece in stream.output():
        print(piece.data)
print(stream.exit_code)
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any, Final

import aiohttp
from pydantic import BaseModel, Field

from pve402 import schemas
from pve402.client import errors, refusals, transport
from pve402.client.client import Client
from pve402.client.commands import ExitCode, Output

#: Closing codes from here on carry an HTTP status.
_REFUSED: Final = 4000
_STDIN, _STDOUT, _STDERR, _STATUS, _RESIZE, _COUNT, _CLOSE = 0, 1, 2, 3, 4, 6, 255
_KINDS: Final = {_STDOUT: "stdout", _STDERR: "stderr"}
_PIECE_BYTES: Final = 32 * 1024
_CONFIRM_BYTES: Final = 32 * 1024
#: Input kept until the program has taken it.
_MOST_INPUT_BYTES: Final = 512 * 1024
#: Output that was not read yet; the service stops long before.
_MOST_OUTPUT_BYTES: Final = 8 * 1024 * 1024
#: The service keeps a stream this long for a client that is away.
_ABSENCE_SECONDS: Final = 55.0
_RETRY_SECONDS: Final = 0.5
_GOODBYE_SECONDS: Final = 2.0


class _Ready(BaseModel):
    """What the service says when a stream is open, or open again."""

    stream_id: Annotated[str, Field(alias="streamId", min_length=1, max_length=100)]
    window: Annotated[int, Field(ge=0, le=2**31)]
    received: Annotated[int, Field(ge=0)]


class _Ended(BaseModel):
    """How the program ended."""

    exit_code: Annotated[ExitCode, Field(alias="exitCode")]


class Stream:
    """An open stream."""

    def __init__(self, service: Client, ctid: str, document: dict[str, Any]) -> None:
        self.exit_code: int | None = None
        self._service = service
        self._ctid = ctid
        self._document = document
        self._stream_id = ""
        self._window = 0
        self._output: asyncio.Queue[Output | None] = asyncio.Queue()
        self._received = 0
        self._read = 0
        self._confirmed = 0
        self._input = bytearray()
        self._taken = 0
        self._sent = 0
        self._size: bytes | None = None
        self._input_ended = False
        self._end_told = False
        self._is_left = False
        self._lost_at: float | None = None
        self._error: BaseException | None = None
        self._changed = asyncio.Event()
        self._started = asyncio.get_running_loop().create_future()

    async def write(self, data: bytes) -> None:
        """Send bytes to the program; waits while it does not take them."""
        while len(self._input) >= _MOST_INPUT_BYTES and not self._is_over:
            await self._next_change()
        self._input += data
        self._notify()

    async def resize(self, columns: int, rows: int) -> None:
        """Set the size of a shell's terminal."""
        self._size = json.dumps({"Width": columns, "Height": rows}).encode()
        self._notify()

    async def end_input(self) -> None:
        """End the program's stdin behind what was written."""
        self._input_ended = True
        self._notify()

    async def output(self) -> AsyncGenerator[Output]:
        """Yield what the program writes until it ends; it waits while nobody asks for more.

        Raises CommandLost, Refused, ServiceUnreachable, UnexpectedAnswer.
        """
        while (piece := await self._output.get()) is not None:
            yield piece
            self._read += len(piece.data)
            if self._read - self._confirmed >= _CONFIRM_BYTES:
                self._notify()
        if self._error is not None:
            raise self._error

    @property
    def _is_over(self) -> bool:
        return self.exit_code is not None or self._error is not None

    def _notify(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _next_change(self) -> None:
        await self._changed.wait()

    # the connections

    async def _run(self) -> None:
        """Keep a connection until the program ends; reports errors to the reader."""
        try:
            await self._run_connections()
        except errors.ClientError as error:
            self._error = error
        finally:
            self._output.put_nowait(None)
            if not self._started.done():
                self._started.set_result(None)
            self._notify()

    async def _run_connections(self) -> None:
        is_new_token = False
        while not self._is_over:
            try:
                await self._connect()
                is_new_token = False
            except errors.Refused as refused:
                if refused.status != 401 or is_new_token or not self._service.forget(self._ctid):
                    raise
                is_new_token = True
                continue
            except errors.ServiceUnreachable:
                if not self._may_come_back():
                    raise
            if not self._is_over:
                await asyncio.sleep(_RETRY_SECONDS)

    def _may_come_back(self) -> bool:
        """Whether the service may still keep the stream for us."""
        now = asyncio.get_running_loop().time()
        if self._lost_at is None:
            self._lost_at = now
        return bool(self._stream_id) and now - self._lost_at < _ABSENCE_SECONDS

    async def _connect(self) -> None:
        """Serve one connection to its end."""
        async with self._service.socket(f"/management/stream/{self._ctid}", self._ctid) as socket:
            await socket.send_str(json.dumps(self._hello()))
            first = await socket.receive()
            if first.type is not aiohttp.WSMsgType.TEXT:
                raise self._broken(first)
            self._resume(transport.parsed(first.data, _Ready.model_validate_json))
            sending = asyncio.create_task(self._send(socket))
            try:
                await self._receive(socket)
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
                if self._is_left:
                    await self._say_goodbye(socket)

    def _hello(self) -> dict[str, Any]:
        if self._stream_id:
            return {"resume": self._stream_id, "position": self._received}
        return self._document

    def _resume(self, ready: _Ready) -> None:
        if not self._taken <= ready.received <= self._taken + len(self._input):
            raise errors.UnexpectedAnswer("the service has other input than was sent")
        self._lost_at = None
        self._stream_id = ready.stream_id
        self._window = ready.window
        self._sent = ready.received
        self._end_told = False
        if not self._started.done():
            self._started.set_result(None)

    async def _send(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        with suppress(aiohttp.ClientError, ConnectionError):  # the receiving side reports it
            while True:
                changed = self._changed
                start = self._sent - self._taken
                room = min(_PIECE_BYTES, self._window - start)
                if self.exit_code is not None:
                    await socket.send_bytes(bytes([_CLOSE, _CLOSE]))
                    return
                if self._read - self._confirmed >= _CONFIRM_BYTES:
                    self._confirmed = self._read
                    await socket.send_bytes(bytes([_COUNT]) + self._read.to_bytes(8, "big"))
                elif self._size is not None:
                    size, self._size = self._size, None
                    await socket.send_bytes(bytes([_RESIZE]) + size)
                elif room > 0 and start < len(self._input):
                    piece = bytes(self._input[start : start + room])
                    self._sent += len(piece)
                    await socket.send_bytes(bytes([_STDIN]) + piece)
                elif self._input_ended and not self._end_told and start == len(self._input):
                    self._end_told = True
                    await socket.send_bytes(bytes([_CLOSE, _STDIN]))
                else:
                    await changed.wait()

    async def _receive(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Take messages until the connection ends; raises if that is the stream's end."""
        while True:
            message = await socket.receive()
            if message.type is aiohttp.WSMsgType.BINARY and message.data:
                self._take(message.data[0], message.data[1:])
            elif message.type is aiohttp.WSMsgType.CLOSE and message.data not in {1001, 1006, 1012}:
                if self.exit_code is None:
                    raise self._broken(message)
                return
            elif message.type is not aiohttp.WSMsgType.TEXT:
                return

    def _take(self, channel: int, data: bytes) -> None:
        if channel in _KINDS:
            self._received += len(data)
            if self._received - self._read > _MOST_OUTPUT_BYTES:
                raise errors.UnexpectedAnswer("the service sends more output than was asked for")
            stream: Any = _KINDS[channel]
            self._output.put_nowait(Output(stream=stream, data=data))
        elif channel == _COUNT:
            taken = int.from_bytes(data, "big")
            if self._taken <= taken <= self._sent:
                del self._input[: taken - self._taken]
                self._taken = taken
                self._notify()
        elif channel == _STATUS:
            self.exit_code = transport.parsed(data, _Ended.model_validate_json).exit_code
            self._notify()

    def _broken(self, message: aiohttp.WSMessage) -> errors.ClientError:
        code = message.data if message.type is aiohttp.WSMsgType.CLOSE else None
        reason = errors.told(message.extra or "") if code else ""
        if code is not None and _REFUSED + 400 <= code < _REFUSED + 600:
            return refusals.of(code - _REFUSED, reason, "the service ended the stream")
        if self._stream_id and code is not None:
            return errors.CommandLost(f"the stream was ended ({reason or code})")
        return errors.ServiceUnreachable("the connection broke before the stream was open")

    async def _say_goodbye(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        with suppress(aiohttp.ClientError, ConnectionError, TimeoutError):
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await socket.send_bytes(bytes([_CLOSE, _CLOSE]))


@asynccontextmanager
async def opened(
    service: Client, ctid: str, wish: schemas.StreamSocketRequest
) -> AsyncIterator[Stream]:
    """Open a stream to a program for the block; it is ended with the block.

    Raises Refused, ServiceUnreachable, UnexpectedAnswer, KeyNeeded.
    """
    stream = Stream(service, ctid, transport.document(wish))
    running = asyncio.create_task(stream._run())
    try:
        await stream._started
        if stream._error is not None:
            raise stream._error
        yield stream
    finally:
        stream._is_left = True
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
