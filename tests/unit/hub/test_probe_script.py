"""What the script for trial guests makes of the tools it finds: an answer, silence, or no word."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pve402.hub import guest_scripts

NEEDED = ("sh", "tail", "tr", "sed", "cat")
TIMED_OUT = "connect to 192.0.2.1 port 9 (tcp) timed out: Operation now in progress"


def send(folder: Path, probe: str, source: str = "-", **tools: str) -> str:
    """Run the script in a guest that has these tools, each with what it does."""
    for name in NEEDED:
        (folder / name).symlink_to(str(shutil.which(name)))
    for name, does in tools.items():
        (folder / name).write_text(f"#!{shutil.which('sh')}\n{does}\n")
        (folder / name).chmod(0o755)
    done = subprocess.run(
        [str(folder / "sh"), "-c", guest_scripts.source("probe"), "sh", "send", "1", source, probe],
        env={"PATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("does", "said"),
    [
        ("exit 0", "0 arrived"),
        ("echo 'nc: connect failed: Connection refused' >&2; exit 1", "0 arrived"),
        (f"echo '{TIMED_OUT}' >&2; exit 1", "0 silent"),
        ("echo 'nc: connect: No route to host' >&2; exit 1", "0 silent"),
        ("echo 'nc: connect: Network is unreachable' >&2; exit 1", "0 unsent"),
        ("echo 'nc: connect: Operation not permitted' >&2; exit 1", "0 unsent"),
        ("echo 'Usage: nc [-w SEC] Connect timeout' >&2; exit 1", "0 unsent"),
    ],
)
def test_nc_is_understood(tmp_path: Path, does: str, said: str) -> None:
    help_alone = 'case $* in -h) echo "nc [-46z]"; exit 1 ;; esac'

    assert send(tmp_path, "tcp 192.0.2.1 9 -", nc=f"{help_alone}\n{does}").startswith(said)


def test_bash_is_stopped_when_nobody_answers(tmp_path: Path) -> None:
    found = send(tmp_path, "tcp 192.0.2.1 9 -", bash="exit 1", timeout="exit 124")

    assert found == "0 silent"


@pytest.mark.parametrize(
    ("does", "said"),
    [
        ("exit 0", "0 arrived"),
        ("echo '1 packets transmitted, 0 received, 100% packet loss'; exit 1", "0 silent"),
        ("echo 'ping: permission denied (are you root?)'; exit 1", "0 unsent"),
        ("echo 'sendmsg: Operation not permitted'; echo ' 100% packet loss'; exit 1", "0 unsent"),
        ("echo 'ping: sendto: Network unreachable'; exit 1", "0 unsent"),
    ],
)
def test_ping_is_understood(tmp_path: Path, does: str, said: str) -> None:
    assert send(tmp_path, "ping 192.0.2.1 - -", ping=does).startswith(said)


@pytest.mark.parametrize(
    ("probe", "said"),
    [
        ("tcp 192.0.2.1 9 -", "0 unsent no bash, python3 or nc"),
        ("ping 192.0.2.1 - -", "0 unsent no ping"),
    ],
)
def test_without_tools_nothing_was_sent(tmp_path: Path, probe: str, said: str) -> None:
    assert send(tmp_path, probe) == said


def test_without_ip_no_source_is_forged(tmp_path: Path) -> None:
    found = send(tmp_path, "ping 192.0.2.1 - -", "192.0.2.66", ping="exit 0")

    assert found == "0 unsent no ip command"


def test_a_source_that_the_guest_may_not_take_is_not_used(tmp_path: Path) -> None:
    refusing = (
        'case "$2" in get) echo "192.0.2.1 dev eth0 src 192.0.2.5";; '
        'add) echo "Operation not permitted"; exit 2;; esac'
    )

    found = send(tmp_path, "ping 192.0.2.1 - -", "192.0.2.66", ping="exit 0", ip=refusing)

    assert found == "0 unsent Operation not permitted"
