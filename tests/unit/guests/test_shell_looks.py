"""What a shell says of its guest, whatever the guest writes, and whose fault a silence is."""

import shutil
import subprocess
from typing import Any

import pytest

from pve402.domain import errors as domain_errors
from pve402.domain import lease
from pve402.guests import shell_looks
from pve402.hub import errors, request
from pve402.leases import workflow
from pve402.leases.images import oci_trials, trials
from pve402.proxmox import errors as pve


class _Hub:
    def __init__(self, outcome: request.ExecResult | Exception) -> None:
        self._outcome = outcome
        self.closed = 0

    async def exec(self, *_: object) -> request.ExecResult:
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    async def close_guest(self, _guest: object) -> None:
        self.closed += 1


def _ended(stdout: bytes, *, timed_out: bool = False) -> request.ExecResult:
    piece = request.ExecEvent(id=1, kind=request.EventKind.STDOUT, data=stdout)
    return request.ExecResult(
        exec_id="one",
        exit_code=0,
        pieces=(piece,),
        timed_out=timed_out,
        truncated=False,
        duration_ms=1,
    )


async def _ask(outcome: request.ExecResult | Exception) -> oci_trials.Shell:
    hub: Any = _Hub(outcome)
    size = lease.Size(cores=1, memory_mb=64, disk_gb=1)
    row = trials.of_file("box", "local:vztmpl/oci-box_1-0123456789ab.tar", size)
    try:
        return await shell_looks.ShellLooks(hub).ask(row)
    finally:
        assert hub.closed == 1


async def test_machine_and_user_are_read() -> None:
    said = await _ask(_ended(b"x86_64,0\n"))

    assert said == oci_trials.Shell(machine="x86_64", user="0")


@pytest.mark.parametrize(
    "ended", [_ended(b"", timed_out=True), _ended(b"x86_64,0", timed_out=True), _ended(b"y\n" * 99)]
)
async def test_a_shell_that_hangs_or_floods_has_not_answered(ended: request.ExecResult) -> None:
    with pytest.raises(errors.NoShell):
        await _ask(ended)


def _unreachable(cause: Exception | None) -> Exception:
    failed = errors.TerminalUnreachable()
    failed.__cause__ = cause
    return failed


@pytest.mark.parametrize(
    "failed",
    [
        errors.TooManySessions(),
        errors.NodeConsolesFull(),
        errors.Moved(),
        domain_errors.DatabaseUnavailable(),
        _unreachable(pve.Unreachable("the node is away")),
    ],
)
async def test_what_is_no_fault_of_the_guest_is_tried_again(failed: Exception) -> None:
    with pytest.raises(workflow.RetryLater):
        await _ask(failed)


@pytest.mark.parametrize("failed", [errors.NoShell(), errors.TerminalStuck(), _unreachable(None)])
async def test_what_may_be_the_guests_fault_is_told(failed: Exception) -> None:
    with pytest.raises(type(failed)):
        await _ask(failed)


@pytest.mark.parametrize("shell", [["dash", "-c"], ["bash", "-c"], ["busybox", "sh", "-c"]])
def test_the_shells_that_images_have_can_say_it(shell: list[str]) -> None:
    if shutil.which(shell[0]) is None:
        pytest.skip(f"no {shell[0]} here")

    said = subprocess.run([*shell, shell_looks.ASK], capture_output=True, check=True, timeout=20)

    machine, user = said.stdout.decode().strip().split(",")
    assert machine
    assert user.isdecimal()
