"""Finds what exists under a lease's vmid, on its node or elsewhere.

A clone for another node is made on its base's node, under the base's tags, and moves at the end of
its task (PVE/API2/LXC.pm, clone_vm). So what is seen there is in the making while that task runs;
if it never moved, the lease follows it, as it would a guest that somebody migrated.
"""

from collections.abc import Collection
from typing import Final

from pve402.domain import lease, mark
from pve402.leases import sights
from pve402.proxmox import errors as pve
from pve402.proxmox import guests as pve_guests
from pve402.proxmox import resources
from pve402.proxmox import tasks as pve_tasks
from pve402.storage import database, lease_rows, vault

_CLONING: Final = "vzclone"
CREATING: Final = frozenset({"vzcreate", _CLONING})
CREATE_LOCK: Final = "create"

Sight = sights.Sight


class Looking:
    """Looks at guests and changes nothing."""

    def __init__(
        self,
        db: database.Database,
        guests: pve_guests.Guests,
        tasks: pve_tasks.Tasks,
        *,
        instance: str,
        secret_vault: vault.Vault,
    ) -> None:
        self._db = db
        self._guests = guests
        self._tasks = tasks
        self._instance = instance
        self.mark_key = secret_vault.key("guest description")

    async def look(self, row: lease.Lease) -> Sight:
        """Return what exists under the lease's vmid: one call, or a few if it is not as expected.

        Raises GuestMovedError if the guest is on another node of the cluster.
        """
        try:
            return await self._look_there(row)
        except pve.GuestMissing:
            return await self.look_elsewhere(row)

    async def look_elsewhere(self, row: lease.Lease) -> Sight:
        """Return what exists under the lease's vmid, which its own node did not show just now.

        Raises GuestMovedError, as `look`.
        """
        guests = await self._guests.list_all()
        listed = next((guest for guest in guests if guest.vmid == row.vmid), None)
        if listed is None:
            return Sight.ABSENT
        try:
            if listed.node == row.node:  # it has just come, or just gone
                return await self._look_there(row)
            if await self._is_in_making_at(listed, row):
                return Sight.IN_MAKING
        except pve.GuestMissing:  # it moves just now, and not all nodes know
            return Sight.ABSENT if row.base is None else Sight.IN_MAKING
        return Sight.ABSENT

    async def find_task(self, row: lease.Lease, types: Collection[str]) -> pve_tasks.Upid | None:
        """Return the running task of one of these types under the lease's vmid, if any.

        A clone's task names its source alone, so it may be that of another clone of the image.
        """
        running = await self._tasks.list_active(row.node, row.vmid)
        if row.base is not None and _CLONING in types:
            async with self._db.read() as tx:
                base = await lease_rows.get(tx, row.base)
            running += () if base is None else await self._tasks.list_active(base.node, base.vmid)
        return next((upid for upid in running if upid.type in types), None)

    def read_description(self, description: str) -> mark.GuestRecord | None:
        """Return the record in a guest's description, if we signed it."""
        return mark.read_description(description, self.mark_key)

    async def _look_there(self, row: lease.Lease) -> Sight:
        ref = pve_guests.GuestRef(node=row.node, vmid=row.vmid)
        status = await self._guests.status(ref)
        if status.lock == CREATE_LOCK:
            return Sight.IN_MAKING
        if not mark.is_marked(status.tags, self._instance, row.lease_id):
            is_clone = await self._is_clone(row, row.node, status.tags)
            return Sight.UNFINISHED if is_clone else Sight.FOREIGN
        is_running = status.state is resources.RunState.RUNNING
        return Sight.RUNNING if is_running else Sight.STOPPED

    async def _is_in_making_at(self, listed: resources.GuestSummary, row: lease.Lease) -> bool:
        """Whether a guest on another node may become the lease's.

        Raises GuestMovedError if it is the lease's, and GuestMissing if it has just moved.
        """
        if mark.is_marked(listed.tags, self._instance, row.lease_id):
            raise sights.GuestMovedError(listed.node)
        if row.base is None:
            return False
        if listed.lock == CREATE_LOCK:
            return True
        if not await self._is_clone(row, listed.node, listed.tags):
            return False
        if await self.find_task(row, CREATING) is not None:  # just before its end
            return True
        raise sights.GuestMovedError(listed.node)

    async def _is_clone(self, row: lease.Lease, node: str, tags: Collection[str]) -> bool:
        """Whether a guest with its image's tags was cloned for the lease: its description says."""
        if row.base is None or not mark.is_marked(tags, self._instance, row.base):
            return False
        ref = pve_guests.GuestRef(node=node, vmid=row.vmid)
        record = self.read_description((await self._guests.config(ref)).description)
        return record is not None and record.lease_id == row.lease_id
