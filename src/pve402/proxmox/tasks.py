"""Tasks: the outcome of calls that return a UPID.

A 200 with a UPID says only that a worker has started; a missing template, a missing guest or a
lock makes the task fail later.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from pve402.proxmox import answers, errors, messages, parameters, shapes
from pve402.proxmox.client import ProxmoxClient
from pve402.proxmox.task_times import PollPolicy, TaskTimes
from pve402.proxmox.upid import Upid

__all__ = ["PastTask", "PollPolicy", "TaskEnd", "TaskLog", "Tasks", "Upid"]

_log = structlog.get_logger(__name__)

#: The exit status a task may show for a moment after its worker exits, and permanently if the
#: worker was killed (PVE/Tools.pm, upid_read_status).
_UNSETTLED = frozenset({"unexpected status", ""})
_UNSETTLED_LOOKS = 4
_UNSETTLED_SECONDS = 0.25
_TAIL_LINES = 20
_LOG_LIMIT = 5000
_PAGE_LINES = 500
_LIST_LIMIT = 100
#: A status read gets at least this long even when the wait is nearly over; a 401 takes 3 s.
_SHORTEST_READ_SECONDS = 4.0


@dataclass(frozen=True, kw_only=True)
class TaskEnd:
    """How a task ended."""

    exitstatus: str

    @property
    def ok(self) -> bool:
        """Whether the task succeeded, with or without warnings."""
        return self.exitstatus == "OK" or self.warnings > 0

    @property
    def warnings(self) -> int:
        """Number of warnings the task gave, 0 for none."""
        count = self.exitstatus.removeprefix("WARNINGS: ")
        return int(count) if count != self.exitstatus and count.isdecimal() else 0


@dataclass(frozen=True, kw_only=True)
class TaskLog:
    """A page of a task's log, which has `total` lines so far."""

    lines: tuple[str, ...]
    total: int


@dataclass(frozen=True, kw_only=True)
class PastTask:
    """A task that Proxmox VE still knows; `exitstatus` is empty while it runs."""

    upid: Upid
    exitstatus: str


