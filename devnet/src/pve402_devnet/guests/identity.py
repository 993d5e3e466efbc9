"""Maps a guest's root and other users to users of this machine."""

import os
from dataclasses import dataclass
from pathlib import Path

_WANTED_COUNT = 65_536
UID_MAP = Path("/proc/self/uid_map")


@dataclass(frozen=True, kw_only=True)
class OutsideIds:
    """`count` unused ids starting at `first`, which is the guest's root."""

    first: int
    count: int


def choose(wanted_first: int) -> OutsideIds | None:
    """Find ids for a guest; None if this process can only offer its own.

    Inside a container, root owns only some of the ids, so `wanted_first` may not exist; then the
    upper half of the existing ones is used.
    """
    if os.getuid() != 0:
        return None
    owned = _owned_ids(UID_MAP.read_text())
    if any(wanted_first in ids and wanted_first + _WANTED_COUNT - 1 in ids for ids in owned):
        return OutsideIds(first=wanted_first, count=_WANTED_COUNT)
    largest = max(owned, key=len)
    if len(largest) < 2:
        return None
    half = len(largest) // 2
    return OutsideIds(first=largest.start + half, count=min(len(largest) - half, _WANTED_COUNT))


def _owned_ids(text: str) -> list[range]:
    """Read a map as user_namespaces(7) describes it: first inside, first outside, count."""
    rows = [[int(field) for field in line.split()] for line in text.splitlines()]
    return [range(inside, inside + count) for inside, _outside, count in rows]
