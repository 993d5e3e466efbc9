"""The same guests, started by a user without any rights of its own."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import pve402_devnet

pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.skipif(os.getuid() != 0, reason="every other test is run by an ordinary user then"),
]

NOBODY = 65_534
_INTERPRETER = Path(f"/usr/bin/python3.{sys.version_info.minor}")


@pytest.fixture
def disks() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="pve402-ordinary-"))
    os.chown(path, NOBODY, NOBODY)
    yield path
    shutil.rmtree(path)


def run_as_nobody(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    if not _INTERPRETER.exists():
        pytest.skip("no interpreter of this version that another user may run")
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    source = Path(pve402_devnet.__file__).parents[1]
    return subprocess.run(
        [_INTERPRETER, "-c", program, *arguments],
        env={"PYTHONPATH": f"{source}:{packages}", "PATH": os.environ["PATH"]},
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )


async def test_guests_of_an_ordinary_user(disks: Path) -> None:
    result = await asyncio.to_thread(run_as_nobody, _PROGRAM, str(disks))
    assert result.stderr == ""
    for lines in result.stdout.split("--\n")[:-1]:
        uid, mapping, terminal, files = lines.splitlines()
        assert uid == "0"
        assert mapping.split() == ["0", str(NOBODY), "1"]
        assert terminal == "console"
        assert files == "kept"
    assert result.stdout.count("--\n") == 3


_PROGRAM = """
import asyncio, os, sys
from pve402_devnet.guests.options import RuntimeOptions
from pve402_devnet.guests.runtime import NamespaceRuntime
from pve402_devnet.pve.runtime import GuestSpec

SCRIPT = "id -u; cat /proc/self/uid_map"

async def main():
    runtime = NamespaceRuntime(RuntimeOptions(disks=sys.argv[1]))
    await runtime.check()
    for vmid, template in enumerate(("busybox", "dash", "bash"), 101):
        spec = GuestSpec(node="pve", hostname="ct", template=template)
        await runtime.start(vmid, spec)
        print((await runtime.exec(vmid, ["sh", "-c", SCRIPT])).output, end="")
        console = await runtime.open_console(vmid, "shell")
        os.write(console.terminal, b"echo con''sole\\n")
        seen = b""
        while b"console" not in seen:
            seen += os.read(console.terminal, 4096)
        print("console")
        os.close(console.terminal)
        await runtime.exec(vmid, ["sh", "-c", "mkdir -m 0 /root/closed; echo kept > /root/file"])
        await runtime.stop(vmid)
        await runtime.start(vmid, spec)
        print((await runtime.exec(vmid, ["cat", "/root/file"])).output, end="")
        await runtime.destroy(vmid)
        print("--", flush=True)
    await runtime.close()
    assert not os.listdir(sys.argv[1])

asyncio.run(main())
"""
