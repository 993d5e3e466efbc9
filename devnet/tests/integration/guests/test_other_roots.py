"""Guests that run the programs of another root than this machine's."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from devnet.tests.support.guests import spec

from pve402_devnet.guests.options import RuntimeOptions
from pve402_devnet.guests.runtime import NamespaceRuntime


async def shell(runtime: NamespaceRuntime, command: str) -> str:
    """What a command in the guest prints."""
    return (await runtime.exec(101, ["sh", "-c", command])).output


PROGRAMS = ("bash", "cat", "echo", "id", "ls", "sh", "sleep")


@pytest.fixture
def other_root() -> Iterator[Path]:
    """A root with a few programs and settings, where a guest's users get through to it."""
    busybox = shutil.which("busybox")
    assert busybox is not None
    root = Path(tempfile.mkdtemp(dir="/var/tmp"))  # guests' roots are made in /tmp
    root.chmod(0o755)
    (root / "usr/bin").mkdir(parents=True)
    (root / "etc/pam.d").mkdir(parents=True)
    (root / "bin").symlink_to("usr/bin")
    shutil.copy(busybox, root / "usr/bin/busybox")
    for name in PROGRAMS:
        (root / "usr/bin" / name).symlink_to("busybox")
    (root / "etc/debian_version").write_text("other\n")
    (root / "etc/hostname").write_text("not the guest's\n")
    (root / "etc/secret").touch(mode=0o600)
    yield root
    shutil.rmtree(root)


async def test_they_have_its_programs_and_a_copy_of_its_settings(
    other_root: Path, tmp_path: Path
) -> None:
    runtime = NamespaceRuntime(RuntimeOptions(disks=str(tmp_path), programs=str(other_root)))
    try:
        await runtime.start(101, spec("debian"))
        assert (await shell(runtime, "ls /usr/bin")).split() == sorted(["busybox", *PROGRAMS])
        assert "other" in await shell(runtime, "cat /etc/debian_version")
        assert "not the guest's" not in await shell(runtime, "cat /etc/hostname")
        await shell(runtime, "echo mine >/etc/debian_version")
        await runtime.stop(101)
        await runtime.start(101, spec("debian"))
        assert (await shell(runtime, "cat /etc/debian_version")).strip() == "mine"
    finally:
        await runtime.close()
    assert (other_root / "etc/debian_version").read_text() == "other\n"
