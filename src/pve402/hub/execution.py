"""One execution as its callers see it: events to follow and replay, and a result.

The request's output limit, the guest's share and a maximum number of events bound what is kept;
the rest is dropped and the result says so. The output of a request that `flows` is dropped for no
limit while somebody follows it: what was read is forgotten, and the program waits for a slow
follower.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from pve402.hub import budget, channels, errors, guest_scripts, metrics
from pve402.hub.request import EventKind, ExecEvent, ExecRequest, ExecResult

#: Events kept per execution; pieces nobody has seen yet are joined before any are dropped.
LARGEST_EVENTS = 8192
_LARGEST_JOINED_BYTES = 32 * 1024

_STREAMS = (EventKind.STDOUT, EventKind.STDERR)


def _ignore(_kind: EventKind, _size: int) -> None:
    """Tell nobody."""


class Execution:
    """A program that runs or ran in a guest."""

    def __init__(self, exec_id: str, request: ExecRequest, *, clock: Callable[[], float]) -> None:
        self.exec_id = exec_id
        self.request = request
        self.started_at = clock()
        self.ended_at: float | None = None
        self.truncated = False
        self.timed_out = False
        self.cancelled = False
        self.is_let_go = False
        self._looked_at = self.started_at
        self._clock = clock
        self.stdin = StdinQueue(request)
        #: Where room for output comes from; without it, only the request's limit applies.
        self.share: budget.Share | None = None
        #: Told how much output has been read, or need not be, so that the guest sends more.
        self.on_read: channels.OnRead = _ignore
        self._events: deque[ExecEvent] = deque()
        self._kept_bytes = 0
        self._seen = 0
        self._reading = _Reading()
        self._changed = asyncio.Event()
        self._over = asyncio.Event()
        self._cancel = asyncio.Event()
        self._add(EventKind.START)

    @property
    def is_running(self) -> bool:
        """Whether the execution has not ended yet."""
        return self.ended_at is None

    @property
    def left_seconds(self) -> float:
        """How long nobody has followed it or looked at it."""
        return 0.0 if self._reading.followers else self._clock() - self._looked_at

    def look(self) -> None:
        """Note that somebody looks at it."""
        self._looked_at = self._clock()

    @property
    def events(self) -> tuple[ExecEvent, ...]:
        """What has happened so far."""
        return tuple(self._events)

    @property
    def has_forgotten(self) -> bool:
        """Whether output that a follower has read is no longer kept."""
        return bool(self._events) and self._events[0].id > 1

    @property
    def output_bytes(self) -> Counter[EventKind]:
        """How much output each stream has had, without what a limit cut."""
        return self._reading.kept

    @property
    def kept_bytes(self) -> int:
        """Output held in memory."""
        return self._kept_bytes

    def add_output(self, kind: EventKind, data: bytes) -> bool:
        """Keep a piece of output; False once the limit is reached and no more is wanted.

        Output after the end is dropped too: the result and the last event are already out.
        """
        if not self.is_running:
            return False
        granted = self._room_for(len(data))
        self.truncated |= len(data) > granted
        piece = data[:granted]
        self._kept_bytes += len(piece)
        self._reading.arrived[kind] += len(data)
        self._reading.kept[kind] += len(piece)
        if piece:
            self._keep(kind, piece)
        self._tell_read()
        return not self.truncated

    def finish(self, exit_code: int) -> None:
        """The program ended."""
        if self.is_running:
            self.ended_at = self._clock()
            self._add(EventKind.EXIT, result=self._result(exit_code))
            self._over.set()
            self.stdin.end()
            self._count(self._outcome(exit_code))

    def fail(self, error: errors.HubError) -> None:
        """We lost track of the program."""
        if self.is_running:
            error.exec_id = self.exec_id
            self.ended_at = self._clock()
            self._add(EventKind.ERROR, error=error)
            self._over.set()
            self.stdin.end()
            self._count(error.code)

    def cancel(self) -> None:
        """Ask for the program to be ended; its supervisor does so."""
        self.cancelled = True
        self._cancel.set()

    def let_go(self) -> None:
        """End the execution but not the program, which has detached itself."""
        self.is_let_go = True
        self._cancel.set()

    async def wait_over(
        self, limit_seconds: float | None = None, *, ignore_cancel: bool = False
    ) -> bool:
        """Wait for the end; False if the limit passes or a cancel is requested first."""
        events = [self._over] if ignore_cancel else [self._over, self._cancel]
        waits = [asyncio.create_task(event.wait()) for event in events]
        try:
            await asyncio.wait(waits, timeout=limit_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return not self.is_running

    async def wait(self) -> ExecResult:
        """Wait for the end. Raises the HubError the execution failed with."""
        await self._over.wait()
        last = self._events[-1]
        if last.error is not None:
            raise last.error
        if last.result is None:
            raise AssertionError("an execution ends with a result or an error")
        return last.result

    async def follow(self, after_id: int = 0) -> AsyncGenerator[ExecEvent]:
        """Yield the events after `after_id`, then new ones as they arrive, until the last."""
        position = max(0, after_id)
        self._reading.followers += 1
        try:
            while True:
                while position < self._last_id:
                    if position + 1 < self._events[0].id:
                        yield ExecEvent(
                            id=position + 1, kind=EventKind.ERROR, error=errors.OutputGone()
                        )
                        return
                    event = self._events[position + 1 - self._events[0].id]
                    position = event.id
                    self._seen = max(self._seen, position)
                    yield event
                    self._was_read(position)
                if not self.is_running:
                    return
                await self._changed.wait()
        finally:
            self._reading.followers -= 1
            self._tell_read()
            self.look()

    @property
    def _last_id(self) -> int:
        return self._events[-1].id if self._events else 0

    def _room_for(self, size: int) -> int:
        """How much of a new piece is kept; makes room for it if somebody follows."""
        room = self.request.output_limit_bytes - self._kept_bytes
        if self.request.flows and self._reading.followers:
            self._forget_read(size - room)
            room = size
        elif len(self._events) >= LARGEST_EVENTS:
            room = 0
        wanted = max(0, min(size, room))
        return wanted if self.share is None else self.share.take(wanted)

    def _forget_read(self, excess: int) -> None:
        """Drop events that were read, the oldest first."""
        while (excess > 0 or len(self._events) >= LARGEST_EVENTS) and (
            len(self._events) > 1 and self._events[0].id <= self._reading.last_id
        ):
            size = len(self._events.popleft().data)
            self._kept_bytes -= size
            excess -= size
            if self.share is not None:
                self.share.give_back(size)

    def _was_read(self, last_id: int) -> None:
        """A follower has taken everything up to this event."""
        for number in range(self._reading.last_id + 1, last_id + 1):
            event = self._events[number - self._events[0].id]
            self._reading.read[event.kind] += len(event.data)
            self._reading.last_id = number
        self._tell_read()

    def _tell_read(self) -> None:
        """Let the guest send as much again as was read; without followers, everything was."""
        waits = self.request.flows and self._reading.followers and self.is_running
        for kind in _STREAMS:
            read = self._reading.read[kind] if waits else self._reading.arrived[kind]
            more = read - self._reading.told[kind]
            if more > 0:
                self._reading.told[kind] = read
                self.on_read(kind, more)

    def _add(
        self,
        kind: EventKind,
        data: bytes = b"",
        *,
        result: ExecResult | None = None,
        error: errors.HubError | None = None,
    ) -> None:
        number = self._last_id + 1
        self._events.append(ExecEvent(id=number, kind=kind, data=data, result=result, error=error))
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _keep(self, kind: EventKind, data: bytes) -> None:
        """Add an event, or extend the last one if nobody has seen it yet."""
        last = self._events[-1]
        joined = last.data + data
        if last.kind is kind and self._seen < last.id and len(joined) <= _LARGEST_JOINED_BYTES:
            self._events[-1] = ExecEvent(id=last.id, kind=kind, data=joined)
        else:
            self._add(kind, data)

    def _outcome(self, exit_code: int) -> str:
        if self.timed_out:
            return "timed_out"
        if self.cancelled:
            return "cancelled"
        return "failed" if exit_code else "done"

    def _count(self, outcome: str) -> None:
        if not guest_scripts.is_ours(self.request) and self.ended_at is not None:
            metrics.count(outcome, self.ended_at - self.started_at)

    def _result(self, exit_code: int) -> ExecResult:
        ended_at = self.ended_at if self.ended_at is not None else self._clock()
        return ExecResult(
            exec_id=self.exec_id,
            exit_code=exit_code,
            pieces=tuple(event for event in self._events if event.kind in _STREAMS),
            timed_out=self.timed_out,
            truncated=self.truncated,
            has_forgotten=self.has_forgotten,
            duration_ms=round((ended_at - self.started_at) * 1000),
            held=self.share,
        )


class _Reading:
    """How far the followers are, in events and in bytes of each stream."""

    def __init__(self) -> None:
        self.followers = 0
        self.last_id = 0
        self.arrived: Counter[EventKind] = Counter()
        self.kept: Counter[EventKind] = Counter()
        self.read: Counter[EventKind] = Counter()
        self.told: Counter[EventKind] = Counter()


class StdinQueue:
    """Stdin of an execution: the request's bytes, then more while it is kept open."""

    def __init__(self, request: ExecRequest) -> None:
        self._first = request.stdin
        self._is_open = request.open_stdin
        self._is_over = False
        # One piece at a time: a writer waits until the program's pipe has taken the last one.
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=1)
        self._turn = asyncio.Lock()

    def source(self) -> AsyncIterator[bytes] | None:
        """The bytes as they arrive; None for a program without stdin."""
        return self._iterate() if self._is_open or self._first is not None else None

    async def put(self, data: bytes, *, close: bool) -> None:
        """Add a piece, and close stdin if asked. Raises RequestRefused if stdin is closed.

        Stdin stays open if the writer is cancelled before the program has taken everything.
        """
        async with self._turn:
            if not self._is_open:
                raise _closed()
            if data:
                await self._add(data)
            if close:
                await self._add(None)
                self._is_open = False

    def end(self) -> None:
        """Nothing will be read any more: refuse the writers that wait and those that come."""
        self._is_open, self._is_over = False, True
        self._drop()

    async def _add(self, piece: bytes | None) -> None:
        await self._pieces.put(piece)
        if self._is_over:
            self._drop()
            raise _closed()

    def _drop(self) -> None:
        """Empty the queue; this wakes the next writer."""
        while not self._pieces.empty():
            self._pieces.get_nowait()

    async def _iterate(self) -> AsyncIterator[bytes]:
        if self._first:
            yield self._first
        self._first = None
        if not self._is_open and self._pieces.empty():
            return
        while (piece := await self._pieces.get()) is not None:
            yield piece


def _closed() -> errors.RequestRefused:
    return errors.RequestRefused("the stdin of this execution is closed")
