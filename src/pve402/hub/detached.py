"""Detached programs: they keep running in the guest without us, and spool their output there.

Their directory in the guest survives our restart. We check the form and size of what the guest
reports about them. It may still be false, but then the tenant deceives only themselves.
"""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from enum import Enum

from pve402.hub import errors, guest_scripts, invocation
from pve402.hub.execution import Execution
from pve402.hub.hub import Hub, new_exec_id
from pve402.hub.request import EventKind, ExecEvent, ExecRequest
from pve402.proxmox.guests import GuestRef

_ID = re.compile(r"e[0-9a-f]{24}")
_LINE = re.compile(
    r"(?P<id>e[0-9a-f]{24}) (?P<state>running|exited|lost) (?P<code>\d{1,3}|-) "
    r"(?P<started>\d{1,12}) (?P<out>\d{1,12}) (?P<err>\d{1,12}) (?P<cut>[01]) (?P<late>[01]) "
    r"(?P<up>\d{1,10}\.\d{1,4}|-) (?P<down>\d{1,10}\.\d{1,4}|-)"
)
_SIGNAL = re.compile(r"[A-Z][A-Z0-9+]{1,8}")
_DIRECTORY = "/.pve402-d"
_OFFSET_BITS = 32
_TEXT_BYTES = 64 * 1024


class DetachedState(Enum):
    """What became of a detached program."""

    RUNNING = "running"  # it runs
    EXITED = "exited"  # it exited or was killed by a signal
    LOST = "lost"  # the guest was restarted, or its keeper was killed


@dataclass(frozen=True, kw_only=True)
class Detached:
    """What is known of a detached program."""

    exec_id: str
    state: DetachedState
    exit_code: int | None
    started_at: int
    stdout_bytes: int
    stderr_bytes: int
    truncated: bool
    timed_out: bool
    #: How long it ran in the guest; None while it runs or if its end was not seen.
    duration_ms: int | None


