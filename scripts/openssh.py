"""Unpack an SSH server for the tests' guests; nothing of it is installed or started here.

The devnet's guests see the programs of this machine. Where it has an sshd of its own, they use
that one.
"""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from system_packages import SetupError

ROOT = Path(".cache/openssh/root")
_PACKAGES = ("openssh-server", "libwrap0")


def provide(say: Callable[[str], None]) -> None:
    """Download and unpack what is missing, which needs no rights. Raises SetupError."""
    if Path("/usr/sbin/sshd").exists() or (ROOT / "usr/sbin/sshd").exists():
        return
    say(f"unpacking {' '.join(_PACKAGES)} into {ROOT}")
    downloads = ROOT.parent / "downloads"
    shutil.rmtree(downloads, ignore_errors=True)
    downloads.mkdir(parents=True)
    try:
        for package in _PACKAGES:
            _run(["apt-get", "download", package], downloads)
        for archive in downloads.glob("*.deb"):
            _run(["dpkg-deb", "-x", archive.name, "unpacked"], downloads)
        (downloads / "unpacked").rename(ROOT)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SetupError(
            f"no SSH server could be unpacked ({error}); install openssh-server, whose service"
            " need not run"
        ) from None
    finally:
        shutil.rmtree(downloads, ignore_errors=True)


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
