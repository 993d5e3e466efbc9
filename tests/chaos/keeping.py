"""Tenants who take snapshots, roll back to them and delete them, and what must hold of these.

Whatever breaks, every snapshot on Proxmox has its row in the end, and a guest that was rolled back
runs with the size and the card that it had before.
"""

import asyncio
import dataclasses
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from tests.chaos import running

from pve402.domain import lease, snapshots

_TRIES = 12
_NAME = "kept"
_PATHS = {
    "take": ("POST", ""),
    "roll back": ("POST", f"/{_NAME}/rollback"),
    "delete": ("DELETE", f"/{_NAME}"),
}
_SEQUENCES = (
    ("take",),
    ("take", "roll back"),
    ("take", "delete"),
    ("take", "roll back", "delete", "take"),
)
_DONE = {"snapshot_exists", "snapshot_not_found"}  # by a call whose answer was lost
_OVER = {"lease_not_ready", "lease_not_found", "lease_over"}


class Answer(Protocol):
    """What a service said."""

    @property
    def status(self) -> int: ...

    @property
    def code(self) -> str: ...


@dataclasses.dataclass(kw_only=True)
class Keeper:
    """A tenant and the snapshots of one lease."""

    ask: Callable[[str, str, Any], Awaitable[Answer | None]]
    dice: random.Random
    lease_id: str
    count: Callable[[str], None]

    async def keep(self) -> None:
        """Do some things one after another, as far as they go."""
        for what in self.dice.choice(_SEQUENCES):
            if not await self._until_answered(what):
                return

    async def _until_answered(self, what: str) -> bool:
        """Ask until there is a final answer; return whether to go on."""
        method, path = _PATHS[what]
        body = {"name": _NAME} if what == "take" else None
        for _ in range(_TRIES):
            told = await self.ask(method, f"/lease/{self.lease_id}/snapshots{path}", body)
            if told is not None and (told.status == 200 or told.code in _DONE):
                self.count(f"{what}, {'done' if told.status == 200 else 'done before'}")
                return True
            if told is not None and (told.status == 401 or told.code in _OVER):
                self.count(f"{what}, lease over")
                return False
            await asyncio.sleep(self.dice.uniform(0.1, 0.5))
        return False


def unaccounted(
    leases: Iterable[lease.Lease],
    guests: Iterable[Mapping[str, Any]],
    rows: Sequence[snapshots.Snapshot],
) -> Iterator[str]:
    """Name the snapshots that only Proxmox or only the table has, and those that are not done.

    A lease that is over has none. One in its grace may have some that were never begun, or were
    begun and not noted.
    """
    on_proxmox = {guest["vmid"]: set(guest["snapshots"]) for guest in guests}
    for row in leases:
        own = [one for one in rows if one.lease_id == row.lease_id]
        if row.status in lease.OVER:
            yield from (f"snapshot {one.pve_name} outlived its lease" for one in own)
            continue
        there = on_proxmox.get(row.vmid, set())
        for name in there - {one.pve_name for one in own}:
            yield f"snapshot {name} of lease {row.lease_id} has no row"
        for one in own:
            if one.state is snapshots.State.THERE and one.pve_name not in there:
                yield f"snapshot {one.pve_name} of lease {row.lease_id} is not on Proxmox"
            if is_open(row, one):
                yield f"snapshot {one.pve_name} is left {one.state.value}: {one.problem}"


def is_open(row: lease.Lease, one: snapshots.Snapshot) -> bool:
    """Whether the service still has to do something about a snapshot."""
    return row.status is lease.LeaseStatus.ACTIVE and one.is_unfinished


def other_shapes(runs: Sequence[running.Run]) -> Iterator[str]:
    """Name the guests that did not always start with one size and card.

    A paid lease whose guest could not be started gets another guest, on another vmid.
    """
    for lease_id, own in running.by_lease(runs).items():
        for vmid in {run.vmid for run in own}:
            shapes = sorted({run.shape for run in own if run.vmid == vmid})
            if len(shapes) > 1:
                yield f"guest {vmid} of lease {lease_id} ran as {' and as '.join(shapes)}"
