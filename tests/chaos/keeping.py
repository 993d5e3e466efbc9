"""Tenants who take snapshots, roll back, change sizes and reinstall, and what must hold of that.

Whatever breaks, every snapshot on Proxmox has its row in the end, a guest that was rolled back or
made anew runs with the size and the card that it had before, and each guest has the size that its
lease burns for.
"""

import asyncio
import dataclasses
import random
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, Self

from tests.chaos import meters, running

from pve402.domain import forks, lease, reinstalls, size_changes, snapshots

_TRIES = 12
_NAME = "kept"
_ASKS: Mapping[str, tuple[str, str, Mapping[str, Any] | None]] = {
    "take": ("POST", "snapshots", {"name": _NAME}),
    "roll back": ("POST", f"snapshots/{_NAME}/rollback", None),
    "delete": ("DELETE", f"snapshots/{_NAME}", None),
    "grow": ("POST", "change", {"cores": 2, "memoryMB": 256}),
    "grow down": ("POST", "change", {"memoryMB": 256, "diskGB": 2, "allowRestart": True}),
    "shrink": ("POST", "change", {"cores": 1, "memoryMB": 128}),
    "reinstall": (
        "POST",
        "reinstall",
        {"password": "correct horse again", "deleteSnapshots": True},
    ),
}
_CHANGES = {"grow", "grow down", "shrink"}
_SEQUENCES = (
    *(("grow",), ("grow", "shrink"), ("grow down", "take", "shrink", "roll back")),
    ("take",),
    ("take", "roll back"),
    ("take", "delete"),
    ("take", "roll back", "delete", "take"),
    *(("reinstall",), ("reinstall",), ("take", "reinstall"), ("reinstall", "take")),
)
_LETS_GO = {lease.LeaseStatus.ACTIVE, *lease.OVER}
"""Leases that need not stay as they are once they were copied; others keep their snapshots."""
NOBODY: Mapping[str, Collection[str]] = {}
_DONE = {"snapshot_exists", "snapshot_not_found"}  # by a call whose answer was lost
_OVER = {"lease_not_ready", "lease_not_found", "lease_over", "too_little_time_left"}


