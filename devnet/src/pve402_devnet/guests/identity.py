"""Which users of this machine the root and the others of a guest are."""

import os
from dataclasses import dataclass
from pathlib import Path

_WANTED_COUNT = 65_536
UID_MAP = Path("/proc/self/uid_map")


@dataclass(frozen=True, kw_only=True)
class OutsideIds:
    """`count` ids from `first` on, in use by nobody else; `first` is the guest's root."""

    first: int
    count: int


def choose(wanted_first: int) -> OutsideIds | None:
    """Find ids for a guest; None where this process can only offer the one it runs as.

    Inside a container root owns a part of the ids only, so `wanted_first` may not exist; then
    the upper half of those that do is taken.
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
