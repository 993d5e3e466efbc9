"""Pauses leases that were idle for as long as their tenants chose.

Use is written on the lease's row: by whoever lets somebody in to its guest (`Pauses.note_use`), by
whoever has something open in it (`guests.open_calls`), and here, while its figures are not quiet.
The figures are those of the cluster's view, so looking costs no call. Any number of replicas look;
whoever finds that a row is old enough asks the guest whether a detached command runs in it, and
pauses the lease if its row is still the same.
"""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

import structlog

from pve402.domain import idling, lease, mark, meter
from pve402.leases import moves, workflow
from pve402.leases.alterations import pausing
from pve402.proxmox import resources
from pve402.storage import database, look_rows

log = structlog.get_logger(__name__)

AT_ONCE: Final = 8
"""How many guests are asked in one look; the others have their turn in the next."""
_ASK_SECONDS: Final = 10.0


@dataclasses.dataclass(kw_only=True)
class _Found:
    """What one look says of leases."""

    used: list[lease.Lease] = dataclasses.field(default_factory=list)
    idle: list[lease.Lease] = dataclasses.field(default_factory=list)


class Idling:
    """Looks at the figures of leases, and pauses those that are idle."""

    def __init__(
        self,
        db: database.Database,
        pauses: pausing.Pauses,
        instance: str,
        is_at_work: Callable[[lease.Lease], Awaitable[bool]],
    ) -> None:
        """Keep the parts; `is_at_work` tells whether detached commands run, also if unknown."""
        self._db = db
        self.pauses = pauses
        self._instance = instance
        self.is_at_work = is_at_work
        self._seen: dict[str, idling.Figures] = {}  # by lease, in the look before

    async def look(
        self, standing: Iterable[lease.Lease], guests: Mapping[int, resources.GuestSummary]
    ) -> None:
        """Note which leases are in use, and pause those that were idle for long enough."""
        watched = [row for row in standing if row.is_watched and _can_be_paused(row)]
        if not watched:
            self._seen.clear()
            return
        async with self._db.begin() as tx:
            now = await self._db.time_in(tx)
            last = await look_rows.note(self._db, tx, now)
            is_unbroken = last is not None and now - last <= idling.LOOK_GAP
            if not is_unbroken:  # nobody knows what was done in between
                await moves.note_uses_of_all(self._db, tx)
        found = self._judge(watched, guests, now)
        if not is_unbroken:
            return
        tried = sorted(found.idle, key=lambda row: row.active_at or now)[:AT_ONCE]
        outcomes = await asyncio.gather(*map(self._pause, tried))
        busy = [row for row, paused in zip(tried, outcomes, strict=True) if not paused]
        async with self._db.single() as tx:
            await moves.note_uses(self._db, tx, [row.lease_id for row in (*found.used, *busy)])

    def _judge(
        self,
        watched: Sequence[lease.Lease],
        guests: Mapping[int, resources.GuestSummary],
        now: datetime,
    ) -> _Found:
        before, self._seen, found = self._seen, {}, _Found()
        for row in watched:
            figures = self._figures(row, guests.get(row.vmid), now)
            quiet = figures is not None and idling.is_quiet(figures, before.get(row.lease_id))
            if figures is not None:
                self._seen[row.lease_id] = figures
            if quiet is False or figures is None or row.active_at is None:
                if not idling.is_noted(row.active_at, now):
                    found.used.append(row)
            elif (
                quiet
                and _may_begin(row, now)
                and idling.is_over(row.idle_pause_minutes or 0, row.active_at, figures)
            ):
                found.idle.append(row)
        return found

    def _figures(
        self, row: lease.Lease, guest: resources.GuestSummary | None, now: datetime
    ) -> idling.Figures | None:
        """Return a lease's figures; None unless its own guest runs where it should, unlocked."""
        if guest is None or guest.state is not resources.RunState.RUNNING or guest.lock:
            return None
        if guest.node != row.node or not mark.is_marked(guest.tags, self._instance, row.lease_id):
            return None
        return idling.Figures(
            at=now,
            cpu_fraction=guest.cpu_usage,
            cores=guest.cpu_cores,
            sent_bytes=guest.network_out,
            uptime_seconds=guest.uptime_seconds,
        )

    async def _pause(self, row: lease.Lease) -> bool:
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                is_at_work = await self.is_at_work(row)
            if is_at_work or not await self.pauses.pause_idle(row):
                return False
        except TimeoutError:
            return False
        except Exception as error:  # noqa: BLE001 -- the others are looked at all the same
            log.warning(
                "idle_lease_not_paused", lease=row.lease_id, error=workflow.reason_of(error)
            )
            return False
        log.info("idle_lease_paused", lease=row.lease_id, vmid=row.vmid)
        return True


def _may_begin(row: lease.Lease, now: datetime) -> bool:
    """Return whether no renewal holds a lease, and it lasts until its guest is down."""
    has_time = row.expires_at is not None and row.expires_at - now > idling.LEAST_LEFT
    return has_time and row.hold_order_id is None


def _can_be_paused(row: lease.Lease) -> bool:
    return meter.paused_burn_of(row.rates) is not None
