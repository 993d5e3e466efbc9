"""Unpack programs of the distribution for the tests; nothing of them is installed or started here.

An installed server would start a service, and take a port of this machine. Where the machine has a
program of its own, the tests use that one.
"""

import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from system_packages import SetupError

CACHE = Path(".cache")


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program, and the Debian packages that hold it and the libraries it needs."""

    name: str
    what: str
    packages: tuple[str, ...]
    path: str  # from the root of a machine, without the slash

    @property
    def root(self) -> Path:
        """The folder that the packages are unpacked into."""
        return CACHE / self.name / "root"

    @property
    def is_there(self) -> bool:
        """Whether the machine has it, or an earlier setup unpacked it."""
        return Path("/", self.path).exists() or (self.root / self.path).exists()


PROGRAMS = (
    Program(
        name="openssh",
        what="SSH server",
        packages=("openssh-server", "libwrap0"),
        path="usr/sbin/sshd",
    ),
    Program(name="caddy", what="Caddy", packages=("caddy",), path="usr/bin/caddy"),
    Program(name="nginx", what="nginx", packages=("nginx",), path="usr/sbin/nginx"),
)
REGISTRY = Program(
    name="docker-registry",
    what="registry of OCI images",
    packages=("docker-registry",),
    path="usr/bin/docker-registry",
)


def provide(programs: Iterable[Program], say: Callable[[str], None]) -> None:
    """Download and unpack what is missing, which needs no rights. Raises SetupError."""
    for program in programs:
        if not program.is_there:
            say(f"unpacking {' '.join(program.packages)} into {program.root}")
            _unpack(program)


def _unpack(program: Program) -> None:
    downloads = program.root.parent / "downloads"
    shutil.rmtree(downloads, ignore_errors=True)
    downloads.mkdir(parents=True)
    try:
        for package in program.packages:
            _run(["apt-get", "download", package], downloads)
        for archive in downloads.glob("*.deb"):
            _run(["dpkg-deb", "-x", archive.name, "unpacked"], downloads)
        (downloads / "unpacked").rename(program.root)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SetupError(
            f"no {program.what} could be unpacked ({error}); install {program.packages[0]}, whose"
            " service need not run"
        ) from None
    finally:
        shutil.rmtree(downloads, ignore_errors=True)


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
