"""Measures a guest from outside, through the /proc entries of its processes (proc(5))."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGESIZE")
_PROCESS_LIMIT = 4096
_DISK_ENTRY_LIMIT = 50_000


@dataclass(frozen=True, kw_only=True)
class TreeUsage:
    """The total usage of all processes of a guest."""

    cpu_seconds: float = 0.0
    memory_bytes: int = 0


def measure_tree(launcher_pid: int) -> TreeUsage:
    """Sum over the descendants of the launcher; processes that end meanwhile count as nothing."""
    ticks = pages = 0
    for pid in _descendants(launcher_pid):
        fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        if fields:
            ticks += sum(int(field) for field in fields[11:15])  # its own, and of ended children
            pages += int(fields[21])
    return TreeUsage(cpu_seconds=ticks / _TICKS, memory_bytes=pages * _PAGE_BYTES)


def measure_disk(disk: Path) -> int:
    """Sum the blocks below a guest's disk; stops counting after 50,000 entries."""
    total = 0
    for count, entry in enumerate(_entries(disk)):
        if count >= _DISK_ENTRY_LIMIT:
            break
        total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total


def _descendants(root: int) -> Iterator[int]:
    waiting = [root]
    for _ in range(_PROCESS_LIMIT):
        if not waiting:
            return
        pid = waiting.pop()
        children = _read(f"/proc/{pid}/task/{pid}/children").split()
        waiting += [int(child) for child in children]
        yield from map(int, children)


def _entries(directory: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as found:
            for entry in found:
                yield entry
                if entry.is_dir(follow_symlinks=False):
                    yield from _entries(Path(entry.path))
    except OSError:
        return  # the guest made it unreadable, or removed it meanwhile


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
