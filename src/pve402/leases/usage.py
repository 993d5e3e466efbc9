"""What the guests of leases used in the past, from Proxmox VE's round-robin data.

That data belongs to a vmid, which others had before. So only figures of a guest with the lease's
own tags are asked for, and only intervals that began with the lease or later are told.
Intervals are put together to few enough for a chart: Proxmox VE has 1,440 of a day and a month.
"""

import asyncio
import dataclasses
import itertools
import statistics
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from pve402.domain import errors, lease
from pve402.leases import views
from pve402.proxmox import errors as pve
from pve402.proxmox import guests as pve_guests
from pve402.proxmox import past_figures

FRESH_SECONDS: Final = 10.0
"""How long an answer is given again; Proxmox VE itself has new figures once a minute."""
MOST_REMEMBERED: Final = 64
STEP_SECONDS: Final[Mapping[past_figures.TimeFrame, int]] = {
    "hour": 60,
    "day": 300,
    "week": 1800,
    "month": 7200,
}
_MEANS: Final = tuple(
    field.name
    for field in dataclasses.fields(past_figures.Figures)
    if field.name not in {"began_at", "ended_at"}
)
_AWAY: Final = "The container's usage cannot be read right now."

Figures = Sequence[past_figures.Figures]
TimeFrame = past_figures.TimeFrame
_Key = tuple[str, TimeFrame]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Known:
    """The figures of a lease as they were told last, and when."""

    asked_at: float
    figures: Figures


class UsageHistory:
    """Asks Proxmox VE, and remembers the newest answers for some seconds."""

    def __init__(
        self,
        guests: pve_guests.Guests,
        lease_views: views.LeaseViews,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._guests = guests
        self._views = lease_views
        self._clock = clock
        self._known: dict[_Key, _Known] = {}
        # Whoever asks while an answer is on its way waits for it, instead of asking again.
        self._turns: weakref.WeakValueDictionary[_Key, asyncio.Lock] = weakref.WeakValueDictionary()

    async def of(self, row: lease.Lease, frame: TimeFrame) -> Figures:
        """Return what the lease's guest used, the oldest first; nothing if it has no guest.

        Raises ProxmoxUnavailable.
        """
        if row.status in lease.OVER or not row.handed_over:
            return ()
        key = (row.lease_id, frame)
        turn = self._turns.setdefault(key, asyncio.Lock())
        async with turn:
            known = self._known.get(key)
            if known is None or self._clock() - known.asked_at >= FRESH_SECONDS:
                try:
                    known = _Known(asked_at=self._clock(), figures=await self._ask(row, frame))
                except pve.ProxmoxError as error:
                    raise errors.ProxmoxUnavailable(_AWAY) from error
                self._remember(key, known)
            return known.figures

    async def _ask(self, row: lease.Lease, frame: TimeFrame) -> Figures:
        (view,) = await self._views.of([row])
        if not view.seen:
            raise errors.ProxmoxUnavailable(_AWAY)
        if view.guest is None:
            return ()
        ref = pve_guests.GuestRef(node=view.guest.node, vmid=row.vmid)
        try:
            found = await self._guests.past_figures(ref, frame)
        except pve.FiguresMissing:
            return ()
        # A day's takes some 10 ms of a processor core.
        return await asyncio.to_thread(_told, found, _begin(row).timestamp(), STEP_SECONDS[frame])

    def _remember(self, key: _Key, known: _Known) -> None:
        self._known.pop(key, None)
        while len(self._known) >= MOST_REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[key] = known


def _begin(row: lease.Lease) -> datetime:
    """Since when the vmid has been this lease's alone.

    A guest of the warm pool is older than its lease, and a lease whose guest had to be made again,
    perhaps under another vmid, is older than its guest.
    """
    return max(row.created_at, row.create_sent_at or row.created_at)


def _told(found: Figures, since: float, step_seconds: int) -> Figures:
    """Return what began at `since` or later, the intervals of each step put together."""
    own = [one for one in found if one.began_at >= since]
    steps = itertools.groupby(own, key=lambda one: (one.ended_at - 1) // step_seconds)
    return tuple(_together(list(those)) for _, those in steps)


def _together(those: Figures) -> past_figures.Figures:
    if len(those) == 1:
        return those[0]
    means: dict[str, Any] = {name: _mean([getattr(one, name) for one in those]) for name in _MEANS}
    return past_figures.Figures(began_at=those[0].began_at, ended_at=those[-1].ended_at, **means)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    mean = statistics.fmean(known)
    return round(mean) if all(isinstance(value, int) for value in known) else mean
