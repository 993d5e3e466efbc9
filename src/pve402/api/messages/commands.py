"""Builds answers and events from executions."""

import contextlib
import time
from collections.abc import AsyncGenerator, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from pve402 import schemas
from pve402.api.messages.command_answer import CommandAnswer
from pve402.api.transport import sse
from pve402.domain.lease import Lease
from pve402.guests import guest_work
from pve402.hub.detached import Detached, DetachedPrograms
from pve402.hub.execution import Execution
from pve402.hub.request import EventKind, ExecEvent, ExecResult

_STREAMS: Final = (EventKind.STDOUT, EventKind.STDERR)
#: `command_answer` writes the output itself, in pieces.
_NO_OUTPUT: Final = {"output": "", "stdout": "", "stderr": ""}


def ended(lease: Lease, result: ExecResult, encoding: schemas.ExecEncoding) -> CommandAnswer:
    """Describe a command that has ended."""
    facts = schemas.ExecAnswer(
        **_names(lease, result.exec_id),
        **_NO_OUTPUT,
        encoding=encoding,
        exit_code=result.exit_code,
        timed_out=result.timed_out,
        truncated=result.truncated or result.has_forgotten,
        duration_ms=result.duration_ms,
        detached=False,
        state="exited",
    )
    return CommandAnswer(facts=facts, pieces=result.pieces, held=result.held)


def attached(lease: Lease, execution: Execution, encoding: schemas.ExecEncoding) -> CommandAnswer:
    """Describe a command attached to this replica, with its output so far."""
    result = execution.events[-1].result
    if result is not None:
        return ended(lease, result, encoding)
    facts = schemas.ExecAnswer(
        **_names(lease, execution.exec_id),
        **_NO_OUTPUT,
        encoding=encoding,
        exit_code=None,
        timed_out=execution.timed_out,
        truncated=execution.truncated or execution.has_forgotten,
        duration_ms=None,
        detached=False,
        state="running" if execution.is_running else "lost",
    )
    return CommandAnswer(facts=facts, pieces=_output(execution.events), held=execution)


def detached(
    lease: Lease, found: Detached, pieces: Iterable[ExecEvent], encoding: schemas.ExecEncoding
) -> CommandAnswer:
    """Describe a detached command and the output read so far."""
    facts = schemas.ExecAnswer(
        **_names(lease, found.exec_id),
        **_NO_OUTPUT,
        encoding=encoding,
        exit_code=found.exit_code,
        timed_out=found.timed_out,
        truncated=found.truncated,
        duration_ms=found.duration_ms,
        detached=True,
        state=found.state.value,
    )
    return CommandAnswer(facts=facts, pieces=_output(pieces))


def attached_item(execution: Execution) -> schemas.ExecItem:
    """Describe an attached command for a list."""
    last = execution.events[-1]
    age = timedelta(seconds=time.monotonic() - execution.started_at)
    return schemas.ExecItem(
        exec_id=execution.exec_id,
        state="running" if execution.is_running else "exited" if last.result else "lost",
        detached=False,
        exit_code=last.result.exit_code if last.result else None,
        timed_out=execution.timed_out,
        truncated=execution.truncated,
        stdout_bytes=execution.output_bytes[EventKind.STDOUT],
        stderr_bytes=execution.output_bytes[EventKind.STDERR],
        started_at=datetime.now(UTC) - age,
    )


def detached_item(found: Detached) -> schemas.ExecItem:
    """Describe a detached command for a list; its times come from the container's clock."""
    return schemas.ExecItem(
        exec_id=found.exec_id,
        state=found.state.value,
        detached=True,
        exit_code=found.exit_code,
        timed_out=found.timed_out,
        truncated=found.truncated,
        stdout_bytes=found.stdout_bytes,
        stderr_bytes=found.stderr_bytes,
        started_at=datetime.fromtimestamp(min(found.started_at, _LATEST_SECONDS), UTC),
    )


async def events(lease: Lease, execution: Execution, position: int) -> AsyncGenerator[bytes]:
    """Yield a command's events, starting at a position."""
    async with contextlib.aclosing(execution.follow(position)) as following:
        async for event in following:
            yield _event(lease, execution.exec_id, event)


def _event(lease: Lease, exec_id: str, event: ExecEvent) -> bytes:
    if event.kind in _STREAMS:
        return sse.output_event(exec_id, event)
    if event.result is not None:
        return sse.fact_event(event.kind, exec_id, event.id, exit_facts(event.result))
    if event.error is not None:
        return sse.error_event(exec_id, event.error, event.id)
    return sse.fact_event(event.kind, exec_id, event.id, names(lease, exec_id))


async def detached_events(
    programs: DetachedPrograms, lease: Lease, exec_id: str, position: int
) -> AsyncGenerator[bytes]:
    """Yield a detached command's output, starting at a position, and then its exit.

    If the command can no longer be followed, the events stop without an exit, and the client may
    resume.
    """
    if position == 0:
        yield sse.fact_event(EventKind.START, exec_id, 0, names(lease, exec_id))
    async for event in programs.follow(guest_work.ref(lease), exec_id, position):
        position = event.id
        if event.kind in _STREAMS:
            yield sse.output_event(exec_id, event)
        elif event.error is not None:
            yield sse.error_event(exec_id, event.error)
            return
        elif event.result is not None and event.result.timed_out:
            return
    found = await programs.get(guest_work.ref(lease), exec_id)
    facts = {
        "execId": exec_id,
        "exitCode": found.exit_code,
        "timedOut": found.timed_out,
        "truncated": found.truncated,
        "state": found.state.value,
    }
    if found.state.value != "running":
        yield sse.fact_event(EventKind.EXIT, exec_id, position, facts)


async def output_so_far(
    programs: DetachedPrograms, lease: Lease, found: Detached
) -> list[ExecEvent]:
    """Read a detached command's output so far."""
    pieces: list[ExecEvent] = []
    left = found.stdout_bytes + found.stderr_bytes
    if left == 0:
        return pieces
    following = programs.follow(guest_work.ref(lease), found.exec_id)
    follower = cast("AsyncGenerator[ExecEvent]", following)
    async with contextlib.aclosing(follower):
        async for event in follower:
            if event.kind in _STREAMS:
                pieces.append(event)
                left -= len(event.data)
            if left <= 0 or event.error is not None:
                break
    return pieces


def exit_facts(result: ExecResult) -> dict[str, Any]:
    """Return the facts for a command's exit event."""
    return {
        "execId": result.exec_id,
        "exitCode": result.exit_code,
        "timedOut": result.timed_out,
        "truncated": result.truncated,
        "durationMs": result.duration_ms,
    }


def names(lease: Lease, exec_id: str) -> dict[str, str]:
    """Return the facts for a command's start event."""
    return {"ctid": lease.ctid, "upid": exec_id, "execId": exec_id}


_LATEST_SECONDS: Final = 253_402_300_799  # the end of the year 9999


def _names(lease: Lease, exec_id: str) -> dict[str, Any]:
    return {"ctid": lease.ctid, "upid": exec_id, "exec_id": exec_id}


def _output(pieces: Iterable[ExecEvent]) -> tuple[ExecEvent, ...]:
    return tuple(event for event in pieces if event.kind in _STREAMS)