class Tasks:
    """Inspects tasks and waits for them."""

    def __init__(
        self,
        client: ProxmoxClient,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._clock = clock
        self._sleep = sleep
        self._times = TaskTimes()

    async def status(self, upid: Upid, *, limit_seconds: float | None = None) -> TaskEnd | None:
        """How the task ended, None while it runs.

        Raises TaskMissing, and PermissionDenied for another token's task.
        """
        path = _path(upid, "status")
        data = await self._client.call("GET", path, limit_seconds=limit_seconds)
        call = answers.Call(method="GET", path=path)
        fields = shapes.as_object(data, call)
        if shapes.text(fields, "status", call) == "running":
            return None
        return TaskEnd(exitstatus=shapes.optional_text(fields, "exitstatus"))

    async def log(self, upid: Upid, *, start: int = 0, limit: int = 50) -> TaskLog:
        """At most `limit` lines of the task's log from line `start`, counted from 0.

        Raises TaskMissing, and ValueError for a limit of 0, which Proxmox would read as no limit.
        """
        if not 0 < limit <= _LOG_LIMIT:
            raise ValueError(f"limit must be 1 to {_LOG_LIMIT}")
        path = _path(upid, "log")
        reply = await self._client.request("GET", path, {"start": start, "limit": limit})
        rows = shapes.as_rows(reply.data, answers.Call(method="GET", path=path))
        lines = tuple(shapes.optional_text(row, "t") for row in rows[:limit])
        if lines == ("unable to open file - No such file or directory",):
            # Proxmox answers 200 with this line if it does not know the task.
            raise errors.TaskMissing(lines[0], call=f"GET {path}", subject=upid.text)
        return TaskLog(lines=lines, total=len(lines) if reply.total is None else reply.total)

    async def read_log(self, upid: Upid, *, line_limit: int = 2000) -> TaskLog:
        """The task's log from its start, read page by page, at most `line_limit` lines.

        Raises TaskMissing.
        """
        lines: list[str] = []
        while True:
            wanted = min(_PAGE_LINES, line_limit - len(lines))
            page = await self.log(upid, start=len(lines), limit=wanted)
            lines += page.lines
            if not page.lines or len(lines) >= min(page.total, line_limit):
                return TaskLog(lines=tuple(lines), total=page.total)

    async def tail(self, upid: Upid, *, lines: int = _TAIL_LINES) -> tuple[str, ...]:
        """The last `lines` lines of the task's log. Raises TaskMissing."""
        page = await self.log(upid, limit=lines)
        if page.total > lines:
            page = await self.log(upid, start=page.total - lines, limit=lines)
        return page.lines

    async def stop(self, upid: Upid) -> None:
        """Ask the task's worker to end; it may take a moment. Raises PermissionDenied."""
        path = parameters.api_path("nodes", upid.node, "tasks", upid.text)
        await self._client.call("DELETE", path)

    async def list_active(self, node: str, vmid: int) -> tuple[Upid, ...]:
        """The running tasks of one guest."""
        rows = await self._list(node, {"source": "active", "vmid": vmid})
        return tuple(_upid(row) for row in rows if row.get("status") in {None, "RUNNING"})

    async def list_active_of(self, node: str, kind: str) -> tuple[Upid, ...]:
        """The node's running tasks of one type, such as `ociregistrypull`; ours, without rights."""
        rows = await self._list(node, {"source": "active", "typefilter": kind})
        return tuple(_upid(row) for row in rows if row.get("status") in {None, "RUNNING"})

    async def list_past(self, node: str, vmid: int) -> tuple[PastTask, ...]:
        """The newest tasks of one guest, running ones included; a node keeps about 1,000."""
        rows = await self._list(node, {"source": "all", "vmid": vmid})
        return tuple(
            PastTask(upid=_upid(row), exitstatus=messages.tidy(status))
            for row in rows
            for status in [shapes.optional_text(row, "status")]
        )

    async def wait_until_finished(
        self, upid: Upid, *, limit_seconds: float, policy: PollPolicy | None = None
    ) -> TaskEnd:
        """Wait until the task succeeds; call it right after the task was asked for.

        A poll that gets no answer does not mean the task failed, so the wait goes on. The looks
        follow how long such tasks took on the node before.

        Raises TaskFailed with the cause and the end of the log, TaskTimeout if the task still
        runs after `limit_seconds`, TaskMissing, PermissionDenied.
        """
        began = looked = self._clock()
        pace = self._times.pace(upid.node, upid.type, policy or PollPolicy())
        unsettled, pause = 0, pace.before_first()
        while True:
            remaining = began + limit_seconds - self._clock()
            if pause > 0:
                await self._sleep(min(pause, remaining))
            before, looked = looked, self._clock()
            end = await self._look(upid, began + limit_seconds)
            if end is not None and (
                end.exitstatus not in _UNSETTLED or unsettled >= _UNSETTLED_LOOKS
            ):
                return await self._conclude(upid, end, (before + looked) / 2 - began)
            unsettled += end is not None
            if self._clock() >= began + limit_seconds:
                raise errors.TaskTimeout(upid=upid.text, limit_seconds=limit_seconds)
            pause = pace.after(self._clock() - began)
            pause = max(pause, _UNSETTLED_SECONDS) if unsettled else pause

    async def _look(self, upid: Upid, deadline: float) -> TaskEnd | None:
        remaining = max(deadline - self._clock(), _SHORTEST_READ_SECONDS)
        try:
            return await self.status(upid, limit_seconds=min(remaining, 20.0))
        except (errors.Unreachable, errors.OutcomeUnknown) as error:
            _log.warning("proxmox.task_not_seen", upid=upid.text, reason=str(error))
            return None

    async def _conclude(self, upid: Upid, end: TaskEnd, took_seconds: float) -> TaskEnd:
        if end.ok:
            self._times.learn(upid.node, upid.type, took_seconds)
            return end
        try:
            tail = await self.tail(upid)
        except errors.ProxmoxError as error:
            _log.warning("proxmox.task_log_not_read", upid=upid.text, reason=str(error))
            tail = ()
        exitstatus = messages.tidy(end.exitstatus)
        cause = messages.classify_end(exitstatus, tail, call=upid.text)
        raise errors.TaskFailed(upid=upid.text, exitstatus=exitstatus, cause=cause, log_tail=tail)

    async def _list(self, node: str, filters: parameters.Parameters) -> list[shapes.Fields]:
        path = parameters.api_path("nodes", node, "tasks")
        data = await self._client.call("GET", path, {**filters, "limit": _LIST_LIMIT})
        return shapes.as_rows(data, answers.Call(method="GET", path=path))


def _path(upid: Upid, what: str) -> str:
    return parameters.api_path("nodes", upid.node, "tasks", upid.text, what)


def _upid(row: shapes.Fields) -> Upid:
    try:
        return Upid.parse(row.get("upid"))
    except ValueError as error:
        raise errors.UnexpectedAnswer("a task without a UPID", call="GET tasks") from error
