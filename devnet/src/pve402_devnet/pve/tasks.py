"""Tasks: the workers behind UPIDs, their logs, their ends, and the two lists they stand in.

Proxmox keeps running and recent tasks in an `active` file and ended ones in an index; both are
brought up to date when a worker is forked and when one ends.
"""

import asyncio
import contextvars
import itertools
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import structlog

from pve402_devnet.pve import clock, errors, faults, upid

_log = structlog.get_logger(__name__)

CREATE = "vzcreate"
MAX_LISTED = 25
MAX_ARCHIVED = 2000  # the index is rotated at about a thousand lines, and one old one is kept
_FIRST_PID = 4096
_TICKS_PER_SECOND = 100
_BOOT_SECONDS_AGO = 5600


class Killed(Exception):
    """The worker died without a message; its task shows `unexpected status`."""


@dataclass(kw_only=True, eq=False)
class Task:
    """One worker: its name, its log, and how it ended."""

    upid: upid.Upid
    lines: list[str] = field(default_factory=list)
    warnings: int = 0
    exit_status: str | None = None
    ended_at: float | None = None
    saved_in_refresh: int | None = None
    job: "asyncio.Task[None] | None" = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def running(self) -> bool:
        """Whether the worker's process exists."""
        return self.ended_at is None

    def when_ended(self, act: Callable[[], object]) -> None:
        """Run something once the worker has ended, however it ended."""
        if self.job is not None:
            self.job.add_done_callback(lambda _: act())

    def log(self, *lines: str) -> None:
        """Write lines to the task's log."""
        self.lines.extend(lines)

    def warn(self, text: str) -> None:
        """Write a warning; the task will end in WARNINGS instead of OK."""
        self.warnings += 1
        self.lines.append(f"WARN: {text}")


Work = Callable[[Task], Awaitable[None]]

current_task: contextvars.ContextVar[Task | None] = contextvars.ContextVar(
    "current_task", default=None
)
"""The worker that is running, if the code runs in one."""


class TaskRegistry:
    """Every task of the cluster, newest last."""

    def __init__(self, time: clock.Clock, ordered_faults: faults.Faults) -> None:
        self._clock = time
        self._faults = ordered_faults
        self._booted_at = time.now() - _BOOT_SECONDS_AGO
        self._pids = itertools.count(_FIRST_PID, 7)
        self._tasks: dict[str, Task] = {}
        self._archive: list[Task] = []
        self._active: list[Task] = []
        self._refreshes = 0

    def fork(self, node: str, kind: str, subject: str, user: str, work: Work) -> str:
        """Start a worker and return its UPID."""
        now = self._clock.now()
        name = upid.Upid(
            node=node,
            pid=next(self._pids),
            pstart=int((now - self._booted_at) * _TICKS_PER_SECOND),
            start=int(now),
            type=kind,
            id=subject,
            user=user,
        )
        task = Task(upid=name)
        self._tasks[str(name)] = task
        self._active.insert(0, task)
        self.refresh()
        context = contextvars.copy_context()
        context.run(current_task.set, task)
        context.run(clock.answering_a_request.set, False)
        task.job = asyncio.get_running_loop().create_task(self._run(task, work), context=context)
        task.job.add_done_callback(lambda job: self._finish(task, job))
        _log.debug("task started", upid=str(name))
        return str(name)

    def find(self, name: str) -> Task | None:
        """Look a task up by its UPID."""
        return self._tasks.get(name)

    def require(self, name: str) -> Task:
        """Look up a task that is known to exist."""
        return self._tasks[name]

    def __iter__(self) -> Iterator[Task]:
        return iter(self._tasks.values())

    def running(self, kind: str, subject: str) -> list[Task]:
        """List the workers of one kind that are busy with one guest."""
        return [t for t in self if t.running and (t.upid.type, t.upid.id) == (kind, subject)]

    def archived(self) -> list[Task]:
        """List the index, newest first."""
        return list(reversed(self._archive))

    def active(self) -> list[Task]:
        """List the `active` file: running tasks and the last ended ones."""
        return list(self._active)

    @property
    def refreshes(self) -> int:
        """How often the files were updated."""
        return self._refreshes

    def refresh(self) -> None:
        """Update both files."""
        running = [t for t in self._active if t.running]
        ended = [t for t in self._active if not t.running]
        ended.sort(key=lambda t: t.upid.start, reverse=True)
        fresh = [t for t in ended if t.saved_in_refresh is None]
        self._refreshes += 1
        for task in reversed(fresh):
            task.saved_in_refresh = self._refreshes
            self._archive.append(task)
        for forgotten in self._archive[:-MAX_ARCHIVED]:
            self._tasks.pop(str(forgotten.upid), None)
        del self._archive[:-MAX_ARCHIVED]
        self._active = running + ended[: max(0, MAX_LISTED - len(running))]

    async def interrupt(self, task: Task) -> None:
        """Send the worker an interrupt and wait until it is gone."""
        if task.job is not None and not task.job.done():
            task.job.cancel()
            await task.ended.wait()

    async def close(self) -> None:
        """End all workers at once."""
        jobs = [t.job for t in self if t.job is not None and not t.job.done()]
        for _ in range(2):  # a worker may answer the first interrupt by cleaning up
            for job in jobs:
                job.cancel()
            await asyncio.sleep(0)
        await asyncio.gather(*jobs, return_exceptions=True)

    def _finish(self, task: Task, job: "asyncio.Task[None]") -> None:
        task.ended_at = self._clock.now()
        task.exit_status = _read_status(task.lines)
        task.ended.set()
        self.refresh()
        if not job.cancelled() and isinstance(job.exception(), Exception):
            _log.error("worker broke", upid=str(task.upid), exc_info=job.exception())

    async def _run(self, task: Task, work: Work) -> None:
        kind = task.upid.type
        try:
            if kind != CREATE:  # a create fails from within, for it cleans up behind itself
                self._faults.fail_task(kind, executed=False)
            await work(task)
            self._faults.fail_task(kind, executed=True)
        except Killed:
            return
        except errors.ApiError as failure:
            task.log(f"TASK ERROR: {failure.text}")
        except RuntimeError as failure:
            task.log(f"TASK ERROR: {failure}")
        except asyncio.CancelledError:
            task.log("TASK ERROR: received interrupt")
        else:
            task.log(f"TASK WARNINGS: {task.warnings}" if task.warnings else "TASK OK")


def _read_status(lines: list[str]) -> str:
    last = lines[-1] if lines else ""
    if last == "TASK OK":
        return "OK"
    if last.startswith("TASK WARNINGS: "):
        return last.removeprefix("TASK ")
    if last.startswith("TASK ERROR: "):
        return last.removeprefix("TASK ERROR: ")
    return "unexpected status"
