"""The hub: programs, files and consoles in guests, over one warm terminal session per guest."""

import asyncio
import functools
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import structlog

from pve402.hub import budget, connect, errors, invocation, metrics, ownership, supervision
from pve402.hub import stream as streams
from pve402.hub import variables as lease_variables
from pve402.hub.console import Console, ConsoleChannel
from pve402.hub.execution import Execution
from pve402.hub.guest_state import GuestState
from pve402.hub.options import HubOptions
from pve402.hub.request import ExecRequest, ExecResult
from pve402.hub.session import Session
from pve402.proxmox.guests import GuestRef

_log = structlog.get_logger(__name__)

TIDY_SECONDS = 2.0
#: How long a shell may take to exit after we hang up.
_HANG_UP_SECONDS = 2.0
_SIGNAL = re.compile(r"[A-Z][A-Z0-9+]{1,8}")


class Hub:
    """Owns the terminals of guests. Use as an async context manager, or `close` it."""

    def __init__(
        self,
        options: HubOptions,
        open_terminal: connect.OpenTerminal,
        *,
        owners: ownership.GuestOwnership | None = None,
        find_variables: lease_variables.Find = lease_variables.none,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.options = options
        self._open_terminal = open_terminal
        self.budget = budget.OutputBudget(
            guest_bytes=options.kept_bytes_per_guest,
            total_bytes=options.kept_bytes_in_all,
            make_room=self._make_room_for_output,
        )
        self._owners = owners or ownership.InMemoryOwnership()
        self.variables = lease_variables.Variables(find_variables, self.exec)
        self._clock = clock
        self._guests: dict[GuestRef, GuestState] = {}
        self._consoles: dict[GuestRef, Console] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._tidying: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Hub":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def exec(self, guest: GuestRef, request: ExecRequest) -> ExecResult:
        """Run a program and wait for it to end; cancelling this call kills it.

        Raises RequestRefused, Unavailable, TooManyCommands, SessionFailed, Moved.
        """
        execution = await self.start(guest, request)
        try:
            return await execution.wait()
        except asyncio.CancelledError:
            execution.cancel()
            raise

    async def start(
        self,
        guest: GuestRef,
        request: ExecRequest,
        stdin: supervision.Source | None = None,
        *,
        exec_id: str = "",
    ) -> Execution:
        """Start a program; follow its events through the returned execution.

        `stdin` replaces the request's stdin, `exec_id` the generated id. Raises as `exec`.
        """
        built = invocation.build(request)  # it may be refused before anything is opened
        if request.output_limit_bytes > self.options.max_output_bytes:
            raise errors.RequestRefused("the output limit is too large")
        state = await self._state(guest)
        session = await state.session()
        prepared = built.reading(await self._given(request, state, session))
        execution = Execution(exec_id or new_exec_id(), request, clock=self._clock)
        if not request.is_ours:  # ours are bounded anyway, and tenants' output must not stop them
            execution.share = self.budget.open(guest)
        source = stdin if stdin is not None else execution.stdin.source()
        channel = session.open_channel(execution, prepared, with_stdin=source is not None)
        # No await between taking the slot and starting the task that gives it back.
        state.register(execution)
        work = supervision.supervise(session, channel, execution, self.options, source)
        self._spawn(self._guarded(work, execution, state))
        return execution

    async def open_stream(
        self, guest: GuestRef, request: ExecRequest, pace: streams.Pace = streams.no_pace
    ) -> streams.Stream:
        """Start a program and return the stream to it, for a client to attach to.

        The request's limits on time and output do not apply. Raises as `exec`, TooManyStreams,
        NodeConsolesFull.
        """
        built = invocation.build(request)
        state = await self._state_for_stream(guest)
        stream = streams.Stream(self.budget.open(guest), pace)
        state.streams[stream.stream_id] = stream
        try:
            session = await state.session()
            prepared = built.reading(await self._given(request, state, session))
            channel = session.open_stream(stream, prepared, terminal=request.has_terminal)
        except BaseException:
            del state.streams[stream.stream_id]
            raise
        # No await between taking the slot and starting the task that gives it back.
        work = streams.attend(session, channel, stream, request, self.options)
        self._spawn(self._while_streaming(work, stream, state))
        return stream

    async def find_stream(self, guest: GuestRef, stream_id: str) -> streams.Stream:
        """A stream, for its client to come back to, even if its program has ended meanwhile.

        Raises StreamNotFound, Moved.
        """
        state = await self._claimed(guest)
        state.forget_old()
        stream = state.streams.get(stream_id)
        if stream is None:
            raise errors.StreamNotFound
        return stream

    async def session(self, guest: GuestRef) -> Session:
        """The guest's session; opens one if needed. Raises as `exec`."""
        return await (await self._state(guest)).session()

    async def variables_file(self, guest: GuestRef) -> str:
        """Where the guest's programs read the lease's variables; empty if it has none."""
        state = await self._state(guest)
        return await self.variables.given(state, await state.session())

    def find(self, guest: GuestRef, exec_id: str) -> Execution:
        """A running or recently finished attached execution. Raises ExecNotFound."""
        state = self._guests.get(guest)
        execution = state.executions.get(exec_id) if state else None
        if execution is None:
            raise errors.ExecNotFound
        return execution

    def executions(self, guest: GuestRef) -> Sequence[Execution]:
        """Attached executions, running and recently finished."""
        state = self._guests.get(guest)
        return tuple(state.executions.values()) if state else ()

    async def signal(self, guest: GuestRef, exec_id: str, name: str) -> bool:
        """Signal the process group of an attached execution; False if it is over.

        Raises ExecNotFound, RequestRefused.
        """
        if not _SIGNAL.fullmatch(name):
            raise errors.RequestRefused("the signal has no proper name")
        execution = self.find(guest, exec_id)
        session = await self.session(guest)
        channel = session.channel_of(execution)
        return channel is not None and await session.signal(channel, name)

    async def send_stdin(
        self, guest: GuestRef, exec_id: str, data: bytes, *, close: bool = False
    ) -> None:
        """Write to the stdin of an execution started with `open_stdin`; may close it.

        Waits while the program reads too slowly. Raises ExecNotFound, RequestRefused.
        """
        await self.find(guest, exec_id).stdin.put(data, close=close)

    async def open_console(self, guest: GuestRef, columns: int, rows: int) -> ConsoleChannel:
        """Open a window onto the guest's interactive shell; all windows share one shell.

        Raises Unavailable, SessionFailed, TooManyCommands, Moved.
        """
        console = self._consoles.get(guest)
        if console is None or console.is_gone:
            find = functools.partial(self._state, guest)
            console = Console(find, self._open_terminal, self.options, self.variables.given)
            self._consoles[guest] = console
        return await console.attach(columns, rows)

    async def check_console(self, guest: GuestRef) -> None:
        """Check that a console window can be opened. Raises as `open_console`."""
        console = self._consoles.get(guest)
        if console is None or console.is_gone:
            await self.session(guest)

    def reserve_terminal(self, guest: GuestRef, holder: str) -> AbstractAsyncContextManager[None]:
        """Keep the hub off the guest's terminal, for another kind of console.

        Ends a shell that has no windows left. Raises ConsoleBusy while programs or consoles
        run.
        """
        return self._reserved(guest, holder)

    async def close_guest(
        self, guest: GuestRef, why: type[errors.HubError] = errors.GuestClosed
    ) -> None:
        """End everything we run in a guest, because its lease ends or it is being stopped."""
        console = self._consoles.pop(guest, None)
        if console is not None:
            await console.close("ended")
        state = self._guests.pop(guest, None)
        if state is not None:
            await state.retire(why)
            await self._release(guest)

    async def close(self) -> None:
        """End all sessions; kills attached programs, detached ones keep running."""
        if self._tidying is not None:
            self._tidying.cancel()
        guests = tuple(self._guests)
        await asyncio.gather(*(self.close_guest(g, errors.SessionLost) for g in guests))
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def open_sessions(self) -> int:
        """How many terminals are open."""
        return sum(state.is_open for state in self._guests.values())

    @asynccontextmanager
    async def _reserved(self, guest: GuestRef, holder: str) -> AsyncIterator[None]:
        state = await self._state(guest)
        console = self._consoles.get(guest)
        if console is not None and not console.is_gone:
            await console.close_if_left()
            await state.wait_until_idle(_HANG_UP_SECONDS)
        async with state.held(holder):
            yield

    async def _given(self, request: ExecRequest, state: GuestState, session: Session) -> str:
        return await self.variables.given(state, session) if request.has_variables else ""

    async def _state(self, guest: GuestRef) -> GuestState:
        """The guest's state, with room for its terminal."""
        state = await self._claimed(guest)
        console = self._consoles.get(guest)
        if state.holder and console is not None and not console.is_gone:
            await console.close_if_left()
        elif state.holder:
            await state.until_let_go()
        if not state.is_open:
            with state.awaited():  # so that `_tidy` leaves it alone
                await self._make_room(guest)
        return state

    async def _claimed(self, guest: GuestRef) -> GuestState:
        if self._tidying is None:  # first, as consoles that cannot be opened here stay behind, too
            self._tidying = asyncio.create_task(self._tidy())
        claim = await self._owners.claim(guest)
        if not claim.is_ours:
            raise errors.Moved(owner_address=claim.owner_address)
        state = self._guests.get(guest)
        if state is None:
            state = GuestState(guest, self._open_terminal, self.options, clock=self._clock)
            self._guests[guest] = state
        return state

    def _make_room_for_output(self, guest: GuestRef, size: int, from_all: bool) -> None:
        """Forget what has finished, this guest's first, until there is enough room."""
        before = self.budget.kept_bytes
        own = [self._guests[guest]] if guest in self._guests else []
        others = self._guests.values() if from_all else ()
        for state in (*own, *others):
            while before - self.budget.kept_bytes < size and state.forget_oldest():
                pass

    async def _make_room(self, guest: GuestRef) -> None:
        """If the guest's node has no terminal left, close its longest-idle session.

        Terminals being opened count as used, and so do those held by others.
        """
        beside = [t for g, t in self._guests.items() if g.node == guest.node and g != guest]
        if sum(t.is_open or t.is_busy for t in beside) < self.options.max_sessions_per_node:
            return
        idle = [(t.idle_since(), t) for t in beside]
        oldest = min(
            ((since, t) for since, t in idle if since is not None),
            key=lambda pair: pair[0],
            default=None,
        )
        if oldest is None:
            raise errors.TooManySessions
        await oldest[1].close()

    async def _state_for_stream(self, guest: GuestRef) -> GuestState:
        """The guest's state, if its node has room for one more guest with streams.

        Streams hold their terminals for long, and commands need terminals, too.
        """
        holding = sum(
            state.is_streaming
            for other, state in self._guests.items()
            if other.node == guest.node and other != guest
        )
        if holding >= self.options.max_streaming_guests_per_node:
            raise errors.NodeConsolesFull
        try:
            return await self._state(guest)
        except errors.TooManySessions:
            raise errors.NodeConsolesFull from None

    async def _while_streaming(
        self, work: Coroutine[None, None, None], stream: streams.Stream, state: GuestState
    ) -> None:
        metrics.STREAMS.inc()
        try:
            await work
        except asyncio.CancelledError:
            stream.fail(errors.SessionLost())
            raise
        except Exception:  # noqa: BLE001 - a bug of ours must reach the waiting client
            _log.exception("hub.stream_failed")
            stream.fail(errors.SessionFailed())
        finally:
            metrics.STREAMS.dec()
            state.forget_old()

    async def _guarded(
        self, work: Coroutine[None, None, None], execution: Execution, state: GuestState
    ) -> None:
        try:
            await work
        except errors.HubError as error:
            execution.fail(error)
        except asyncio.CancelledError:
            execution.fail(errors.SessionLost())
            raise
        except Exception:  # noqa: BLE001 - a bug of ours must reach the waiting caller
            _log.exception("hub.execution_failed", exec_id=execution.exec_id)
            execution.fail(errors.SessionFailed())
        finally:
            if execution.request.is_ours:  # nobody asks for it again
                state.executions.pop(execution.exec_id, None)

    async def _tidy(self) -> None:
        """Renew claims, close idle sessions, forget what is old."""
        while True:
            await asyncio.sleep(TIDY_SECONDS)
            for guest, state in tuple(self._guests.items()):
                try:
                    await self._tidy_guest(guest, state)
                except errors.HubError:
                    continue
                except Exception:  # noqa: BLE001 - the others are tidied all the same
                    _log.exception("hub.tidy_failed", node=guest.node, vmid=guest.vmid)
            self._forget_consoles()

    def _forget_consoles(self) -> None:
        """Drop consoles that have ended, with their latest output, or could not be opened."""
        for guest in [guest for guest, console in self._consoles.items() if console.is_gone]:
            del self._consoles[guest]

    async def _tidy_guest(self, guest: GuestRef, state: GuestState) -> None:
        state.forget_old()
        if not await self._owners.renew(guest):
            _log.warning("hub.ownership_lost", node=guest.node, vmid=guest.vmid)
            await self.close_guest(guest, errors.SessionLost)
            return
        if not await state.close_if_idle() or state.is_busy or state.streams:
            return
        if not state.executions:
            self._guests.pop(guest, None)
            await self._release(guest)

    async def _release(self, guest: GuestRef) -> None:
        """Release a guest, unless after a migration we hold its terminal on another node.

        Ownership may go by vmid alone, so both nodes may share one claim.
        """
        if all(other.vmid != guest.vmid for other in self._guests):
            await self._owners.release(guest)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def new_exec_id() -> str:
    """A fresh id: 96 random bits, starts with a letter."""
    return f"e{secrets.token_hex(12)}"
