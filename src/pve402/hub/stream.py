"""One stream: bytes both ways between a client and a program in a guest.

A stream keeps only what its client has not confirmed yet, and the guest stops before that is more
than a window. It outlives a lost connection for a while, so that the client can come back and go on
where it was, also after the program's end. If the client stays away, or says that it is done, the
program's stdin ends. What still runs after that is left alone: a server that was started over SSH
lives on.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Final

from pve402.hub import agent, budget, channels, errors, metrics, supervision
from pve402.hub.channels import Channel
from pve402.hub.options import HubOptions
from pve402.hub.request import EventKind, ExecRequest
from pve402.hub.session import Session

#: How much a client may send that the guest has not taken.
INPUT_WINDOW: Final = 256 * 1024
#: The largest piece of output that `read` returns.
PIECE_BYTES: Final = 32 * 1024

_RESIZE_PAUSE_SECONDS: Final = 0.05

#: Waits until so many bytes may pass.
Pace = Callable[[int], Awaitable[None]]


async def no_pace(_size: int) -> None:
    """Let bytes pass at once."""


class Stream:
    """A program's stdin and output, between its client and the hub's session."""

    def __init__(self, share: budget.Share, pace: Pace = no_pace) -> None:
        self.stream_id = f"s{secrets.token_hex(16)}"
        self.on_read: channels.OnRead = lambda _kind, _size: None
        self.pace = pace
        #: How the program ended, or why we lost it.
        self.exit_code: int | None = None
        self.error: errors.HubError | None = None
        #: Bytes that the client has sent, and how many of them the guest has taken.
        self.received = 0
        self.taken = 0
        #: Set, and replaced, whenever there is something new.
        self.changed = asyncio.Event()
        self._share = share
        self._output: deque[tuple[EventKind, bytearray]] = deque()
        self._confirmed = 0
        self._sent = 0
        self._input: deque[bytearray] = deque()
        self._input_ended = False
        self._client = 0
        #: Since when no client has been here; None while one is.
        self.absent_since: float | None = _now()
        self._moved_at = _now()
        #: Whether the client that is here was sent the end.
        self.end_told = False
        #: The size that the client's window has, if it was told and not yet passed on.
        self.size: tuple[int, int] | None = None
        self._is_left = False

    @property
    def is_over(self) -> bool:
        """Whether the program has ended."""
        return self.exit_code is not None or self.error is not None

    @property
    def kept_bytes(self) -> int:
        """Output that the client has not confirmed."""
        return self._sent - self._confirmed

    def is_given_up(self, absence_seconds: float) -> bool:
        """Whether the client is done, or has been away for so long."""
        if self._is_left:
            return True
        return self.absent_since is not None and _now() - self.absent_since >= absence_seconds

    # the client's side

    def attach(self, position: int) -> int:
        """A client is here that has the output before `position`; any other one is replaced.

        Returns its number. Raises RequestRefused if the position cannot be one.
        """
        self.confirm(position)
        self._client += 1
        self.absent_since = None
        self.end_told = False
        self._notify()
        return self._client

    def is_attached(self, client: int) -> bool:
        """Whether this client is still the one."""
        return self._client == client

    def detach(self, client: int) -> None:
        """This client's connection has ended; it may come back."""
        if self.is_attached(client):
            self.absent_since = _now()
            self._notify()

    def leave(self) -> None:
        """The client is done: nobody reads the output any more, and stdin ends."""
        self._is_left = True
        self._input_ended = True
        self.confirm(self._sent)
        self._notify()

    def read(self, position: int) -> tuple[EventKind, bytes] | None:
        """The next piece of output from this position; None if there is none yet.

        Raises RequestRefused if the client has confirmed what it was not sent.
        """
        if position < self._confirmed:
            raise errors.RequestRefused("output was confirmed that was not sent yet")
        offset = self._confirmed
        for kind, data in self._output:
            if position < offset + len(data):
                start = position - offset
                return kind, bytes(data[start : start + PIECE_BYTES])
            offset += len(data)
        return None

    def confirm(self, position: int) -> None:
        """The client has the output before this position. Raises RequestRefused if it cannot."""
        if not self._confirmed <= position <= self._sent:
            raise errors.RequestRefused("output was confirmed that is not there")
        while self._confirmed < position:
            kind, data = self._output[0]
            size = min(len(data), position - self._confirmed)
            del data[:size]
            if not data:
                self._output.popleft()
            self._confirmed += size
            self._share.give_back(size)
            self.on_read(kind, size)

    def write(self, data: bytes) -> None:
        """Queue input. Raises RequestRefused for more than the window."""
        if self._input_ended or not data:
            return
        if self.received + len(data) - self.taken > INPUT_WINDOW:
            raise errors.RequestRefused("more input was sent than the window has room for")
        metrics.STREAM_BYTES.labels("in").inc(len(data))
        self.received += len(data)
        self._moved_at = _now()
        if self._input and len(self._input[-1]) < PIECE_BYTES:
            self._input[-1].extend(data)  # many small messages take no more memory than one
        else:
            self._input.append(bytearray(data))
        self._notify()

    def resize(self, columns: int, rows: int) -> None:
        """Set the size of the program's terminal."""
        self.size = columns, rows
        self._notify()

    def end_input(self) -> None:
        """End the program's stdin, after what is queued."""
        self._input_ended = True
        self._notify()

    # the program's side

    def add_output(self, kind: EventKind, data: bytes) -> bool:
        """Take output; if there is no memory left for it, the stream fails."""
        if self.is_over:
            return False
        if self._is_left:
            self.on_read(kind, len(data))
            return True
        if self._share.take(len(data)) < len(data):
            self.fail(errors.SessionFailed("the output that nobody has read takes too much memory"))
            return False
        metrics.STREAM_BYTES.labels("out").inc(len(data))
        self._sent += len(data)
        self._moved_at = _now()
        if self._output and self._output[-1][0] is kind and len(self._output[-1][1]) < PIECE_BYTES:
            self._output[-1][1].extend(data)
        else:
            self._output.append((kind, bytearray(data)))
        self._notify()
        return True

    def finish(self, exit_code: int) -> None:
        """The program ended."""
        if not self.is_over:
            self.exit_code = exit_code
            self._notify()

    def fail(self, error: errors.HubError) -> None:
        """We lost track of the program."""
        if not self.is_over:
            self.error = error
            self._notify()

    async def input(self) -> AsyncIterator[bytes]:
        """Yield the input as it comes; a piece counts as taken once the next is asked for."""
        while not self.is_over:
            changed = self.changed
            if self._input:
                piece = self._input.popleft()
                for start in range(0, len(piece), PIECE_BYTES):
                    part = bytes(piece[start : start + PIECE_BYTES])
                    await self.pace(len(part))
                    yield part
                    self.taken += len(part)
                    self._notify()
            elif self._input_ended:
                return
            else:
                await changed.wait()

    async def wait_left(self, absence_seconds: float, idle_seconds: float | None) -> None:
        """Wait until the program ends, or the client is done or away or idle for so long."""
        while not (self.is_over or self._is_left):
            changed, ends = self.changed, []
            if self.absent_since is not None:
                ends.append(self.absent_since + absence_seconds)
            if idle_seconds is not None:
                ends.append(self._moved_at + idle_seconds)
            limit = min(ends) - _now() if ends else None
            if limit is not None and limit <= 0:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(limit):
                    await changed.wait()

    async def wait_over(self, seconds: float) -> bool:
        """Wait until the program has ended; False after this time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.is_over:
                    await self.changed.wait()
        return self.is_over

    def _notify(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()


async def attend(
    session: Session, channel: Channel, stream: Stream, request: ExecRequest, options: HubOptions
) -> None:
    """Carry a stream's input until its program has ended or is left alone."""
    works = [supervision.feed(session, channel, stream.input())]
    if request.has_terminal:
        works.append(_resize(session, channel, stream))
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await stream.wait_left(options.absence_seconds, request.idle_seconds)
        if stream.is_over:
            return
        stream.leave()
        if request.end_signal:
            await session.signal(channel, request.end_signal)
        if await stream.wait_over(options.leave_seconds):
            return
        session.abandon(channel)
        if not await stream.wait_over(options.kill_after_seconds):
            channel.finish(137)
    except asyncio.CancelledError:
        session.put(f"k {channel.name} KILL".encode(), channel)
        session.abandon(channel)
        raise
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _resize(session: Session, channel: Channel, stream: Stream) -> None:
    """Pass the latest size on, at a limited rate."""
    while not stream.is_over:
        changed, size = stream.changed, stream.size
        if size is None:
            await changed.wait()
            continue
        stream.size = None
        session.put(agent.resize(channel.name, *size), channel)
        await asyncio.sleep(_RESIZE_PAUSE_SECONDS)


def _now() -> float:
    return asyncio.get_running_loop().time()
