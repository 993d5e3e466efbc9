"""The private image that a lease's guest is copied from."""

from typing import Final

from pve402.domain import lease, private_images
from pve402.leases import machine, origins, whole_clones
from pve402.proxmox import errors as pve
from pve402.proxmox import guests as pve_guests
from pve402.storage import database, lease_rows, transaction

_KEPT: Final = frozenset({lease.LeaseStatus.ACTIVE, lease.LeaseStatus.STOPPED})


class PrivateOrigin:
    """Copies the private image that a lease's template names, where it stands."""

    had_tenant = True

    def __init__(
        self,
        db: database.Database,
        machines: machine.Machines,
        guests: pve_guests.Guests,
        instance: str,
    ) -> None:
        self._db = db
        self._machines = machines
        self._guests = guests
        self._instance = instance

    async def find(self, row: lease.Lease) -> origins.Source | None:
        """Return the image, if it stands where the lease's guest is to be."""
        image_id = private_images.chosen(row.template) or ""
        async with self._db.read() as tx:
            image = await lease_rows.get(tx, image_id)
        if image is None or row.base not in {None, image_id} or not _may_be_copied(image):
            return None
        if (image.node, image.storage) != (row.node, row.storage):
            return None
        return origins.Source(row=image, is_linked=False)

    async def check(self, source: origins.Source, row: lease.Lease) -> None:
        """Check that the image's vmid still is the template that we made, of its size."""
        config = await self._guests.config(source.ref)
        origins.check_own(self._machines, self._instance, source.row, config)
        if config.values.get("template") != "1":
            raise pve.ProxmoxFault(f"guest {source.row.vmid} is not the image that was saved")
        origins.check_plain(source.row, whole_clones.strange_in(config, source.row.template))
        if config.disk_bytes is None or config.disk_bytes > row.size.disk_gb * 2**30:
            raise pve.ProxmoxFault(f"the disk of image {source.row.vmid} is not what is paid for")

    async def lock(self, tx: transaction.Transaction, source: origins.Source) -> bool:
        """Return whether the image still stands; nobody deletes it in this transaction."""
        found = await lease_rows.get_locked(tx, source.lease_id)
        return found is not None and _may_be_copied(found) and found.vmid == source.row.vmid

    def leave_alone(self, lease_id: str | None, node: str) -> None:
        """Nothing else could be copied instead."""


def _may_be_copied(image: lease.Lease) -> bool:
    """Whether an image is there; one whose time ended during the order is kept in grace."""
    is_kept = image.status in _KEPT and image.suspension is None
    return image.is_private_image and image.handed_over and is_kept
