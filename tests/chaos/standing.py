"""What stands on Proxmox must be accounted for by a row: guests, templates, volumes and files."""

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Self

from tests.chaos import running

from pve402.domain import lease

_KEPT = {lease.LeaseStatus.ACTIVE, lease.LeaseStatus.STOPPED}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stored:
    """What storages hold, and the files of OCI images that rows name."""

    volumes: Mapping[str, int] = dataclasses.field(default_factory=dict)  # the vmids that own them
    files: Collection[str] = ()  # pulled
    named: Collection[str] = ()

    @classmethod
    def of(cls, shown: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Self:
        """Read what the world shows, and the rows of files."""
        named = {row["volume"] for row in rows}
        return cls(volumes=shown["volumes"], files=shown["files"], named=named)

    def unaccounted(self, guests: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        """Name the volumes of no guest, and the files of no row.

        A task that died leaves volumes to the guest that it locked.
        """
        known = {guest["vmid"]: guest["volumes"] for guest in guests if guest["lock"] != "create"}
        locked = {guest["vmid"] for guest in guests} - known.keys()
        for name, vmid in self.volumes.items():
            if vmid not in locked and name not in known.get(vmid, ()):
                yield f"volume {name} is none of guest {vmid}"
        yield from (f"file {name} has no row" for name in set(self.files) - set(self.named))


NOTHING = Stored()


def unaccounted(
    leases: Sequence[lease.Lease], guests: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """Name the guests of no lease, and templates that are no images, or the other way round."""
    rows = {row.vmid: row for row in leases if row.status not in lease.OVER}
    for guest in guests:
        row = rows.get(guest["vmid"])
        if row is None:
            if guest["lock"] != "create":
                yield f"guest {guest['vmid']} has no row"
        elif row.status in _KEPT and guest["template"] is not row.is_private_image:
            yield f"guest {guest['vmid']} of {row.owner}: template {guest['template']}"


def wrong_lives(leases: Sequence[lease.Lease], runs: Sequence[running.Run]) -> Iterator[str]:
    """Name the images that ran, and containers that ran what their image says."""
    images = {row.lease_id for row in leases if row.is_private_image}
    for run in runs:
        if run.lease_id in images:
            yield f"image {run.lease_id} ran"
        if not run.lives:
            yield f"guest {run.vmid} of lease {run.lease_id} ran a program of its image"
