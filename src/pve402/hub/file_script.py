"""Runs the script for files in a guest, and reads what it says; see guest/files.sh."""

import re
from dataclasses import dataclass
from typing import Final

from pve402.hub import errors, guest_scripts
from pve402.hub.hub import Hub
from pve402.hub.request import ExecResult
from pve402.proxmox.guests import GuestRef

BLOCK_BYTES: Final = 64 * 1024
BLOCKS_AT_ONCE: Final = 32
_LOOK_SECONDS: Final = 200.0  # a checksum of a large file takes time
_LOOK = re.compile(r"(\d{1,19}) ([0-7]{1,5}|-) ([0-9a-f]{64}|-) (\S{1,200})\n")


@dataclass(frozen=True, kw_only=True)
class FileInfo:
    """A file in a guest. `sha256` is empty if the file is too large or the guest has no tool."""

    size_bytes: int
    mode: int | None
    sha256: str
    version: str = ""  # changes with the file


async def run(
    hub: Hub, guest: GuestRef, *arguments: str, timeout_seconds: float = 60.0
) -> ExecResult:
    """Run the script to its end. Raises as `checked`, and as `Hub.exec`."""
    request = guest_scripts.request(
        "files",
        *arguments,
        output_limit_bytes=BLOCK_BYTES * (BLOCKS_AT_ONCE + 1),
        timeout_seconds=timeout_seconds,
    )
    return checked(await hub.exec(guest, request))


async def look(hub: Hub, guest: GuestRef, path: str, *, summed: bool = False) -> FileInfo:
    """Describe a file. Raises FileMissing, FileRefused."""
    words = ("look", path, "1" if summed else "0")
    result = await run(hub, guest, *words, timeout_seconds=_LOOK_SECONDS)
    found = _LOOK.fullmatch(result.stdout.decode("ascii", "replace"))
    if not found:
        raise errors.FileRefused
    return FileInfo(
        size_bytes=int(found[1]),
        mode=None if found[2] == "-" else int(found[2], 8),
        sha256="" if found[3] == "-" else found[3],
        version=found[4],
    )


def checked(result: ExecResult) -> ExecResult:
    """Return what the script did. Raises FileMissing, FileRefused, NotAFolder."""
    match result.exit_code:
        case 0:
            return result
        case 20:
            raise errors.FileMissing
        case 21:
            raise errors.FileRefused("this is not a regular file")
        case 23:
            raise errors.FileMissing("There is no such directory in the guest; create it first.")
        case 26:
            raise errors.NotAFolder
        case 27:
            raise errors.FileRefused("The guest has no tar.")
        case 28:
            raise errors.ArchiveRefused
        case _:
            raise errors.FileRefused


def check_path(path: str) -> None:
    """Check the absolute path of a file. Raises RequestRefused."""
    if not path.startswith("/") or len(path.encode("utf-8", "surrogateescape")) > 4096:
        raise errors.RequestRefused("the path must be absolute and at most 4,096 bytes long")
    if path.endswith("/"):
        raise errors.RequestRefused("the path must name a file")
