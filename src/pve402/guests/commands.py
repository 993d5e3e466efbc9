"""Attached commands: through the guest's terminal, or through the exec call some hosts provide.

`auto` tries the call on the first command it can run, and remembers if the host lacks it. The
call takes a program and arguments and returns a task whose log is the output: it has no stdin,
mixes both streams, and returns lines of text. Everything else goes through the terminal.
"""

import asyncio
import re
import shlex
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Literal

import structlog

from pve402.hub import errors, hub, invocation
from pve402.hub.execution import Execution
from pve402.hub.request import EventKind, ExecRequest
from pve402.proxmox import errors as pve
from pve402.proxmox import guests as pve_guests
from pve402.proxmox import tasks as pve_tasks

log = structlog.get_logger(__name__)

Mode = Literal["auto", "terminal", "api"]

# The text before may contain the command, and so anything.
_EXIT_CODE = re.compile(r"failed: exit code (\d{1,3})\Z")
_LAST_LINE = re.compile(r"TASK (OK|WARNINGS: \d+|ERROR: .*)")
_POLL = pve_tasks.PollPolicy(first_seconds=0.05, factor=1.3, ceiling_seconds=1.0)
_OUT_OF_TIME = 124  # as timeout(1) returns; the call reports no code of its own
_CANCELLED = 143  # as a shell returns for a program that TERM ended
_LARGEST_PARAMETERS_BYTES = 48 * 1024


class Commands:
    """Starts attached commands the way this installation runs them.

    `check` verifies that we may enter a guest, as the hub's own opener does for terminals. Raises
    GuestNotRunning, TerminalUnreachable.
    """

    def __init__(
        self,
        terminal: hub.Hub,
        guests: pve_guests.Guests,
        tasks: pve_tasks.Tasks,
        *,
        mode: Mode,
        check: Callable[[pve_guests.GuestRef], Awaitable[None]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hub = terminal
        self._guests = guests
        self._tasks = tasks
        self._check = check
        self._clock = clock
        self._has_call = {"auto": None, "terminal": False, "api": True}[mode]
        self._running: set[asyncio.Task[None]] = set()

    @property
    def need_terminals(self) -> bool:
        """Whether commands go through the terminal, for all that is known yet."""
        return self._has_call is not True

    async def start(
        self,
        guest: pve_guests.GuestRef,
        request: ExecRequest,
        stdin: AsyncIterator[bytes] | None = None,
        *,
        exec_id: str = "",
    ) -> Execution:
        """Start a command; follow its events through the returned execution.

        Raises RequestRefused, Unavailable, TooManyCommands, SessionFailed, Moved.
        """
        if self._has_call is not False and await self._fits_the_call(guest, request, stdin):
            started = await self._try_call(guest, request)
            if started is not None:
                return started
        return await self._hub.start(guest, request, stdin, exec_id=exec_id)

    async def close(self) -> None:
        """Stop watching commands run through the call; they keep running in the guest."""
        for task in tuple(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _fits_the_call(
        self, guest: pve_guests.GuestRef, request: ExecRequest, stdin: AsyncIterator[bytes] | None
    ) -> bool:
        """Whether the call can run it; it would show the lease's variables in its parameters."""
        return _is_simple(request, stdin) and not await self._hub.variables.has(guest)

    async def _try_call(self, guest: pve_guests.GuestRef, request: ExecRequest) -> Execution | None:
        """Start through the call; None if this host lacks it or denies us."""
        argv = [word.decode("utf-8", "surrogateescape") for word in invocation.build(request).argv]
        await self._check(guest)  # the call names a vmid, which may belong to another guest by now
        try:
            upid = await self._guests.execute(guest, "sh", shlex.join(["-c", *_quiet(argv)]))
        except pve.CallNotSupported as error:
            if self._has_call:
                raise errors.TerminalUnreachable("the host has no exec call") from error
            self._has_call = False
            log.info("proxmox_has_no_exec_call")
            return None
        except (pve.GuestMissing, pve.GuestNotRunning) as error:
            raise errors.GuestNotRunning from error
        except pve.ProxmoxError as error:
            raise errors.TerminalUnreachable("the host refused the command") from error
        self._has_call = True
        execution = Execution(hub.new_exec_id(), request, clock=self._clock)
        self._spawn(self._look_after(upid, execution))
        return execution

    async def _look_after(self, upid: pve_tasks.Upid, execution: Execution) -> None:
        """Wait for the task's end, and stop it if it runs out of time or is cancelled."""
        limit = execution.request.timeout_seconds or self._hub.options.default_timeout_seconds
        waiting = self._tasks.wait_until_finished(upid, limit_seconds=limit, policy=_POLL)
        finished = asyncio.ensure_future(waiting)
        ended = asyncio.ensure_future(execution.wait_over())
        exit_code = 0
        try:
            await asyncio.wait([finished, ended], return_when=asyncio.FIRST_COMPLETED)
            if not finished.done():
                exit_code = _CANCELLED
                await self._stop(upid)
            else:
                finished.result()
        except pve.TaskTimeout:
            execution.timed_out, exit_code = True, _OUT_OF_TIME
            await self._stop(upid)
        except pve.TaskFailed as failure:
            exit_code = _exit_code(failure.exitstatus)
        except (pve.ProxmoxError, asyncio.CancelledError):
            execution.fail(errors.SessionLost())
            return
        finally:
            finished.cancel()
            ended.cancel()
            await asyncio.gather(finished, ended, return_exceptions=True)
        await self._finish(upid, execution, exit_code)

    async def _stop(self, upid: pve_tasks.Upid) -> None:
        try:
            await self._tasks.stop(upid)
        except pve.ProxmoxError as error:
            log.warning("command_not_stopped", reason=type(error).__name__)

    async def _finish(self, upid: pve_tasks.Upid, execution: Execution, exit_code: int) -> None:
        try:
            read = await self._tasks.read_log(upid)
        except pve.ProxmoxError:
            execution.fail(errors.OutputDamaged())
            return
        lines = read.lines
        if lines and _LAST_LINE.fullmatch(lines[-1]):  # Proxmox's own line about the task
            lines = lines[:-1]
        for line in lines:
            execution.add_output(EventKind.STDOUT, f"{line}\n".encode())
        execution.truncated |= read.total > len(read.lines)
        execution.finish(exit_code)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)


def _is_simple(request: ExecRequest, stdin: AsyncIterator[bytes] | None) -> bool:
    has_stdin = stdin is not None or request.stdin is not None or request.open_stdin
    words = (request.command or "", *(request.argv or ()), *request.extra_args)
    size = sum(len(word) for word in (*words, *request.env.values()))
    return not has_stdin and not request.detach and size < _LARGEST_PARAMETERS_BYTES


def _quiet(argv: list[str]) -> list[str]:
    """Discard descriptor 8, to which the script reports its process group; nobody reads it here."""
    return [f"exec 8>/dev/null;{argv[0]}", *argv[1:]]


def _exit_code(exitstatus: str) -> int:
    """Return the code in the task's exit status; 255 if it has none."""
    found = _EXIT_CODE.search(exitstatus)
    return min(int(found[1]), 255) if found else 255
