"""What is kept of a failure: bounded, on one line, and the end of a task's log above all."""

import pytest

from pve402.leases import workflow
from pve402.proxmox import errors as pve

CAUSE = "lxc_start: 2107 The container failed to start"


def failure(text: str, log: tuple[str, ...]) -> pve.ProxmoxError:
    """A task's end as its cause, the way it is raised."""
    cause = pve.ProxmoxFault(text)
    cause.__cause__ = pve.TaskFailed(upid="UPID:", exitstatus=text, cause=cause, log_tail=log)
    return cause


@pytest.mark.parametrize(
    ("text", "log"),
    [
        ("startup for container '100' failed", (CAUSE,)),
        ("startup failed: " + "e" * 900, (CAUSE,)),
        ("startup failed", ("x" * 2000, CAUSE)),
        ("startup failed", ("x" * 400, "y" * 400, "z" * 400, CAUSE)),
        ("e" * 900, (*["l" * 300] * 19, CAUSE)),
        ("several\nlines", ("one\ttab", f"  {CAUSE}  ")),
    ],
)
def test_the_last_line_of_the_log_is_kept(text: str, log: tuple[str, ...]) -> None:
    reason = workflow.reason_of(failure(text, log))

    assert reason.endswith(CAUSE)
    assert reason.startswith("ProxmoxFault: ")
    assert len(reason) <= 500
    assert "\n" not in reason


@pytest.mark.parametrize("log", [(), None])
def test_without_a_log_the_text_is_kept(log: tuple[str, ...] | None) -> None:
    error = pve.ProxmoxFault("short") if log is None else failure("short", log)

    assert workflow.reason_of(error) == "ProxmoxFault: short"
