"""Checks whether there is room for a lease of a given size, before asking for money.

Placement goes through all nodes and promises, which is too much work for an unpaid request. So the
answer for each size is cached until the view of the cluster or the promises are refreshed.
"""

from collections.abc import Sequence

from pve402.domain import catalogue, errors, lease, placement
from pve402.leases import addresses, cluster, firewall_view, on_sale, options, sdn_ranges
from pve402.storage import database, lease_rows

_KEPT = 1024
_NOT_HERE = "No node makes containers of this template right now; nothing was charged."


class Fitting:
    """Answers from the latest view of the cluster; the claim itself checks again."""

    def __init__(
        self,
        db: database.Database,
        view: cluster.ClusterView,
        settings: options.LeaseOptions,
        selling: on_sale.OnSale,
        firewalls: firewall_view.FirewallView,
        ranges: sdn_ranges.SdnRanges,
    ) -> None:
        self._ranges = ranges
        self._db = db
        self._view = view
        self._settings = settings
        self._seen: Sequence[placement.NodeRoom] = ()
        self._on_sale = selling
        self._catalogue: catalogue.Catalogue | None = None
        self._firewalls = firewalls
        self._promises: Sequence[placement.Promise] = ()
        self._used_up: frozenset[str] = frozenset()  # networks without a free address
        self._known: dict[tuple[str, lease.Size, frozenset[tuple[str, str]]], bool] = {}

    async def check(
        self, sku: catalogue.Sku, size: lease.Size, template: str | None = None
    ) -> None:
        """Raise NoCapacity or ProxmoxUnavailable if there is no room for this size now.

        `template` is the tenants' name of one of the sku's templates; None: its usual one.

        Raises IsolationUnavailable if the sku's network is isolated and the firewall is off.
        """
        now = self._on_sale.now
        self._firewalls.check(now.network_of(sku))
        rooms = await self._view.rooms()
        promises = await self._view.promises(self._db)
        is_new = self._seen is not rooms or self._promises is not promises
        if is_new or self._catalogue is not now or len(self._known) >= _KEPT:
            self._seen, self._promises, self._known = rooms, promises, {}
            self._catalogue = now
            of_pools = await addresses.used_up(self._db, now)
            self._used_up = of_pools | await self._ranges.used_up(now)
        volume = sku.template_volume(template, self._settings.default_template)
        fit = await self._view.rooms_for(volume)
        usable = self._usable(fit)
        places = frozenset((room.node, room.storage) for room in usable)
        known = self._known.get((sku.name, size, places))
        if known is None:
            known = self._known[sku.name, size, places] = self._fits(sku, size, usable)
        if not known and not await self._stands_ready(sku, size):
            raise errors.NoCapacity(None if fit or not rooms else _NOT_HERE)

    async def check_beside(
        self,
        sku: catalogue.Sku,
        size: lease.Size,
        rooms: Sequence[placement.NodeRoom],
        count: int,
    ) -> None:
        """Raise NoCapacity if so many guests of a size do not fit into these rooms now.

        Raises IsolationUnavailable as `check` does.
        """
        now = self._on_sale.now
        network = now.network_of(sku)
        self._firewalls.check(network)
        gone = await addresses.used_up(self._db, now) | await self._ranges.used_up(now)
        if network.name in gone:
            raise errors.NoCapacity
        promises = list(await self._view.promises(self._db))
        for _ in range(count):
            room = placement.choose_room(
                self._usable(rooms),
                promises,
                size,
                allowed=sku.nodes,
                limits=self._settings.limits,
                storages=sku.storages,
            )
            storage = room.storage or None
            one = placement.Promise(node=room.node, storage=storage, size=size, made=False)
            promises.append(one)

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

    def _fits(
        self, sku: catalogue.Sku, size: lease.Size, rooms: Sequence[placement.NodeRoom]
    ) -> bool:
        limits = self._settings.limits
        if self._on_sale.now.network_of(sku).name in self._used_up:
            return False
        try:
            placement.choose_room(
                rooms,
                self._promises,
                size,
                allowed=sku.nodes,
                limits=limits,
                storages=sku.storages,
            )
        except errors.NoCapacity:
            return False
        return True

    async def _stands_ready(self, sku: catalogue.Sku, size: lease.Size) -> bool:
        if not self._settings.warm_kinds:
            return False
        async with self._db.read() as tx:
            return await lease_rows.is_warm(tx, sku.name, size)
