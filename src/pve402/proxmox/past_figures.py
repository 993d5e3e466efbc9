"""What a guest used, as Proxmox VE keeps it: means over intervals, in round-robin files.

The files are named after the vmid and outlive their guest, so a reused vmid shows the figures of
the guests before it. That is why each figure says when its interval began. Intervals of an hour
and a day are a minute long, and those of a week and a month half an hour (PVE/RRD.pm); of the days
before a host's upgrade to Proxmox VE 9 they are longer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal

from pve402.proxmox import answers, shapes

TimeFrame = Literal["hour", "day", "week", "month"]

MOST_INTERVALS: Final = 1600
"""The newest that are read: Proxmox VE 9 gives 1,440 at most, and 70 from before its upgrade."""
_LATEST_SECOND: Final = 2**35
_MOST_BYTES: Final = 2**53
_MOST_CPU: Final = 1024.0


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Means over one interval; None where Proxmox VE has none.

    Times are seconds since 1970, `cpu_fraction` is of all the guest's cores, sizes are in bytes,
    and rates in bytes a second.
    """

    began_at: int
    ended_at: int
    cpu_fraction: float | None
    memory_used: int | None
    memory_total: int | None
    disk_used: int | None
    disk_total: int | None
    disk_read_rate: int | None
    disk_write_rate: int | None
    network_in_rate: int | None
    network_out_rate: int | None


def read(data: object, call: answers.Call) -> tuple[Figures, ...]:
    """Read `rrddata`, the oldest first. Raises UnexpectedAnswer.

    Intervals in which the guest was down are left out, and those that go back in time.
    """
    rows = shapes.as_rows(data, call)[-MOST_INTERVALS:]
    timed = [(ended_at, row) for row in rows if (ended_at := _time(row)) is not None]
    lengths = _lengths([ended_at for ended_at, _ in timed])
    found = [
        _figures(row, ended_at, length)
        for (ended_at, row), length in zip(timed, lengths, strict=True)
    ]
    return tuple(one for one in _forward(found) if _tells(one))


def _time(row: shapes.Fields) -> int | None:
    ended_at = shapes.optional_whole(row, "time")
    return ended_at if ended_at is not None and 0 < ended_at < _LATEST_SECOND else None


def _lengths(times: Sequence[int]) -> list[int]:
    """How long each interval may be: as far as the one before is away, whichever way.

    Longer ones, of before an upgrade, come first, and the last of them may end within the next.
    """
    gaps = [abs(later - earlier) for earlier, later in pairwise(times)]
    shortest = min((gap for gap in gaps if gap), default=_LATEST_SECOND)
    first = gaps[0] if gaps else shortest
    return [max(gap, shortest) for gap in [first, *gaps]][: len(times)]


def _forward(found: Sequence[Figures]) -> Iterator[Figures]:
    """Leave out intervals that end no later than one before them."""
    latest = 0
    for one in found:
        if one.ended_at > latest:
            latest = one.ended_at
            yield one


def _figures(row: shapes.Fields, ended_at: int, seconds: int) -> Figures:
    return Figures(
        began_at=ended_at - seconds,
        ended_at=ended_at,
        cpu_fraction=_fraction(row, "cpu"),
        memory_used=_bytes(row, "mem"),
        memory_total=_bytes(row, "maxmem"),
        disk_used=_bytes(row, "disk"),
        disk_total=_bytes(row, "maxdisk"),
        disk_read_rate=_bytes(row, "diskread"),
        disk_write_rate=_bytes(row, "diskwrite"),
        network_in_rate=_bytes(row, "netin"),
        network_out_rate=_bytes(row, "netout"),
    )


def _bounded(row: shapes.Fields, name: str, most: float) -> float | None:
    value = shapes.optional_number(row, name)
    return value if value is not None and 0 <= value <= most else None


def _fraction(row: shapes.Fields, name: str) -> float | None:
    value = _bounded(row, name, _MOST_CPU)
    return None if value is None else float(value)


def _bytes(row: shapes.Fields, name: str) -> int | None:
    value = _bounded(row, name, _MOST_BYTES)
    return None if value is None else round(value)


def _tells(one: Figures) -> bool:
    """Whether the guest was up: one that is down has its sizes alone, and a disk use of 0."""
    used = (one.cpu_fraction, one.memory_used, one.disk_read_rate, one.network_in_rate)
    return any(figure is not None for figure in used)
