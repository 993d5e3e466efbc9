"""Finds setups that can never work, such as a storage that no node has.

A guest needs a node with room for its size, the storage for its disks, a template, and the bridge,
and the resource pool if one is set. We check each from time to time; what our token may not see
does not count as missing. The log reports each problem once, and `readyz` shows its kind.
"""

import dataclasses
from collections.abc import Sequence
from enum import Enum

import structlog

from pve402.domain import catalogue, lease, placement
from pve402.leases import cluster, options, rounds, workflow
from pve402.leases import on_sale as sale
from pve402.proxmox import errors as pve
from pve402.proxmox import nodes as pve_nodes
from pve402.proxmox import resources, storage

log = structlog.get_logger(__name__)

_INTERVAL_SECONDS = 60.0
_FIRST_LOOK_SECONDS = 5.0
_MOST_NODES = 64


class Need(Enum):
    """What a guest needs, in the words of `readyz`."""

    NODE = "node"
    STORAGE = "storage"
    TEMPLATE = "template"
    BRIDGE = "bridge"
    POOL = "pool"
    SIZE = "size"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lack:
    """Something that a node certainly lacks."""

    node: str  # empty: the whole cluster
    need: Need
    reason: str


class Preflight:
    """Checks the nodes for setups that can never work."""

    def __init__(
        self,
        view: cluster.ClusterView,
        nodes: pve_nodes.Nodes,
        storages: storage.Storages,
        settings: options.LeaseOptions,
        *,
        pool: str | None,
        on_sale: sale.OnSale,
    ) -> None:
        self._view = view
        self._nodes = nodes
        self._storages = storages
        self._settings = settings
        self._pool = pool
        self._on_sale = on_sale
        self._rounds = rounds.Rounds("preflight", self.look, _INTERVAL_SECONDS)
        on_sale.when_replaced(self._rounds.wake)
        self.lacks: tuple[Lack, ...] = ()
        self.unmet: frozenset[Need] = frozenset()

    async def start(self) -> None:
        """Check once, for a few seconds at most, then continue in the background."""
        await self._rounds.start_after_one(_FIRST_LOOK_SECONDS)

    async def stop(self) -> None:
        """Stop the background checks."""
        await self._rounds.stop()

    async def look(self) -> None:
        """Check each node that may hold guests. Raises ProxmoxError if the cluster is not seen."""
        seen = await self._view.fresh(cluster.REFRESH_SECONDS)
        known = {node.node for node in seen.nodes}
        online = {node.node for node in seen.nodes if node.online}
        fixed = self._settings.fixed_node
        allowed = sorted(online if fixed is None else online & {fixed})[:_MOST_NODES]
        lacks = [*self._unknown_nodes(known), *self._oversized(seen.nodes)]
        lacks += await self._pool_lack()
        for node in allowed:
            lacks += await self._look_or_keep(node)
        self._conclude(lacks, known, allowed)

    def _unknown_nodes(self, known: set[str]) -> list[Lack]:
        """Report nodes that a setting or a sku names but the cluster does not have."""
        named = {node for sku in self._on_sale.now.skus.values() for node in sku.nodes}
        named |= {self._settings.fixed_node} if self._settings.fixed_node else set()
        return [
            Lack(node=node, need=Need.NODE, reason=f"the cluster has no node {node}")
            for node in sorted(named - known)
        ]

    def _oversized(self, nodes: Sequence[resources.NodeSummary]) -> list[Lack]:
        """Report skus whose smallest guest has more cores or memory than any node they may use."""
        limits, found = self._settings.limits, list[Lack]()
        for sku in self._on_sale.now.skus.values():
            usable = [node for node in nodes if sku.is_sold_on(node.node)]
            if usable and not any(_could_hold(node, sku.smallest, limits) for node in usable):
                least = f"{sku.smallest.cores} cores and {sku.smallest.memory_mb} MB"
                reason = f"no node can give sku {sku.name} its least, {least}"
                found.append(Lack(node="", need=Need.SIZE, reason=reason))
        return found

    async def _pool_lack(self) -> list[Lack]:
        try:
            if self._pool is not None:
                await self._nodes.check_pool(self._pool)
        except pve.PoolMissing:
            reason = f"there is no resource pool {self._pool}"
            return [Lack(node="", need=Need.POOL, reason=reason)]
        except pve.PermissionDenied:
            return []
        return []

    async def _look_or_keep(self, node: str) -> list[Lack]:
        """Check a node; if it cannot be asked, it lacks what it lacked before."""
        try:
            return await self._look_at(node)
        except pve.ProxmoxError as error:
            log.warning("node_not_looked_at", node=node, error=workflow.reason_of(error))
            return [lack for lack in self.lacks if lack.node == node]

    async def _look_at(self, node: str) -> list[Lack]:
        found = [
            await self._storages_lack(node),
            await self._template_lack(node),
            await self._bridge_lack(node),
        ]
        return [lack for lack in found if lack is not None]

    async def _storages_lack(self, node: str) -> Lack | None:
        """Return a lack if the node has none of the storages for the skus sold there."""
        names = dict.fromkeys(name for sku in self._skus(node) for name in sku.storages)
        lacks = [await self._storage_lack(node, name) for name in names]
        return lacks[0] if lacks and None not in lacks else None

    async def _storage_lack(self, node: str, name: str) -> Lack | None:
        try:
            status = await self._storages.status(node, name)
        except pve.StorageMissing:
            return Lack(node=node, need=Need.STORAGE, reason=f"there is no storage {name}")
        except pve.PermissionDenied:
            return None
        self._view.note_storage(node, status)
        if "rootdir" not in status.content:
            return Lack(node=node, need=Need.STORAGE, reason=f"storage {name} holds no containers")
        if not status.active:
            return Lack(node=node, need=Need.STORAGE, reason=f"storage {name} is not active")
        return None

    async def _template_lack(self, node: str) -> Lack | None:
        """Return a lack if the node has none of the templates on sale there."""
        wanted = self._templates(node)
        shown: list[storage.Template] = []
        for name in sorted({volume.partition(":")[0] for volume in wanted}):
            try:
                found = await self._storages.templates(node, name)
                shown += [template for template in found if template.volid in wanted]
            except pve.StorageMissing:
                continue
            except pve.PermissionDenied:
                return None
        held = {template.volid for template in shown}
        self._view.note_templates(node, frozenset(wanted - held), shown)
        if not wanted or held & wanted:
            return None
        reason = f"there is no {', '.join(sorted(wanted))}"
        return Lack(node=node, need=Need.TEMPLATE, reason=reason)

    def _templates(self, node: str) -> set[str]:
        default = self._settings.default_template
        skus = self._skus(node)
        return {volume for sku in skus for volume in sku.templates.values() or (default,)}

    async def _bridge_lack(self, node: str) -> Lack | None:
        try:
            bridges = await self._nodes.bridges(node)
        except (pve.PermissionDenied, pve.CallNotSupported):
            return None
        wanted = {self._on_sale.now.network_of(sku).bridge for sku in self._skus(node)}
        if not bridges or wanted & set(bridges):  # none: perhaps our token may not see bridges
            return None
        lacking, seen = ", ".join(sorted(wanted)), ", ".join(bridges)
        return Lack(node=node, need=Need.BRIDGE, reason=f"there is no bridge {lacking}, but {seen}")

    def _skus(self, node: str) -> list[catalogue.Sku]:
        skus = self._on_sale.now.skus.values()
        return [sku for sku in skus if sku.is_sold_on(node)]

    def _conclude(self, lacks: list[Lack], known: set[str], allowed: Sequence[str]) -> None:
        for lack in lacks:
            if lack not in self.lacks:
                log.error("node_lacks", node=lack.node, need=lack.need.value, reason=lack.reason)
        self.lacks = tuple(lacks)
        by_node = [{lack.need for lack in lacks if lack.node == node} for node in allowed]
        nowhere = bool(by_node) and all(by_node)
        unmet = {need for need in Need if nowhere and all(need in needs for needs in by_node)}
        if not self._may_sell(known) or (nowhere and not unmet):
            unmet.add(Need.NODE)
        of_all = [lack.need for lack in lacks if not lack.node]
        unmet |= {Need.POOL} & set(of_all)
        if of_all.count(Need.SIZE) == len(self._on_sale.now.skus):
            unmet.add(Need.SIZE)
        self.unmet = frozenset(unmet)

    def _may_sell(self, known: set[str]) -> bool:
        """Return whether some sku may be sold on an existing node, online or not."""
        fixed = self._settings.fixed_node
        places = known if fixed is None else known & {fixed}
        skus = self._on_sale.now.skus.values()
        return bool(places) and any(not sku.nodes or sku.nodes & places for sku in skus)


def _could_hold(node: resources.NodeSummary, size: lease.Size, limits: placement.Limits) -> bool:
    """Whether a node could hold a guest if it were empty; figures that we may not see do fit."""
    if node.cpu_cores is not None and node.cpu_cores < size.cores:
        return False
    most = [limits.memory_mb_per_node] if limits.memory_mb_per_node is not None else []
    if node.memory_total is not None:
        most.append(node.memory_total // 2**20 - limits.memory_reserve_mb)
    return all(size.memory_mb <= mb for mb in most)
