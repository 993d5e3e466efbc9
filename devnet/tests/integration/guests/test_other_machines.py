"""Guests on machines that allow less than this one: simulated with namespaces of our own."""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pve402_devnet.guests.options import RuntimeOptions
from pve402_devnet.guests.runtime import NamespaceRuntime
from pve402_devnet.pve.runtime import GuestSpec

pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare of util-linux"),
]

_MASKED_PROC = "mount -t tmpfs none /proc/bus && exec"
_NO_NAMESPACES = "echo 0 > /proc/sys/user/max_user_namespaces && exec"
_PROGRAM = """
import asyncio, sys
from pve402_devnet.guests.options import RuntimeOptions
from pve402_devnet.guests.runtime import NamespaceRuntime
from pve402_devnet.pve.runtime import GuestSpec

async def main():
    runtime = NamespaceRuntime(RuntimeOptions(disks=sys.argv[1], unsafe_shells="-u" in sys.argv))
    await runtime.check()
    await runtime.start(101, GuestSpec(node="pve", hostname="ct", template="dash"))
    print((await runtime.exec(101, ["sh", "-c", sys.argv[2]])).output, end="")
    await runtime.stop(101)
    await runtime.destroy(101)

try:
    asyncio.run(main())
except RuntimeError as error:
    print("refused:", error)
"""


async def run_where(preparation: str, disks: Path, script: str, *options: str) -> str:
    """Run `script` in a guest on a machine prepared so; return what it printed."""
    arguments = [sys.executable, "-c", _PROGRAM, str(disks), script, *options]
    command = ["unshare", "-Urm", "sh", "-c", f'{preparation} "$@"', "sh", *arguments]
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=True
    )
    return done.stdout


async def test_a_fresh_proc_is_not_needed(tmp_path: Path) -> None:
    script = "id -u; ls -A /proc | wc -l; ls /; hostname; cd /root && pwd"
    output = await run_where(_MASKED_PROC, tmp_path, script)
    lines = output.splitlines()
    assert lines[:2] == ["0", "0"]
    assert lines[-2:] == ["ct", "/root"]
    assert "work" not in lines


async def test_without_namespaces_guests_are_refused(tmp_path: Path) -> None:
    output = await run_where(_NO_NAMESPACES, tmp_path, "echo reached")
    assert "refused: guests need Linux user namespaces" in output
    assert "--unsafe-shells" in output
    assert "reached" not in output


async def test_unsafe_shells_run_all_the_same(tmp_path: Path) -> None:
    output = await run_where(_NO_NAMESPACES, tmp_path, "echo reached; env; pwd", "-u")
    assert "reached" in output
    assert "HOME" not in output
    assert str(tmp_path / "101") in output


async def test_unsafe_shells_leave_no_process(tmp_path: Path) -> None:
    script = "setsid sleep 31337.5 & setsid sleep 31337.5 & ps ax | grep -c [3]1337.5"
    await run_where(_NO_NAMESPACES, tmp_path, script, "-u")
    assert "sleep\00031337.5" not in command_lines()


async def test_unsafe_shells_are_isolated_where_the_machine_can(tmp_path: Path) -> None:
    runtime = NamespaceRuntime(RuntimeOptions(disks=str(tmp_path), unsafe_shells=True))
    await runtime.start(101, GuestSpec(node="pve", hostname="ct", template="dash"))
    result = await runtime.exec(101, ["sh", "-c", "id -u; hostname; echo $$"])
    await runtime.close()
    assert result.output.split()[:2] == ["0", "ct"]
    assert int(result.output.split()[2]) < 10


def command_lines() -> str:
    found = ""
    for entry in os.scandir("/proc"):
        try:
            found += Path(entry.path, "cmdline").read_text()
        except OSError:
            continue
    return found