class DetachedPrograms:
    """Starts and manages detached programs through the hub's own executions."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def start(self, guest: GuestRef, request: ExecRequest, *, exec_id: str = "") -> str:
        """Start a program that outlives us; returns its exec_id, a new one unless given.

        Raises RequestRefused, TooManyCommands, Unavailable, SessionFailed.
        """
        built = invocation.build(request)  # it may be refused before anything is opened
        base = await self.directory(guest)
        prepared = built.reading(await self._hub.variables_file(guest))
        exec_id = exec_id or new_exec_id()
        options = self._hub.options
        limit = min(request.timeout_seconds or 0, 10**9)
        words = [arg.decode("utf-8", "surrogateescape") for arg in prepared.argv]
        start = guest_scripts.request(
            "detach",
            base,
            exec_id,
            str(options.spool_bytes),
            str(-int(-limit // 1)),
            str(options.max_detached),
            _stdin_mode(request),
            *words,
        )
        stdin = request.stdin if request.stdin is not None else None
        execution = await self._hub.start(guest, replace(start, stdin=stdin))
        try:
            return await _taken_over(execution, exec_id)
        except BaseException:
            execution.cancel()  # the caller will never learn the id
            raise

    async def list(self, guest: GuestRef) -> list[Detached]:
        """All detached programs of a guest, ended ones included."""
        text = await self._ask(guest, "list")
        return [parsed for line in text.splitlines() if (parsed := _parse(line))]

    async def get(self, guest: GuestRef, exec_id: str) -> Detached:
        """One of them. Raises ExecNotFound."""
        parsed = _parse((await self._ask(guest, "list", exec_id)).strip())
        if parsed is None:
            raise errors.ExecNotFound
        return parsed

    async def follow(
        self, guest: GuestRef, exec_id: str, after_id: int = 0
    ) -> AsyncIterator[ExecEvent]:
        """Yield output after `after_id` as it arrives, until the end.

        An event's id encodes how much of each stream has been seen. Raises ExecNotFound.
        """
        out, err = after_id >> _OFFSET_BITS, after_id & (1 << _OFFSET_BITS) - 1
        request = await self._request(guest, "follow", exec_id, str(out), str(err))
        request = replace(
            request,
            timeout_seconds=self._hub.options.max_timeout_seconds,
            output_limit_bytes=2 * self._hub.options.spool_bytes + _TEXT_BYTES,
        )
        execution = await self._hub.start(guest, request)
        execution.share = self._hub.budget.open(guest)  # it may keep much, and for long
        try:
            async for event in execution.follow():
                if event.kind is EventKind.STDOUT:
                    out += len(event.data)
                elif event.kind is EventKind.STDERR:
                    err += len(event.data)
                elif event.kind is EventKind.START:
                    continue
                yield replace(event, id=out << _OFFSET_BITS | err)
        finally:
            execution.cancel()

    async def stdin(self, guest: GuestRef, exec_id: str, data: bytes, *, close: bool) -> None:
        """Write to its stdin, and close it if asked. Raises ExecNotFound, RequestRefused."""
        if data:
            request = replace(await self._request(guest, "stdin", exec_id), stdin=data)
            _raise_refusal((await self._hub.exec(guest, request)).exit_code)
        if close:
            await self._ask(guest, "close", exec_id)

    async def signal(self, guest: GuestRef, exec_id: str, name: str) -> None:
        """Signal its process group. Raises ExecNotFound, RequestRefused."""
        if not _SIGNAL.fullmatch(name):
            raise errors.RequestRefused("the signal has no proper name")
        await self._ask(guest, "signal", exec_id, name)

    async def delete(self, guest: GuestRef, exec_id: str) -> None:
        """Kill it and remove its output. Raises ExecNotFound."""
        await self._ask(guest, "delete", exec_id)

    async def _ask(self, guest: GuestRef, what: str, exec_id: str = "", *more: str) -> str:
        request = await self._request(guest, what, exec_id, *more)
        result = await self._hub.exec(guest, request)
        _raise_refusal(result.exit_code)
        return result.stdout.decode("ascii", "replace")

    async def _request(self, guest: GuestRef, what: str, exec_id: str, *more: str) -> ExecRequest:
        if exec_id and not _ID.fullmatch(exec_id):
            raise errors.ExecNotFound
        return guest_scripts.request("detached", await self.directory(guest), what, exec_id, *more)

    async def directory(self, guest: GuestRef) -> str:
        """Where a guest keeps what these programs print, each under its id."""
        return (await self._hub.session(guest)).hello.directory + _DIRECTORY


async def _taken_over(execution: Execution, exec_id: str) -> str:
    """Wait until a program has detached itself, then release it."""
    async for event in execution.follow():
        if event.kind is EventKind.STDOUT and event.data.startswith(b"ok"):
            execution.let_go()
            # Until the agent releases it too, the end of the agent would end this program.
            await execution.wait()
            return exec_id
        if event.result is not None:
            raise _refusal(event.result.exit_code)
        if event.error is not None:
            raise event.error
    raise errors.SessionLost


def _parse(line: str) -> Detached | None:
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    code = found["code"]
    return Detached(
        exec_id=found["id"],
        state=DetachedState(found["state"]),
        exit_code=None if code == "-" else int(code),
        started_at=int(found["started"]),
        stdout_bytes=int(found["out"]),
        stderr_bytes=int(found["err"]),
        truncated=found["cut"] == "1",
        timed_out=found["late"] == "1",
        duration_ms=_duration_ms(found["up"], found["down"]),
    )


def _duration_ms(started: str, ended: str) -> int | None:
    if "-" in {started, ended}:
        return None
    return max(0, round((float(ended) - float(started)) * 1000))


def _stdin_mode(request: ExecRequest) -> str:
    if request.open_stdin:
        return "open"
    return "none" if request.stdin is None else "given"


def _raise_refusal(exit_code: int) -> None:
    if exit_code:
        raise _refusal(exit_code)


def _refusal(exit_code: int) -> errors.HubError:
    """The error that a script's exit code stands for."""
    refusals: dict[int, errors.HubError] = {
        3: errors.FileRefused("the guest has no room for output"),
        4: errors.TooManyCommands("too many detached programs; delete some"),
        5: errors.RequestRefused("the command has ended, or does not read stdin"),
        6: errors.ExecNotFound(),
        7: errors.RequestRefused("the container does not know this signal"),
        8: errors.RequestRefused("the command has ended"),
    }
    return refusals.get(exit_code) or errors.SessionFailed("the guest could not do this")
