"""The state of the cluster: one call for all nodes, storages and guests, shared by all callers.

Placement, lists, statistics and readiness all read the same view. It is refreshed in the background
and, for callers that need newer data, on demand; concurrent callers share one call. So a slow or
unreachable Proxmox delays only the requests that really need it.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

import structlog

from pve402.domain import errors, mark, oci, placement
from pve402.leases import metrics, rounds
from pve402.proxmox import errors as pve
from pve402.proxmox import nodes as pve_nodes
from pve402.proxmox import resources, storage
from pve402.storage import database, drain_rows, lease_rows

log = structlog.get_logger(__name__)

_MB = 1024 * 1024
_GB = 1024 * _MB
REFRESH_SECONDS = 5.0
NOT_HERE = (pve.StorageMissing, pve.VolumeMissing, pve.StorageFull, pve.BridgeMissing)
"""Failures that mean a guest cannot be made on this node, but perhaps on another."""
_UNFIT_SECONDS = 300.0
_THICK = {"lvm", "iscsi", "iscsidirect"}
"""Storage types that allocate a disk's full size when it is created."""
_OF_ONE_NODE = {"btrfs"}
"""Storage types that can be marked as shared, though no two nodes can use one at once."""
_STALE_SECONDS = 30.0
_NEVER = datetime.min.replace(tzinfo=UTC)
_PROMISES_SECONDS = 2.0


