"""Moves a console's bytes both ways, with little memory even if one side is slow.

Output: a client that named a window gets at most that much beyond what it has acknowledged; for
others only TCP limits the flow. Meanwhile the hub drops excess terminal output, and says so. Input
waits in a bounded queue, separate from commands, so an acknowledgement never waits behind a paste
that the guest does not read.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeGuard

from starlette.websockets import WebSocket, WebSocketDisconnect

from pve402.api.sockets import binary
from pve402.api.sockets.channels import Channel
from pve402.api.transport import body
from pve402.domain import errors
from pve402.hub import stream as streams

MESSAGE_BYTES: Final = 64 * 1024
MAX_COMMAND_CHARACTERS: Final = 1024
PROBE_SECONDS: Final = 2.0

_MOST_WAITING_BYTES: Final = 256 * 1024
_TAKEN_STEP_BYTES: Final = 32 * 1024
_SMALLEST_WINDOW: Final = MESSAGE_BYTES
_LARGEST_WINDOW: Final = 8 * 1024 * 1024
_RESIZE_PAUSE_SECONDS: Final = 0.05

Command = Callable[[dict[str, Any]], Awaitable[None]]


class Pump:
    """Moves the bytes and commands of one console."""

    def __init__(
        self,
        socket: WebSocket,
        channel: Channel,
        *,
        window: int | None = None,
        command: Command | None = None,
        pace: streams.Pace = streams.no_pace,
    ) -> None:
        self._socket = socket
        self._channel = channel
        self._command = command
        self._pace = pace
        self._window = _Window(window)
        self._typed = _Typed()
        self._reports = window is not None
        self._size: tuple[int, int] | None = None
        self._size_changed = asyncio.Event()

    async def run(self, beside: Coroutine[Any, Any, None] | None = None) -> None:
        """Pump until the channel, the client or the `beside` task ends."""
        works = [self._show(), self._listen(), self._type(), self._resize()]
        works += [beside] if beside else []
        tasks = [asyncio.create_task(work) for work in works]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                with contextlib.suppress(WebSocketDisconnect):
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _show(self) -> None:
        """Send output until it ends. Raises WebSocketDisconnect if the client does not read."""
        while (data := await self._channel.read()) is not None:
            for start in range(0, len(data), MESSAGE_BYTES):
                piece = data[start : start + MESSAGE_BYTES]
                await self._window.take(len(piece))
                await self._pace(len(piece))
                await binary.send(self._socket, piece)

    async def _listen(self) -> None:
        """Handle messages until the client has gone."""
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            data = message.get("bytes")
            if data is not None:
                await self._queue(data)
            else:
                await self._obey(message.get("text") or "")

    async def _queue(self, data: bytes) -> None:
        """Queue input, which the guest may not read for long.

        Nothing is read from the client meanwhile, so a client that died would not be noticed. An
        empty message goes out now and then, because a connection without a client does not take it.
        """
        if self._typed.has_room:
            await self._typed.put(data)
            return
        putting = asyncio.ensure_future(self._typed.put(data))
        try:
            while not (await asyncio.wait([putting], timeout=PROBE_SECONDS))[0]:
                await binary.send(self._socket, b"")
        finally:
            putting.cancel()

    async def _type(self) -> None:
        """Write queued input as fast as the channel takes it."""
        taken = 0
        while True:
            data = await self._typed.get()
            await self._pace(len(data))
            await self._channel.write(data)
            taken += len(data)
            if self._reports and taken >= _TAKEN_STEP_BYTES:
                await self._socket.send_text(json.dumps({"taken": taken}))
                taken = 0

    async def _resize(self) -> None:
        """Apply the latest size, at a limited rate."""
        while True:
            await self._size_changed.wait()
            self._size_changed.clear()
            if self._size is not None:
                self._channel.resize(*self._size)
            await asyncio.sleep(_RESIZE_PAUSE_SECONDS)

    async def _obey(self, text: str) -> None:
        """Carry out a text message; ignore anything unknown."""
        asked = _read_command(text)
        size, taken = asked.get("resize"), asked.get("ack")
        if isinstance(size, dict):
            columns, rows = size.get("columns"), size.get("rows")
            if _is_number(columns) and _is_number(rows):
                self._size = (columns, rows)
                self._size_changed.set()
        elif _is_number(taken):
            self._window.give(taken)
        elif self._command is not None:
            await self._command(asked)


class _Window:
    """Limits the output that the client has not yet acknowledged."""

    def __init__(self, size: int | None) -> None:
        self._size = None if size is None else min(max(size, _SMALLEST_WINDOW), _LARGEST_WINDOW)
        self._under_way = 0
        self._smaller = asyncio.Event()

    async def take(self, count: int) -> None:
        """Wait for room, then use `count` bytes of it."""
        while self._size is not None and self._under_way and self._under_way + count > self._size:
            self._smaller.clear()
            await self._smaller.wait()
        self._under_way += count

    def give(self, count: int) -> None:
        """Free the bytes that the client has acknowledged."""
        self._under_way = max(0, self._under_way - max(0, count))
        self._smaller.set()


class _Typed:
    """A bounded queue of input."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._changed = asyncio.Condition()

    @property
    def has_room(self) -> bool:
        """Whether more input is taken at once."""
        return len(self._waiting) < _MOST_WAITING_BYTES

    async def put(self, data: bytes) -> None:
        """Add input; waits while the queue is full."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.has_room)
            self._waiting += data
            self._changed.notify_all()

    async def get(self) -> bytes:
        """Return all queued input."""
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self._waiting))
            data = bytes(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()
        return data


def _read_command(text: str) -> dict[str, Any]:
    if len(text) > MAX_COMMAND_CHARACTERS:
        return {}
    try:
        asked = body.strict_json(text.encode())
    except errors.InvalidRequest:
        return {}
    return asked if isinstance(asked, dict) else {}


def _is_number(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
