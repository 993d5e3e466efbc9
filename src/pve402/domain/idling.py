"""When a container that runs is idle, as far as figures tell: it is paused if its tenant chose so.

A figure that is missing or makes no sense counts as use: nothing is paused for want of data.
"""

import dataclasses
import math
from datetime import datetime, timedelta
from typing import Final

LEAST_MINUTES: Final = 5
MOST_MINUTES: Final = 1440

BUSY_CORES: Final = 0.05
"""From this much of one core on a container is in use; an idle Debian takes less than 0.005."""

BUSY_BYTES_A_SECOND: Final = 1024
"""From this much that it sends on; answers to neighbours and to scans of ports are less."""

NOTED_EVERY: Final = timedelta(seconds=60)
"""How often use is written that goes on. A moment that is younger is not written again."""

LOOK_GAP: Final = timedelta(minutes=3)
"""Longer than this without a look at the figures, and nobody knows what containers did."""

MARGIN: Final = timedelta(seconds=90)
"""Use may have ended this long after it was last written."""

LEAST_LEFT: Final = timedelta(minutes=2)
"""A lease that ends sooner is not paused: its guest could not be down before."""

MINUTE: Final = timedelta(minutes=1)
"""What tenants count idle time in."""

_MOST_CORES: Final = 8192.0
_MOST_BYTES: Final = 2**63


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figures:
    """What was seen of a container at a moment; None: not known."""

    at: datetime
    cpu_fraction: float | None  # of all its cores
    cores: int | None
    sent_bytes: int | None  # since it was started
    uptime_seconds: int

    @property
    def used_cores(self) -> float | None:
        """How much of one core it takes; None if that is not known."""
        if self.cpu_fraction is None or self.cores is None:
            return None
        used = self.cpu_fraction * self.cores
        return used if math.isfinite(used) and 0 <= used <= _MOST_CORES else None


def is_quiet(now: Figures, before: Figures | None) -> bool | None:
    """Return whether a container was quiet when seen and sent little since it was seen before.

    None: it may be, but what it sent is not known yet, since there is no earlier look.
    """
    used, sent = now.used_cores, now.sent_bytes
    if used is None or used >= BUSY_CORES or sent is None or not 0 <= sent <= _MOST_BYTES:
        return False
    if before is None or before.sent_bytes is None or now.at - before.at > LOOK_GAP:
        return None
    passed = now.at - before.at
    if passed <= timedelta(0):
        return None
    newly_sent = sent - before.sent_bytes
    return 0 <= newly_sent < BUSY_BYTES_A_SECOND * passed.total_seconds()


def is_over(minutes: int, active_at: datetime, figures: Figures) -> bool:
    """Return whether a container was idle for so long: since its last use, and since its start."""
    limit = minutes * MINUTE
    is_long_up = figures.uptime_seconds >= limit.total_seconds()
    return is_long_up and figures.at - active_at >= limit + MARGIN


def is_noted(active_at: datetime | None, now: datetime) -> bool:
    """Return whether use at a moment need not be written: it was, shortly before."""
    return active_at is not None and now - active_at < NOTED_EVERY