class ClusterView:
    """The latest answer of `/cluster/resources`."""

    def __init__(
        self,
        nodes: pve_nodes.Nodes,
        *,
        storages: Callable[[], Mapping[str, float | None]],
        fixed_node: str | None,
        instance: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep the parts; `storages` names those for guests' disks, with their own disk factors."""
        self._nodes = nodes
        self._storages = storages
        self._fixed_node = fixed_node
        self._tag = mark.instance_tag(instance)
        self._clock = clock
        self._seen: resources.ClusterResources | None = None
        self._seen_at = float("-inf")
        self._asking: asyncio.Task[resources.ClusterResources] | None = None
        self._rooms: list[placement.NodeRoom] = []
        self._rooms_of: resources.ClusterResources | None = None
        self._rooms_on: Mapping[str, float | None] = {}
        self._storages_seen: Mapping[tuple[str, str], resources.StorageSummary] = {}  # by node
        self._stored: Mapping[int, str] = {}  # by vmid, the storages that leases name
        self._promised: list[placement.Promise] = []
        self._promised_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None
        self._drained: frozenset[str] = frozenset()
        self._unfit: dict[tuple[str, str, str | None], float] = {}
        self._without: dict[str, frozenset[str]] = {}
        self._shown: dict[str, dict[str, storage.Template]] = {}  # by node, then by volume
        self._told: dict[tuple[str, str], storage.StorageStatus] = {}  # by node and storage
        # By node and volume of an OCI image; None: not known yet.
        self._sellable: Mapping[tuple[str, str], str] | None = None
        self._rounds = rounds.Rounds("cluster-view", self._refresh, REFRESH_SECONDS)

    def start(self) -> None:
        """Start the background refresh."""
        self._rounds.start()

    async def stop(self) -> None:
        """Stop the background refresh."""
        await self._rounds.stop()
        tasks = [task for task in (self._asking, self._reading) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def age_seconds(self) -> float:
        """Return how long ago Proxmox last answered, in seconds."""
        return self._clock() - self._seen_at

    async def fresh(self, within_seconds: float = 1.0) -> resources.ClusterResources:
        """Return a view that is at most this old; ask Proxmox if necessary.

        Raises ProxmoxError if that call fails.
        """
        if self._seen is not None and self.age_seconds <= within_seconds:
            return self._seen
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        return await asyncio.shield(self._asking)

    def latest(self) -> resources.ClusterResources | None:
        """Return the last view if it is at most 30 seconds old; makes no call."""
        return self._seen if self.age_seconds <= _STALE_SECONDS else None

    def cores_of(self, node: str) -> int | None:
        """Return how many cores a node has, as last seen; None if that is not known."""
        nodes = () if self._seen is None else self._seen.nodes
        return next((seen.cpu_cores for seen in nodes if seen.node == node), None)

    def note_unfit(self, node: str, template: str, storage: str | None = None) -> None:
        """Remember for a few minutes that guests of a template cannot be made there."""
        self._unfit[node, template, storage] = self._clock() + _UNFIT_SECONDS

    def note_templates(
        self, node: str, lacking: frozenset[str], shown: Sequence[storage.Template] = ()
    ) -> None:
        """Remember which of the templates on sale a node does not have, and those it shows."""
        self._without[node] = lacking
        self._shown[node] = {found.volid: found for found in shown}

    def note_storage(self, node: str, status: storage.StorageStatus) -> None:
        """Remember what a node said of a storage, which the view may hide from our token."""
        self._told[node, status.storage] = status

    def template(self, volume: str) -> storage.Template | None:
        """Return a template's size and date, as seen in the last minute; the newest if they differ.

        None if no node shows it.
        """
        shown = [files[volume] for files in self._shown.values() if volume in files]
        return max(shown, key=_date_and_size, default=None)

    def template_on(self, node: str, volume: str) -> storage.Template | None:
        """Return a template as a node showed it in the last minute."""
        return self._shown.get(node, {}).get(volume)

    def note_file(self, node: str, found: storage.Template) -> None:
        """Remember a template that a node has shown since the last look at all of its own."""
        self._shown.setdefault(node, {})[found.volid] = found
        self._without[node] = self._without.get(node, frozenset()) - {found.volid}

    def note_sellable(self, files: Mapping[tuple[str, str], str]) -> None:
        """Remember which files of OCI images may be sold: their digests, by node and volume."""
        self._sellable = files

    def source_on(self, node: str, volume: str) -> str | None:
        """Return the digest of a template that guests may be made of on a node now, if it shows it.

        An OCI image's file may be used only as it was when it was tried.
        """
        shown = self.template_on(node, volume)
        if shown is None:
            return None
        sellable = self._sellable or {}
        tried = sellable.get((node, volume)) if oci.is_file(volume) else shown.digest
        return tried if tried == shown.digest else None

    def may_sell(self, volume: str) -> bool:
        """Return whether guests of a template may be sold, as far as is known.

        Those of an OCI image are sold once its file has passed its trial on some node.
        """
        if self._sellable is None or not oci.is_file(volume):
            return True
        return any(volume == passed for _, passed in self._sellable)

    def lacks(self, node: str, volume: str) -> bool:
        """Return whether a node did not show a template at the last look."""
        return volume in self._without.get(node, frozenset())

    def storage_type(self, node: str, name: str) -> str | None:
        """Return the type of a node's storage, as of the last look at the rooms or at the node.

        `/cluster/resources` shows storages only with Datastore.Audit, which we do without.
        """
        found = self._storage(node, name)
        return None if found is None else found.type

    def is_shared(self, node: str, name: str) -> bool:
        """Return whether Proxmox VE reports a node's storage as the same one on other nodes.

        An administrator can mark one that is not, such as a btrfs on each node; we ignore that.
        """
        found = self._storage(node, name)
        return found is not None and found.shared and found.type not in _OF_ONE_NODE

    def can_lend(self, node: str, other: str, name: str | None, template: str) -> bool:
        """Return whether another node's guests may be clones of an image on a node's storage.

        Clones are made on the image's node, which has to be up. Templates of one name on local
        storages are the same one if they have one size. Once a template is gone from the image's
        node, nobody can tell.
        """
        if name is None or self.is_away(node, name) or not self.is_shared(other, name):
            return False
        if node in self._shown and self.template_on(node, template) is None:
            return False
        shown = (self.template_on(each, template) for each in (node, other))
        sizes = {found.size_bytes for found in shown if found is not None}
        return len(sizes) <= 1 and bool(self._is_online(node))

    def _is_online(self, node: str) -> bool | None:
        """Return whether a node was up when last seen; None if it was not seen."""
        nodes = () if self._seen is None else self._seen.nodes
        return next((one.online for one in nodes if one.node == node), None)

    def _storage(
        self, node: str, name: str
    ) -> resources.StorageSummary | storage.StorageStatus | None:
        return self._storages_seen.get((node, name)) or self._told.get((node, name))

    def is_away(self, node: str, name: str | None) -> bool:
        """Return whether a node is down, or had no way to a storage at the last look at rooms."""
        if self._is_online(node) is False:
            return True
        found = None if name is None else self._storages_seen.get((node, name))
        return found is not None and not found.available

    async def rooms_for(self, template: str) -> list[placement.NodeRoom]:
        """Return the free room of the nodes that can make guests of a template.

        Leaves out storages where such guests failed recently, and nodes without the template or its
        storage if other nodes show it. OCI images are made only where they were tried. Raises
        ProxmoxUnavailable if the room is unknown.
        """
        rooms = await self.rooms()
        if oci.is_file(template):
            rooms = [room for room in rooms if self.source_on(room.node, template) is not None]
        having = _nodes_with(self._storages_seen.values(), template.partition(":")[0])
        lacking = self._nodes_without(template, rooms)
        return [
            room
            for room in rooms
            if room.node not in lacking
            and not self._is_unfit(room, template)
            and (having is None or room.node in having)
        ]

    def _nodes_without(self, template: str, rooms: Sequence[placement.NodeRoom]) -> set[str]:
        """Return the nodes without a template; none if nobody shows it, which may be our rights."""
        lacking = {node for node, names in self._without.items() if template in names}
        return lacking if any(room.node not in lacking for room in rooms) else set()

    def _is_unfit(self, room: placement.NodeRoom, template: str) -> bool:
        now, place = self._clock(), (room.node, template)
        failed = [self._unfit.get((*place, storage), now) for storage in (room.storage, None)]
        return max(failed) > now

    async def rooms(self) -> list[placement.NodeRoom]:
        """Return the free room of the nodes that can hold guests, one for each storage of a node.

        Returns the same list until there is a newer view. A storage that some node shows is left
        out where it is not; if nobody shows any, our token probably may not see storages, and each
        may be everywhere. Raises ProxmoxUnavailable if the room is unknown.
        """
        seen = self.latest()
        if seen is None:
            try:
                seen = await self.fresh(_STALE_SECONDS)
            except pve.ProxmoxError as error:
                raise errors.ProxmoxUnavailable from error
        wanted = self._storages()
        if seen is not self._rooms_of or wanted != self._rooms_on:
            self._rooms_of, self._rooms_on = seen, wanted
            self._storages_seen = {(row.node, row.storage): row for row in seen.storages}
            self._rooms = self._rooms_in(seen, wanted)
        return self._rooms

    def _rooms_in(
        self, seen: resources.ClusterResources, wanted: Mapping[str, float | None]
    ) -> list[placement.NodeRoom]:
        shown = {name: _nodes_with(seen.storages, name) for name in wanted}
        are_hidden = not any(shown.values())
        return [
            self._room(node, seen, name, factor)
            for node in seen.nodes
            if self._fixed_node in (None, node.node)
            for name, factor in wanted.items()
            if are_hidden or node.node in (shown[name] or ())
        ]

    async def promises(self, db: database.Database) -> list[placement.Promise]:
        """Return the room that leases take, for checks before a claim.

        The list is at most two seconds old, and the same object until it is read again. The claim
        itself reads the promises in its own transaction.
        """
        if self._clock() - self._promised_at > _PROMISES_SECONDS:
            if self._reading is None or self._reading.done():
                self._reading = asyncio.create_task(self._read_promises(db))
            await asyncio.shield(self._reading)
        return self._promised

    async def _read_promises(self, db: database.Database) -> None:
        async with db.read() as tx:
            self._promised = await lease_rows.list_promises(tx)
            self._drained = await drain_rows.names(tx)
            are_several = len(self._storages()) > 1
            stored = await lease_rows.list_storages(tx) if are_several else {}
        if stored != self._stored:
            self._stored, self._rooms_of = stored, None
        self._promised_at = self._clock()

    @property
    def drained(self) -> frozenset[str]:
        """Return the nodes that the operator was emptying when `promises` last read the rows."""
        return self._drained

    def _room(
        self,
        node: resources.NodeSummary,
        seen: resources.ClusterResources,
        storage: str,
        factor: float | None,
    ) -> placement.NodeRoom:
        here, is_only = self._storages_seen.get((node.node, storage)), len(self._rooms_on) == 1
        free, ours = (None, None) if here is None else self._disks(here, seen, is_only=is_only)
        return placement.NodeRoom(
            node=node.node,
            storage=storage,
            online=node.online and not node.in_maintenance,
            cores=node.cpu_cores,
            memory_mb=None if node.memory_total is None else node.memory_total // _MB,
            memory_used_mb=(node.memory_used or 0) // _MB,
            disk_free_gb=free,
            disk_gb=ours,
            disk_shared=self.is_shared(node.node, storage),
            disk_overcommit=factor,
        )

    def _disks(
        self,
        disks: resources.StorageSummary,
        seen: resources.ClusterResources,
        *,
        is_only: bool,
    ) -> tuple[int | None, int | None]:
        """Return a storage's free space, and its free space plus our guests' disks, in GiB.

        The second matters only on thin storages, where disks grow as guests write; else it is None.
        A disk counts on the storage that its lease names; Proxmox VE's list does not tell. One of
        an unknown storage counts if there is no other.
        """
        if disks.disk_total is None or disks.disk_used is None:
            return None, None
        free = disks.disk_total - disks.disk_used
        if disks.type in _THICK:
            return free // _GB, None
        is_shared = self.is_shared(disks.node, disks.storage)
        ours = sum(
            guest.disk_used or 0
            for guest in seen.guests
            if self._tag in guest.tags
            and (is_shared or guest.node == disks.node)
            and self._stored.get(guest.vmid, disks.storage if is_only else "") == disks.storage
        )
        return free // _GB, min(disks.disk_total, free + ours) // _GB

    async def _ask(self) -> resources.ClusterResources:
        seen = await self._nodes.cluster_resources()
        self._seen, self._seen_at = seen, self._clock()
        return seen

    async def _refresh(self) -> None:
        metrics.PROXMOX_AGE.set(self.age_seconds)
        await self.fresh(REFRESH_SECONDS / 2)


def _date_and_size(file: storage.Template) -> tuple[datetime, int]:
    return file.created_at or _NEVER, file.size_bytes


def _nodes_with(storages: Iterable[resources.StorageSummary], name: str) -> frozenset[str] | None:
    """Return the nodes that have a storage; None (unknown) if no node shows it."""
    nodes = frozenset(row.node for row in storages if row.storage == name and row.available)
    return nodes or None
