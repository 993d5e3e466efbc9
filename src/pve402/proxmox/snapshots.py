"""Snapshots of guests on Proxmox VE; needs VM.Snapshot, and VM.Audit to read.

Taking, deleting and rolling back start tasks, and nearly every refusal comes from the task alone:
read back what is there.
"""

from dataclasses import dataclass

from pve402.proxmox import answers, guest_views, shapes
from pve402.proxmox.client import ProxmoxClient
from pve402.proxmox.guest_views import GuestConfig
from pve402.proxmox.guests import GuestRef
from pve402.proxmox.upid import Upid

TASKS = frozenset({"vzsnapshot", "vzdelsnapshot", "vzrollback"})
"""The types of the tasks that take, delete and roll back."""
ROLLBACK_LOCK = "rollback"
"""Locks a guest whose rollback was not carried to its end."""
_CURRENT = "current"


@dataclass(frozen=True, kw_only=True)
class SeenSnapshot:
    """A snapshot of a guest. One that is half made or half removed is not whole.

    Proxmox VE shows that as `snapstate` (PVE/API2/LXC/Snapshot.pm).
    """

    name: str
    is_whole: bool


class GuestSnapshots:
    """Takes, lists and removes snapshots, and rolls guests back to them.

    Besides the errors it names, every method may raise Unreachable, OutcomeUnknown,
    AuthenticationFailed, PermissionDenied, NodeUnknown and ProxmoxFault.
    """

    def __init__(self, client: ProxmoxClient) -> None:
        self._client = client

    async def are_possible(self, ref: GuestRef) -> bool:
        """Whether the storages of the guest's disks take snapshots. Raises GuestMissing."""
        call = answers.Call(method="GET", path=ref.path("feature"))
        data = await self._client.call(call.method, call.path, {"feature": "snapshot"})
        return shapes.optional_whole(shapes.as_object(data, call), "hasFeature") == 1

    async def list(self, ref: GuestRef) -> tuple[SeenSnapshot, ...]:
        """All snapshots of the guest, whoever took them. Raises GuestMissing."""
        call = answers.Call(method="GET", path=ref.path("snapshot"))
        found = shapes.as_rows(await self._client.call(call.method, call.path), call)
        seen = (
            SeenSnapshot(
                name=shapes.text(row, "name", call),
                is_whole=not shapes.optional_text(row, "snapstate"),
            )
            for row in found
        )
        return tuple(one for one in seen if one.name != _CURRENT)

    async def take(self, ref: GuestRef, name: str, description: str) -> Upid:
        """Take a snapshot of a guest, running or not. A locked guest makes the task fail."""
        form = {"snapname": name, "description": description}
        return await self._start_task("POST", ref.path("snapshot"), form)

    async def delete(self, ref: GuestRef, name: str) -> Upid:
        """Remove a snapshot. The task fails if there is none, or if the guest is locked."""
        return await self._start_task("DELETE", ref.path("snapshot", name))

    async def roll_back(self, ref: GuestRef, name: str) -> Upid:
        """Give the guest the disk and the options of a snapshot; a running guest is killed.

        It stays down. Memory, disk size, card and tags are those of the snapshot afterwards.
        """
        return await self._start_task("POST", ref.path("snapshot", name, "rollback"))

    async def config_of(self, ref: GuestRef, name: str) -> GuestConfig:
        """The options that a snapshot holds. Raises GuestMissing, SnapshotMissing."""
        call = answers.Call(method="GET", path=ref.path("config"))
        data = await self._client.call(call.method, call.path, {"snapshot": name})
        return guest_views.config(data, call)

    async def _start_task(self, method: str, path: str, form: dict[str, str] | None = None) -> Upid:
        data = await self._client.call(method, path, form)
        return guest_views.upid(data, answers.Call(method=method, path=path))
