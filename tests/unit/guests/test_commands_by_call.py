"""Commands through the exec call that some hosts provide: what its task's end and log tell."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.support import guest_work

from pve402.guests.commands import Commands, Mode
from pve402.hub import errors, options, variables
from pve402.hub.hub import Hub
from pve402.hub.request import ExecRequest
from pve402.proxmox import errors as pve
from pve402.proxmox.guests import GuestRef
from pve402.proxmox.tasks import TaskLog

GUEST = GuestRef(node="pve", vmid=10_000)


@dataclass
class Host:
    """A host with the call; its task ends as a test wants it."""

    end: Exception | None = None
    refusal: Exception | None = None
    lines: tuple[str, ...] = ()
    log_total: int | None = None
    runs_on: bool = False
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    stopped: int = 0

    async def execute(self, _ref: GuestRef, command: str, arguments: str | None = None) -> Any:
        self.asked.append((command, arguments))
        if self.refusal is not None:
            raise self.refusal
        return "upid"

    async def wait_until_finished(self, _upid: Any, **_how: Any) -> None:
        if self.end is not None:
            raise self.end
        if self.runs_on:
            await asyncio.Event().wait()

    async def read_log(self, _upid: Any) -> TaskLog:
        return TaskLog(lines=self.lines, total=self.log_total or len(self.lines))

    async def stop(self, _upid: Any) -> None:
        self.stopped += 1


def _commands(host: Host, mode: Mode = "api", find: variables.Find = variables.none) -> Commands:
    terminal = Hub(options.HubOptions(), guest_work.refuse, find_variables=find)
    return Commands(
        terminal,
        host,  # type: ignore[arg-type]
        host,  # type: ignore[arg-type]
        mode=mode,
        check=guest_work.admit,
    )


async def _run(host: Host, **request: Any) -> Any:
    execution = await _commands(host).start(GUEST, ExecRequest(**request))
    return await execution.wait()


def _failed(exitstatus: str) -> pve.TaskFailed:
    return pve.TaskFailed(
        upid="upid", exitstatus=exitstatus, cause=pve.ProxmoxFault(exitstatus), log_tail=()
    )


async def test_the_log_is_the_output_without_the_last_word_on_the_task():
    result = await _run(Host(lines=("one", "TASK OK", "TASK OK")), command="id")

    assert (result.stdout, result.exit_code) == (b"one\nTASK OK\n", 0)


@pytest.mark.parametrize(
    ("exitstatus", "code"),
    [
        ("command 'sh -c x' failed: exit code 3", 3),
        ("command 'echo failed: exit code 7' failed: exit code 4", 4),
        ("command 'x' failed: exit code 999", 255),
        ("received interrupt", 255),
    ],
)
async def test_the_exit_code_is_the_one_the_host_tells(exitstatus: str, code: int):
    assert (await _run(Host(end=_failed(exitstatus)), command="id")).exit_code == code


async def test_a_command_out_of_time_is_stopped():
    host = Host(end=pve.TaskTimeout(upid="upid", limit_seconds=1.0), lines=("begun",))

    result = await _run(host, command="sleep 60", timeout_seconds=1.0)

    assert (result.timed_out, result.stdout, host.stopped) == (True, b"begun\n", 1)


@pytest.mark.parametrize("turns", [0, 1, 2, 5, 20])
async def test_a_command_that_is_cancelled_is_stopped(turns: int):
    host = Host(runs_on=True, lines=("begun",))
    execution = await _commands(host).start(GUEST, ExecRequest(command="sleep 60"))
    for _ in range(turns):
        await asyncio.sleep(0)

    execution.cancel()
    result = await asyncio.wait_for(execution.wait(), 10)

    assert (result.exit_code, result.timed_out, result.stdout) == (143, False, b"begun\n")
    assert host.stopped == 1


async def test_a_command_that_is_left_at_the_end_of_the_service_is_lost():
    host = Host(runs_on=True)
    commands = _commands(host)
    execution = await commands.start(GUEST, ExecRequest(command="sleep 60"))

    await asyncio.sleep(0)
    await commands.close()

    with pytest.raises(errors.SessionLost):
        await execution.wait()
    assert host.stopped == 0


async def test_a_log_that_is_cut_is_said_to_be():
    assert (await _run(Host(lines=("a",), log_total=9000), command="id")).truncated


async def test_a_task_that_is_lost_is_a_lost_command():
    with pytest.raises(errors.SessionLost):
        await _run(Host(end=pve.Unreachable("away")), command="id")


async def test_arguments_are_quoted_for_the_host():
    host = Host()

    await _run(host, command="echo", extra_args=("it's", "$(id)"))

    ((command, arguments),) = host.asked
    assert command == "sh"
    assert arguments is not None
    assert arguments.endswith("""sh 'it'"'"'s' '$(id)'""")


async def test_a_host_without_the_call_is_asked_once():
    host = Host(refusal=pve.CallNotSupported("501"))
    commands = _commands(host, "auto")

    for _ in range(3):
        with pytest.raises(errors.TerminalUnreachable):
            await commands.start(GUEST, ExecRequest(command="id"))

    assert len(host.asked) == 1


@pytest.mark.parametrize(
    "request_", [{"command": "cat", "stdin": b"x"}, {"command": "cat", "open_stdin": True}]
)
async def test_what_the_call_cannot_do_goes_through_the_terminal(request_: dict[str, Any]):
    host = Host()

    with pytest.raises(errors.TerminalUnreachable):
        await _commands(host).start(GUEST, ExecRequest(**request_))

    assert host.asked == []


async def test_the_variables_of_a_lease_are_never_in_the_calls_parameters():
    host = Host()

    async def found(_guest: GuestRef) -> Mapping[str, str]:
        return {"TOKEN": "hunter2"}

    with pytest.raises(errors.TerminalUnreachable):  # it goes through the terminal
        await _commands(host, find=found).start(GUEST, ExecRequest(command="id"))

    assert host.asked == []


@pytest.mark.parametrize("given", [{}, {"TOKEN": "hunter2"}])
async def test_whether_a_lease_has_variables_is_asked_once(given: dict[str, str]):
    asked: list[GuestRef] = []

    async def find(guest: GuestRef) -> Mapping[str, str]:
        asked.append(guest)
        return given

    commands = _commands(Host(), find=find)
    for _ in range(3):
        with contextlib.suppress(errors.TerminalUnreachable):  # it goes through the terminal
            await commands.start(GUEST, ExecRequest(command="id"))
    await commands.close()

    assert asked == [GUEST]