class Unfinished(Protocol):
    """A row about a lease's guest that a worker brings to its end."""

    @property
    def lease_id(self) -> str: ...

    @property
    def is_unfinished(self) -> bool: ...


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
    asked: dict[str, set[str]]

    async def keep(self) -> None:
        """Do some things one after another, as far as they go."""
        for what in self.dice.choice(_SEQUENCES):
            if not await self._until_answered(what):
                return

    async def _until_answered(self, what: str) -> bool:
        """Ask until there is a final answer; return whether to go on."""
        method, path, body = _ASKS[what]
        self.asked.setdefault(what, set()).add(self.lease_id)
        for _ in range(_TRIES):
            told = await self.ask(method, f"/lease/{self.lease_id}/{path}", body)
            if told is not None and (told.status == 200 or told.code in _DONE):
                self.count(f"{what}, {'done' if told.status == 200 else 'done before'}")
                return True
            if told is not None and (told.status == 401 or told.code in _OVER):
                self.count(f"{what}, lease over")
                return False
            await asyncio.sleep(self.dice.uniform(0.1, 0.5))
        return False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kept:
    """What the tables say of leases' guests, and which leases' tenants asked for what."""

    taken: Sequence[snapshots.Snapshot] = ()
    changes: Sequence[size_changes.SizeChange] = ()
    made_anew: Sequence[reinstalls.Reinstall] = ()
    forking: Sequence[forks.Fork] = ()
    asked: Mapping[str, Collection[str]] = dataclasses.field(default_factory=dict)

    @classmethod
    def of_rows(
        cls,
        of_snapshots: Iterable[Mapping[str, Any]],
        of_changes: Iterable[Mapping[str, Any]],
        of_reinstalls: Iterable[Mapping[str, Any]],
        of_forks: Iterable[Mapping[str, Any]],
        asked: Mapping[str, Collection[str]],
    ) -> Self:
        """Read the rows of all tables."""
        return cls(
            taken=[snapshots.Snapshot.from_row(row) for row in of_snapshots],
            changes=[size_changes.SizeChange.from_row(row) for row in of_changes],
            made_anew=[reinstalls.Reinstall.from_row(row) for row in of_reinstalls],
            forking=[forks.Fork.from_row(row) for row in of_forks],
            asked=asked,
        )

    @property
    def resized(self) -> Collection[str]:
        """Leases whose size may have changed."""
        return self._asked_for(_CHANGES)

    @property
    def changed(self) -> Collection[str]:
        """Leases that may not always have burnt the same."""
        return self._asked_for({*_CHANGES, "take"})

    @property
    def reinstalled(self) -> Collection[str]:
        """Leases whose guests may have been made anew."""
        return self._asked_for({"reinstall"})

    def _asked_for(self, wishes: Collection[str]) -> Collection[str]:
        return {one for what, leases in self.asked.items() if what in wishes for one in leases}

    def are_open(self, rows: Iterable[lease.Lease]) -> bool:
        """Whether the service still has to do something about any of it."""
        own: Sequence[Unfinished] = (*self.taken, *self.changes, *self.made_anew)
        leases = {row.lease_id: row for row in rows}
        return any(_is_open(leases[one.lease_id], one) for one in own) or any(
            leases[one.lease_id].status in _LETS_GO for one in self.forking
        )

    def violations(
        self,
        leases: Sequence[lease.Lease],
        guests: Sequence[Mapping[str, Any]],
        runs: Sequence[running.Run],
    ) -> Iterator[str]:
        """Everything that should not be."""
        yield from _unaccounted(leases, guests, self.taken)
        yield from _other_sizes(leases, guests, self.changes)
        for row in leases:
            own = [one for one in self.taken if one.lease_id == row.lease_id]
            yield from meters.burn_of(row, own)
        yield from _other_shapes(runs, self.resized, self.reinstalled)
        yield from self._left_open(leases)

    def _left_open(self, leases: Sequence[lease.Lease]) -> Iterator[str]:
        """Name what is still copied or made anew, and secrets that nobody needs any more."""
        rows = {row.lease_id: row for row in leases}
        for fork in self.forking:
            if rows[fork.lease_id].status in _LETS_GO:
                yield f"lease {fork.lease_id} is still being copied, for order {fork.order_id}"
        for one in self.made_anew:
            row = rows[one.lease_id]
            if row.status in lease.OVER:
                yield f"a reinstallation outlived its lease {row.lease_id}"
            elif _is_open(row, one):
                yield f"lease {row.lease_id} is left {one.state.value}: {one.problem}"
            elif not one.is_unfinished and one.sealed_secrets is not None:
                yield f"the reinstallation of lease {row.lease_id} still keeps its secrets"


NOTHING = Kept()


def _unaccounted(
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
            if _is_open(row, one):
                yield f"snapshot {one.pve_name} is left {one.state.value}: {one.problem}"


def _is_open(row: lease.Lease, one: Unfinished) -> bool:
    """Whether the service still has to do something about a snapshot, or a change of size."""
    is_own = row.lease_id == one.lease_id
    return is_own and row.status is lease.LeaseStatus.ACTIVE and one.is_unfinished


def _other_sizes(
    leases: Iterable[lease.Lease],
    guests: Iterable[Mapping[str, Any]],
    changes: Iterable[size_changes.SizeChange],
) -> Iterator[str]:
    """Name the guests that have another size than their leases, and changes that are not over."""
    sizes = {guest["vmid"]: guest["size"] for guest in guests}
    unfinished = {one.lease_id for one in changes if one.is_unfinished}
    for row in leases:
        if row.status is not lease.LeaseStatus.ACTIVE or row.vmid not in sizes:
            continue
        if row.lease_id in unfinished:
            yield f"the size of lease {row.lease_id} is still being changed"
        elif sizes[row.vmid] != [row.size.cores, row.size.memory_mb, row.size.disk_gb]:
            yield f"guest {row.vmid} has {sizes[row.vmid]}, its lease {row.size}"


def _other_shapes(
    runs: Sequence[running.Run], resized: Collection[str], reinstalled: Collection[str]
) -> Iterator[str]:
    """Name the guests that did not always start with one card, and one size unless it was changed.

    A paid lease whose guest could not be started gets another guest, on another vmid. One that was
    reinstalled has another disk.
    """
    has_other_shape = {*resized, *reinstalled}
    for lease_id, own in running.by_lease(runs).items():
        for vmid in {run.vmid for run in own}:
            has_other = lease_id in has_other_shape
            shapes = sorted(
                {run.card if has_other else run.shape for run in own if run.vmid == vmid}
            )
            if len(shapes) > 1:
                yield f"guest {vmid} of lease {lease_id} ran as {' and as '.join(shapes)}"
