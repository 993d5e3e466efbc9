"""What a guest can be cloned from: a prepared image, or the guest of another lease.

An origin is asked for its source, then to check it right before Proxmox VE is called, and to lock
it in the transaction that notes the call.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from pve402.domain import lease, mark
from pve402.leases import cluster, machine, whole_clones
from pve402.proxmox import errors as pve
from pve402.proxmox import guests as pve_guests
from pve402.proxmox import snapshots as pve_snapshots
from pve402.storage import database, image_rows, lease_rows, transaction

_UNFIT_SECONDS: Final = 300.0
_SNAPSHOTTED: Final = frozenset({"parent"})
"""What the options of a guest gain with its first snapshot; no clone gets it."""
_OF_SNAPSHOT: Final = _SNAPSHOTTED | {"snaptime", "description"}
_COPIED: Final = frozenset({lease.LeaseStatus.ACTIVE, lease.LeaseStatus.STOPPED})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """A guest that is cloned, by its row; a guest that is copied as it is must be down."""

    row: lease.Lease
    snapshot: str | None = None  # of the guest, as Proxmox VE names it
    is_linked: bool = True

    @property
    def lease_id(self) -> str:
        """The lease of the guest."""
        return self.row.lease_id

    @property
    def ref(self) -> pve_guests.GuestRef:
        """The guest."""
        return pve_guests.GuestRef(node=self.row.node, vmid=self.row.vmid)


class Origin(Protocol):
    """Where a lease's guest comes from."""

    had_tenant: bool

    async def find(self, row: lease.Lease) -> Source | None:
        """Return what to clone for a lease, where its guest is to be; None if there is nothing.

        If the lease's row names a base, nothing else will do.
        """

    async def check(self, source: Source, row: lease.Lease) -> None:
        """Raise ProxmoxFault unless the source is what it was found to be.

        Anything else may hold somebody else's data. Raises GuestLocked while it is locked, as it
        is while another clone of it is made.
        """

    async def lock(self, tx: transaction.Transaction, source: Source) -> bool:
        """Return whether the source may still be cloned; it stays so for this transaction."""

    def leave_alone(self, lease_id: str | None, node: str) -> None:
        """Note that a source could not be cloned for a node."""


