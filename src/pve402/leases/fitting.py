"""Checks whether there is room for a lease of a given size, before asking for money.

Placement goes through all nodes and promises, which is too much work for an unpaid request. So the
answer for each size is cached until the view of the cluster or the promises are refreshed.
"""

from collections.abc import Sequence

from pve402.domain import catalogue, errors, lease, placement
from pve402.leases import addresses, cluster, firewall_view, options
from pve402.storage import database, lease_rows

_KEPT = 1024


class Fitting:
    """Answers from the latest view of the cluster; the claim itself checks again."""

    def __init__(
        self,
        db: database.Database,
        view: cluster.ClusterView,
        settings: options.LeaseOptions,
        sku_catalogue: catalogue.Catalogue,
        firewalls: firewall_view.FirewallView,
    ) -> None:
        self._db = db
        self._view = view
        self._settings = settings
        self._seen: Sequence[placement.NodeRoom] = ()
        self._catalogue = sku_catalogue
        self._firewalls = firewalls
        self._rooms: Sequence[placement.NodeRoom] = ()
        self._promises: Sequence[placement.Promise] = ()
        self._used_up: frozenset[str] = frozenset()  # networks without a free address
        self._known: dict[tuple[str, lease.Size], bool] = {}

    async def check(self, sku: catalogue.Sku, size: lease.Size) -> None:
        """Raise NoCapacity or ProxmoxUnavailable if there is no room for this size now.

        Raises IsolationUnavailable if the sku's network is isolated and the firewall is off.
        """
        self._firewalls.check(self._catalogue.network_of(sku))
        rooms = await self._view.rooms()
        promises = await self._view.promises(self._db)
        is_new = self._seen is not rooms or self._promises is not promises
        if is_new or len(self._known) >= _KEPT:
            self._seen, self._promises, self._known = rooms, promises, {}
            self._rooms = self._usable(rooms)
            self._used_up = await addresses.used_up(self._db, self._catalogue)
        known = self._known.get((sku.name, size))
        if known is None:
            known = self._known[sku.name, size] = self._fits(sku, size)
        if not known and not await self._stands_ready(sku, size):
            raise errors.NoCapacity

    async def check_return(self, row: lease.Lease) -> None:
        """Raise NoCapacity or ProxmoxUnavailable if a guest in grace could not run again now."""
        rooms = await self._view.rooms()
        promises = await self._view.promises(self._db)
        limits = self._settings.limits
        placement.check_return(
            self._usable(rooms), promises, row.size, node=row.node, limits=limits
        )

    def _usable(self, rooms: Sequence[placement.NodeRoom]) -> Sequence[placement.NodeRoom]:
        return [room for room in rooms if room.node not in self._view.drained]

    def _fits(self, sku: catalogue.Sku, size: lease.Size) -> bool:
        limits = self._settings.limits
        if self._catalogue.network_of(sku).name in self._used_up:
            return False
        try:
            placement.choose_node(
                self._rooms, self._promises, size, allowed=sku.nodes, limits=limits
            )
        except errors.NoCapacity:
            return False
        return True

    async def _stands_ready(self, sku: catalogue.Sku, size: lease.Size) -> bool:
        if not self._settings.warm_kinds:
            return False
        async with self._db.read() as tx:
            return await lease_rows.is_warm(tx, sku.name, size)
