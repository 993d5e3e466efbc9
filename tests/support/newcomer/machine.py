"""A machine with nothing of ours: namespaces of its own, and changes that end with them.

Everything here runs inside `unshare`, see `command`; nothing of it reaches the real machine.
"""

import fcntl
import socket
import struct
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

_CHANGED = ("/etc", "/opt", "/usr/local", "/var/lib")
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1


def command(*arguments: str | Path) -> list[str]:
    """Run something as root with mounts, network and processes of its own."""
    apart = ("--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child")
    return ["unshare", *apart, *map(str, arguments)]


def refused() -> str:
    """Why this machine gives no such namespaces; empty when it does."""
    tried = subprocess.run(command("true"), capture_output=True, text=True, check=False)
    return tried.stderr.strip()


def prepare(folder: Path) -> None:
    """Lay overlays over the directories that the tutorial changes, and bring up loopback."""
    layers = folder / "layers"
    layers.mkdir()
    _run("mount", "-t", "tmpfs", "layers", str(layers))
    for path in _CHANGED:
        _overlay(path, layers)
    for path in _closed_to_others():
        _overlay(path, layers)
        Path(path).chmod(0o711)
    _bring_up_loopback()


def site_packages() -> str:
    """Where the packages of the checkout's environment are."""
    return sysconfig.get_path("purelib")


def _overlay(path: str, layers: Path) -> None:
    upper, work = (layers / f"{kind}{path.replace('/', '-')}" for kind in ("upper", "work"))
    upper.mkdir()
    work.mkdir()
    upper.chmod(0o755)
    options = f"lowerdir={path},upperdir={upper},workdir={work}"
    _run("mount", "-t", "overlay", "overlay", "-o", options, path)


def _closed_to_others() -> Iterator[str]:
    """Directories above the interpreter and its packages that the service's user cannot enter."""
    found = {
        str(parent)
        for path in (sys.base_prefix, site_packages())
        for parent in Path(path).resolve().parents
        if not parent.stat().st_mode & 0o001
    }
    yield from sorted(found, key=len)


def _bring_up_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


def _run(*arguments: str) -> None:
    subprocess.run(arguments, check=True)