class Images:
    """Clones the newest prepared image of a lease's template; one that failed rests a while.

    That of the lease's own node goes first, as several clones can then be made at once.
    """

    had_tenant = False

    def __init__(
        self,
        db: database.Database,
        machines: machine.Machines,
        guests: pve_guests.Guests,
        view: cluster.ClusterView,
        instance: str,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._machines = machines
        self._guests = guests
        self._view = view
        self._instance = instance
        self._clock = clock
        self._unfit: dict[tuple[str, str], float] = {}  # by image, and the node of a lease

    async def find(self, row: lease.Lease) -> Source | None:
        """Return an image to clone: the one noted, or the newest."""
        async with self._db.read() as tx:
            usable = await image_rows.list_usable(tx, row)
        now = self._clock()
        fit = [one for one in usable if self._unfit.get((one.lease_id, row.node), now) <= now]
        fit = [one for one in fit if one.size.disk_gb <= row.size.disk_gb]
        named = [one for one in fit if row.base in {None, one.lease_id}]
        own = [one for one in named if one.node == row.node]
        lent = [one for one in named if one.node != row.node and self._can_lend(one, row)]
        found = next(iter((*own, *lent)), None)
        return None if found is None else Source(row=found)

    def _can_lend(self, image: lease.Lease, row: lease.Lease) -> bool:
        return self._view.can_lend(image.node, row.node, image.storage, image.template)

    async def check(self, source: Source, row: lease.Lease) -> None:
        """Check that the image's vmid still is the template that we made."""
        config = await self._guests.config(source.ref)
        check_own(self._machines, self._instance, source.row, config)
        if config.values.get("template") != "1":
            raise pve.ProxmoxFault(f"guest {source.row.vmid} is not the image that was prepared")
        check_plain(source.row, whole_clones.strange_in(config, source.row.template))

    async def lock(self, tx: transaction.Transaction, source: Source) -> bool:
        """Return whether the image was not retired; nobody retires it in this transaction."""
        return await image_rows.lock_usable(tx, source.lease_id)

    def leave_alone(self, lease_id: str | None, node: str) -> None:
        """Leave an image alone for some minutes; other nodes still get clones of it."""
        if lease_id is not None:
            self._unfit[lease_id, node] = self._clock() + _UNFIT_SECONDS


class GuestOrigin:
    """Copies the guest of one lease, or a snapshot of it, on its own node and storage."""

    had_tenant = True

    def __init__(
        self,
        db: database.Database,
        machines: machine.Machines,
        guests: pve_guests.Guests,
        on_proxmox: pve_snapshots.GuestSnapshots,
        instance: str,
        *,
        lease_id: str,
        snapshot: str | None,
        is_linked: bool,
    ) -> None:
        """Name the lease, and the snapshot as Proxmox VE does; None: the guest, which is down."""
        self._db = db
        self._machines = machines
        self._guests = guests
        self._on_proxmox = on_proxmox
        self._instance = instance
        self._lease_id = lease_id
        self._snapshot = snapshot
        self._is_linked = is_linked

    async def find(self, row: lease.Lease) -> Source | None:
        """Return the lease's guest while it stands where the copy is to be."""
        async with self._db.read() as tx:
            found = await lease_rows.get(tx, self._lease_id)
        if found is None or row.base not in {None, self._lease_id} or not _may_be_copied(found):
            return None
        if (found.node, found.storage) != (row.node, row.storage):
            return None
        return Source(row=found, snapshot=self._snapshot, is_linked=self._is_linked)

    async def check(self, source: Source, row: lease.Lease) -> None:
        """Check tags, description, options and disk of the guest, and those of its snapshot."""
        config = await self._guests.config(source.ref)
        check_own(self._machines, self._instance, source.row, config)
        strange = [
            name
            for name in whole_clones.strange_in(config, source.row.template)
            if name not in _SNAPSHOTTED
        ]
        if config.values.get("template"):
            strange.append("template")
        check_plain(source.row, strange)
        if source.snapshot is None:
            if await self._machines.look(source.row) is not machine.Sight.STOPPED:
                raise pve.ProxmoxFault(f"guest {source.row.vmid} runs, so it cannot be copied")
        else:
            config = await self._snapshot_config(source, source.snapshot)
        if config.disk_bytes is None or config.disk_bytes > row.size.disk_gb * 2**30:
            raise pve.ProxmoxFault(f"the disk of guest {source.row.vmid} is not what is paid for")

    async def lock(self, tx: transaction.Transaction, source: Source) -> bool:
        """Return whether the lease still stands."""
        found = await lease_rows.get_locked(tx, source.lease_id)
        return found is not None and _may_be_copied(found) and found.vmid == source.row.vmid

    def leave_alone(self, lease_id: str | None, node: str) -> None:
        """Nothing else could be copied instead."""

    async def _snapshot_config(self, source: Source, name: str) -> pve_guests.GuestConfig:
        config = await self._on_proxmox.config_of(source.ref, name)
        if not mark.is_marked(config.tags, self._instance, source.lease_id):
            raise pve.ProxmoxFault(f"a snapshot of guest {source.row.vmid} is not the lease's")
        strange = [
            name
            for name in whole_clones.strange_in(config, source.row.template)
            if name not in _OF_SNAPSHOT
        ]
        check_plain(source.row, strange)
        return config


def check_own(
    machines: machine.Machines,
    instance: str,
    row: lease.Lease,
    config: pve_guests.GuestConfig,
) -> None:
    """Raise GuestLocked, or ProxmoxFault unless a guest has the tags and the mark of a row."""
    if config.lock:
        raise pve.GuestLocked(f"guest {row.vmid} is locked ({config.lock})")
    record = machines.read_description(config.description)
    is_ours = mark.is_marked(config.tags, instance, row.lease_id)
    if not is_ours or record is None or record.lease_id != row.lease_id:
        raise pve.ProxmoxFault(f"guest {row.vmid} is not that of the row that is cloned")


def check_plain(row: lease.Lease, strange: Sequence[str]) -> None:
    """Raise ProxmoxFault if a source has options that no guest of ours is made with."""
    if strange:
        raise pve.ProxmoxFault(f"guest {row.vmid} was given {', '.join(strange)[:200]}")


def _may_be_copied(row: lease.Lease) -> bool:
    return row.status in _COPIED and row.suspension is None
