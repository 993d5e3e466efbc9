"""The hub's view of one guest: at most one session, its executions, and who holds it."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from pve402.hub import connect, errors
from pve402.hub.execution import Execution
from pve402.hub.options import HubOptions
from pve402.hub.session import Session
from pve402.hub.stream import Stream
from pve402.proxmox.guests import GuestRef

#: If a session has been silent for longer than this, we check that it is alive before using it.
_TRUST_SECONDS = 5.0
_LOOK_SECONDS = 0.01


class GuestState:
    """Opens the guest's session on demand and remembers what ran on it."""

    def __init__(
        self,
        guest: GuestRef,
        open_terminal: connect.OpenTerminal,
        options: HubOptions,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.guest = guest
        self.last_used_at = clock()
        self.executions: OrderedDict[str, Execution] = OrderedDict()
        #: Running ones, and ended ones whose clients may come back.
        self.streams: dict[str, Stream] = {}
        #: Who holds the terminal exclusively, if anyone.
        self.holder = ""
        self._let_go = asyncio.Event()
        self.giving_variables = asyncio.Lock()
        self._open_terminal = open_terminal
        self._options = options
        self._clock = clock
        self._session: Session | None = None
        self._retired_why: type[errors.HubError] | None = None
        self._lock = asyncio.Lock()
        self._awaited = 0

    @property
    def is_open(self) -> bool:
        """Whether a session is up."""
        return self._session is not None and not self._session.ended.is_set()

    @property
    def is_streaming(self) -> bool:
        """Whether the program of a stream is running."""
        return any(not stream.is_over for stream in self.streams.values())

    @property
    def is_busy(self) -> bool:
        """Whether anything is running or somebody holds the terminal."""
        running = self.is_open and self._session is not None and self._session.is_busy
        return running or bool(self.holder) or self._lock.locked() or self._awaited > 0

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """Count as busy during the block: somebody is about to use the terminal."""
        self._awaited += 1
        try:
            yield
        finally:
            self._awaited -= 1

    async def session(self) -> Session:
        """The live session; opens one if needed.

        Raises ConsoleBusy, and what opening raises.
        """
        async with self._lock:
            self.last_used_at = self._clock()
            if self._retired_why is not None:
                raise self._retired_why
            if self.holder:
                raise errors.ConsoleBusy
            if self._session is not None and not await self._is_fit(self._session):
                session, self._session = self._session, None
                await session.close()
            if self._session is None:
                self._session = await connect.open_session(
                    self._open_terminal, self.guest, self._options
                )
            return self._session

    def register(self, execution: Execution) -> None:
        """Remember an execution and forget old finished ones."""
        self.executions[execution.exec_id] = execution
        self.forget_old()

    def forget_old(self) -> None:
        """Drop finished executions and streams beyond the limits on number, age and memory."""
        self._forget_old_streams()
        finished = [e for e in self.executions.values() if e.ended_at is not None]
        kept_bytes = sum(execution.kept_bytes for execution in finished)
        horizon = self._clock() - self._options.kept_seconds
        excess = len(finished) - self._options.kept_executions
        for number, execution in enumerate(finished):
            old = (execution.ended_at or 0.0) < horizon
            if number < excess or old or kept_bytes > self._options.max_output_bytes:
                del self.executions[execution.exec_id]
                kept_bytes -= execution.kept_bytes

    def forget_oldest(self) -> bool:
        """Drop the oldest finished execution that still holds output, or else such a stream.

        False if there is none.
        """
        finished = (e for e in self.executions.values() if not e.is_running and e.kept_bytes)
        oldest = next(finished, None)
        if oldest is not None:
            del self.executions[oldest.exec_id]
            return True
        stream = next((each for each in self._ended_streams() if each.kept_bytes), None)
        if stream is not None:
            self._forget_stream(stream)
        return stream is not None

    def _ended_streams(self) -> list[Stream]:
        """Ended streams without a client, the one that has been without for longest first."""
        absent = [
            (stream.absent_since, stream)
            for stream in self.streams.values()
            if stream.is_over and stream.absent_since is not None
        ]
        return [stream for _, stream in sorted(absent, key=lambda pair: pair[0])]

    def _forget_old_streams(self) -> None:
        """Drop ended streams that are given up, and the oldest beyond the limit on number."""
        for stream in tuple(self.streams.values()):
            if stream.is_over and stream.is_given_up(self._options.absence_seconds):
                self._forget_stream(stream)
        ended = self._ended_streams()
        for stream in ended[: max(0, len(ended) - self._options.kept_executions)]:
            self._forget_stream(stream)

    def _forget_stream(self, stream: Stream) -> None:
        stream.leave()  # gives the room for its output back at once
        del self.streams[stream.stream_id]

    @asynccontextmanager
    async def held(self, holder: str) -> AsyncIterator[None]:
        """Hold the terminal exclusively: no session of ours is open during the block.

        Raises ConsoleBusy if anything is running or someone else holds it.
        """
        async with self._lock:
            if self.holder or (self._session is not None and self._session.is_busy):
                raise errors.ConsoleBusy
            self.holder = holder
            self._let_go.clear()
        try:
            async with self._lock:
                await self._close_session()
            yield
        finally:
            self.holder = ""
            self._let_go.set()
            self.last_used_at = self._clock()

    async def until_let_go(self) -> None:
        """Wait a moment for whoever holds the terminal, and may just have been told to leave it."""
        with suppress(TimeoutError), self.awaited():
            async with asyncio.timeout(self._options.let_go_seconds):
                await self._let_go.wait()

    async def wait_until_idle(self, seconds: float) -> None:
        """Wait until nothing runs on the session, for at most `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._session is not None and self._session.is_busy:  # noqa: ASYNC110
                    await asyncio.sleep(_LOOK_SECONDS)

    async def close(self) -> None:
        """End the session; what runs on it is lost."""
        async with self._lock:
            await self._close_session()

    async def retire(self, why: type[errors.HubError]) -> None:
        """End for good: waiting callers get no session, running programs fail with `why`."""
        self._retired_why = why
        for execution in self.executions.values():
            execution.fail(why())
        for stream in self.streams.values():
            stream.fail(why())
        for stream in self._ended_streams():
            self._forget_stream(stream)
        await self.close()

    async def close_if_idle(self) -> bool:
        """Close a session that has been idle too long; returns whether none is open now."""
        if self.is_busy or not self.is_open:
            return not self.is_open
        if self._clock() - self._last_use() < self._options.idle_seconds:
            return False
        await self.close()
        return True

    def idle_since(self) -> float | None:
        """When the session became idle; None while something runs or none is open."""
        return None if self.is_busy or not self.is_open else self._last_use()

    def _last_use(self) -> float:
        session_use = self._session.last_used_at if self._session is not None else 0.0
        return max(self.last_used_at, session_use)

    async def _is_fit(self, session: Session) -> bool:
        if session.ended.is_set():
            return False
        if session.is_busy:
            return True
        if session.is_tainted:
            return False
        return session.silent_seconds < _TRUST_SECONDS or await session.check_alive()

    async def _close_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()
