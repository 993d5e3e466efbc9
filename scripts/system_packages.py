"""Find missing programs of the distribution, and install them with apt-get if allowed.

Programs installed by other means count too: a need is a question about the machine ("is there an
initdb?"), and the package is only one way to meet it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

LOG = Path(".cache/setup/apt.log")


@dataclass(frozen=True)
class Need:
    """One thing the machine must have, and the Debian packages that provide it."""

    what: str
    packages: tuple[str, ...]
    is_met: Callable[[], bool]


class SetupError(Exception):
    """Setup cannot go on; the text tells the reader what to do."""


def _program(*names: str) -> Callable[[], bool]:
    return lambda: any(shutil.which(name, path=_search_path()) for name in names)


def _search_path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/bin", "/usr/bin", "/usr/sbin"])


def _postgres_server() -> bool:
    debian = any(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return debian or shutil.which("initdb", path=_search_path()) is not None


def _venv_module() -> bool:
    """Debian ships `venv` without `ensurepip` until python3-venv is there."""
    probe = [sys.executable, "-c", "import ensurepip, venv"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


RUN_NEEDS = (Need("Python's venv module", ("python3-venv",), _venv_module),)

TEST_NEEDS = (
    *RUN_NEEDS,
    Need("git", ("git",), _program("git")),
    Need("curl", ("curl",), _program("curl")),
    Need("ssh-keygen", ("openssh-client",), _program("ssh-keygen")),
    Need("rsync", ("rsync",), _program("rsync")),
    Need("bash", ("bash",), _program("bash")),
    Need("dash", ("dash",), _program("dash")),
    Need("busybox", ("busybox-static",), _program("busybox")),
    Need("PostgreSQL server", ("postgresql",), _postgres_server),
    Need("Chromium", ("chromium",), _program("chromium", "chromium-browser", "google-chrome")),
    Need("Node.js", ("nodejs",), _program("node")),
    Need("npm", ("npm",), _program("npm")),
    Need("ip", ("iproute2",), _program("ip")),
    Need("nft", ("nftables",), _program("nft")),
    Need("wrk", ("wrk",), _program("wrk")),
    Need("TigerVNC", ("tigervnc-standalone-server",), _program("Xtigervnc")),
    Need("xterm", ("xterm",), _program("xterm")),
)

CONFORMANCE_NEEDS = (
    *TEST_NEEDS,
    Need("mmdebstrap", ("mmdebstrap",), _program("mmdebstrap")),
    Need("sshfs", ("sshfs",), _program("sshfs")),
    Need("skopeo", ("skopeo",), _program("skopeo")),
    Need("umoci", ("umoci",), _program("umoci")),
)


def provide(needs: Iterable[Need], say: Callable[[str], None]) -> None:
    """Install what is missing, or raise SetupError that names the packages to install by hand."""
    missing = [need for need in needs if not need.is_met()]
    if not missing:
        return
    packages = sorted({package for need in missing for package in need.packages})
    say(f"missing: {', '.join(need.what for need in missing)}")
    apt_get = apt_command()
    if apt_get is None:
        raise SetupError(f"please install these packages and try again: {' '.join(packages)}")
    install_packages(apt_get, packages, say)
    still = [need.what for need in missing if not need.is_met()]
    if still:
        raise SetupError(f"installed {' '.join(packages)}, and still missing: {', '.join(still)}")


def apt_command() -> list[str] | None:
    """Return how to call apt-get here: as root, through sudo without a password, or not at all."""
    if shutil.which("apt-get") is None:
        return None
    if os.geteuid() == 0:
        return ["apt-get"]
    if shutil.which("sudo") is None:
        return None
    probe = subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False)
    return ["sudo", "-n", "apt-get"] if probe.returncode == 0 else None


def install_packages(
    apt_get: Sequence[str], packages: Sequence[str], say: Callable[[str], None]
) -> None:
    say(f"apt-get install {' '.join(packages)} (log: {LOG})")
    options = ["-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"]
    LOG.parent.mkdir(parents=True, exist_ok=True)
    with LOG.open("wb") as log:
        _apt(apt_get, ["update"], log)  # outdated lists name files that mirrors no longer have
        code = _apt(apt_get, ["install", *options, *packages], log)
    if code != 0:
        tail = "\n".join(LOG.read_text(errors="replace").splitlines()[-15:])
        raise SetupError(f"apt-get failed:\n{tail}")


def _apt(apt_get: Sequence[str], arguments: Sequence[str], log: BinaryIO) -> int:
    done = subprocess.run(
        [*apt_get, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        check=False,
    )
    return done.returncode
