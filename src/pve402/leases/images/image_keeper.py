"""Keeps images prepared: one for each place where guests of an image may be made.

The keeper is a reconciler, as the filler of the warm pool is, and works under the placement lock,
so any number of replicas may run it. A place is a storage of a node, if it can link clones. On a
shared storage one image serves the places of all nodes; if its node is down or being emptied,
another node prepares one, and of two that serve the same places the older goes after an hour. An
image of another source than today's, or for no place of today's, is cloned no more; it is destroyed
once no clone of it stands.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime

import structlog

from pve402.domain import errors, image_tables, lease, placement
from pve402.leases import cluster, moves, on_sale, options, reservation, rounds
from pve402.leases.images import oci_places, preparing
from pve402.storage import (
    database,
    drain_rows,
    image_rows,
    lease_rows,
    oci_rows,
    queue,
    transaction,
)

log = structlog.get_logger(__name__)

Status = lease.LeaseStatus
REPLACED = "image_replaced"
SURPLUS = "image_surplus"
SURPLUS_SECONDS = 3600.0
"""How long a storage keeps a second image: its node may come and go, and earlier versions of the
service, which prepare one for each node, may still be running."""
LINKING = frozenset({"lvmthin", "zfspool", "btrfs", "rbd"})
"""Types of storages that make linked clones of containers (PVE/Storage/*Plugin.pm)."""
INTERVAL_SECONDS = 10.0
_REST_SECONDS = 600.0  # with nothing to keep; a new catalogue ends it
_TROUBLE_SECONDS = 600.0
_CORES, _MEMORY_MB = 1, 128  # of what is never started


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """Where an image is to stand, and what it is made from there."""

    image: image_tables.Image
    room: placement.NodeRoom
    disk_gb: int
    source: str | None  # a digest; None: the node does not show the file now

    @property
    def key(self) -> tuple[str, str, str | None]:
        """What tells places apart, as in `key_of`."""
        return self.image.template, self.room.node, self.room.storage or None

    def is_met_by(self, row: lease.Lease) -> bool:
        """Whether an image is what it would be if it were made now; unless known, it is."""
        made = (row.made_of, row.size.disk_gb)
        return key_of(row) == self.key and (
            row.made_of is not None if self.source is None else made == (self.source, self.disk_gb)
        )


def key_of(row: lease.Lease) -> tuple[str, str, str | None]:
    """Return the source and the place of an image."""
    return row.template, row.node, row.storage


class ImageKeeper:
    """Orders images, and retires those that are not wanted any more."""

    def __init__(
        self,
        db: database.Database,
        view: cluster.ClusterView,
        settings: options.LeaseOptions,
        selling: on_sale.OnSale,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._view = view
        self._settings = settings
        self._on_sale = selling
        self._clock = clock
        self._surplus_since: dict[str, float] = {}  # by lease id of an image
        self._oci = oci_places.OciPlaces(db, view, selling)
        self._on_due: Callable[[], None] = lambda: None
        self._rounds = rounds.Rounds("images", self._run, INTERVAL_SECONDS)
        selling.when_replaced(self._rounds.wake)

    def start(self, on_due: Callable[[], None] = lambda: None) -> None:
        """Start in the background; call `on_due` when a file of an OCI image is to be looked at."""
        self._on_due = on_due
        self._rounds.start()

    async def stop(self) -> None:
        """Stop the loop; the worker goes on with images in the making."""
        await self._rounds.stop()

    async def run_once(self) -> bool:
        """Order and retire what is to be; return whether there is anything to keep.

        Raises ProxmoxUnavailable.
        """
        async with self._db.read() as tx:
            rows = await image_rows.list_standing(tx)
            has_files = await oci_rows.has_any(tx)
        prepare = any(one.prepare for one in self._on_sale.now.images_on_sale)
        has_oci = has_files or self._oci.are_sold
        if has_oci and await self._oci.look(await self._view.rooms()):
            self._on_due()
        if not rows and not prepare:
            return has_oci
        places = self.places(await self._view.rooms())
        async with self._db.begin() as tx:
            await reservation.lock_placement(self._db, tx)
            drained = await drain_rows.names(tx)
            wanted = [place for place in places if place.room.node not in drained]
            rows = await image_rows.list_standing(tx)
            await self._retire(tx, wanted, rows, drained)
            for place in wanted:
                ordered = await self._order(tx, place, rows, drained)
                rows += [] if ordered is None else [ordered]
        return True

    def places(self, rooms: Sequence[placement.NodeRoom]) -> list[Place]:
        """Return where images are to stand, each source once for a place.

        The smallest come first, as they serve the others too.
        """
        found: dict[tuple[str, str, str | None], Place] = {}
        for place in sorted(self._places(rooms), key=lambda place: place.disk_gb):
            found.setdefault(place.key, place)
        return list(found.values())

    def _places(self, rooms: Sequence[placement.NodeRoom]) -> Iterator[Place]:
        selling = self._on_sale.now
        for image in selling.images_on_sale:
            if not image.prepare:
                continue
            for sku in selling.skus.values():
                for room in rooms if image.name in sku.images else ():
                    allowed = sku.is_sold_on(room.node) and room.storage in sku.storages
                    if allowed and self._view.storage_type(room.node, room.storage) in LINKING:
                        source = self._view.source_on(room.node, image.template)
                        yield Place(
                            image=image, room=room, disk_gb=sku.disk_gb.least, source=source
                        )

    def _serves(self, row: lease.Lease, place: Place, drained: Collection[str]) -> bool:
        """Whether an image is what a place needs, or will be: its own, or another node's."""
        if row.end_reason is not None:
            return False
        if place.is_met_by(row):
            return True
        template, node, storage = place.key
        return (
            (row.template, row.storage) == (template, storage)
            and row.size.disk_gb <= place.disk_gb
            and row.made_of is not None
            and row.node not in {node, *drained}
            and self._view.source_on(row.node, template) in {None, row.made_of}
            and self._view.can_lend(row.node, node, storage, template)
        )

    def _surplus(
        self, wanted: Sequence[Place], rows: Sequence[lease.Lease], drained: Collection[str]
    ) -> set[str]:
        """Return the images whose places others have served for an hour.

        Of two images the smaller one stays, as it serves more, or of equal ones the newer.
        """
        there = [row for row in rows if row.status is Status.STOPPED]
        there.sort(key=lambda row: -row.size.disk_gb)
        needless = {
            row.lease_id
            for number, row in enumerate(there)
            for place in wanted
            if place.is_met_by(row)
            and any(self._serves(later, place, drained) for later in there[number + 1 :])
        }
        now = self._clock()
        self._surplus_since = {one: self._surplus_since.get(one, now) for one in needless}
        over = now - SURPLUS_SECONDS
        return {one for one, since in self._surplus_since.items() if since <= over}

    async def _retire(
        self,
        tx: transaction.Transaction,
        wanted: Sequence[Place],
        rows: Sequence[lease.Lease],
        drained: Collection[str],
    ) -> None:
        """Retire images that no place wants as they are; the unused ones fall due.

        One that was retired is never cloned again, whatever is wanted since. One whose storage is
        away for now stays: the node may be just being restarted.
        """
        surplus = self._surplus(wanted, rows, drained)
        over = [
            row
            for row in rows
            if row.status is Status.STOPPED
            and row.deletes_at is None
            and (
                row.end_reason
                or row.lease_id in surplus
                or not any(place.is_met_by(row) for place in wanted)
            )
            and not self._view.is_away(row.node, row.storage)
        ]
        if not over:
            return
        names = [row.lease_id for row in over]
        await image_rows.lock(tx, names)
        copied = await image_rows.copied(tx, names)
        for row in over:
            is_copied = row.lease_id in copied
            if is_copied and row.end_reason is not None:
                continue
            log.info("image_retired", image=row.sku, vmid=row.vmid, has_clones=is_copied)
            reason = SURPLUS if row.lease_id in surplus else REPLACED
            with contextlib.suppress(queue.FenceLostError):
                await moves.retire_image(self._db, tx, row, reason, is_copied=is_copied)

    async def _order(
        self,
        tx: transaction.Transaction,
        place: Place,
        rows: Sequence[lease.Lease],
        drained: Collection[str],
    ) -> lease.Lease | None:
        """Write the row of an image that a place lacks, if nothing keeps it from being made."""
        if place.source is None or any(self._serves(row, place, drained) for row in rows):
            return None
        if any(key_of(row) == place.key and preparing.is_in_making(row) for row in rows):
            return None
        failed = await image_rows.list_failed(tx, self._db.now(-_TROUBLE_SECONDS))
        if any(key_of(row) == place.key for row in failed):
            return None
        size = lease.Size(cores=_CORES, memory_mb=_MEMORY_MB, disk_gb=place.disk_gb)
        promises = await lease_rows.list_promises(tx)
        limits = dataclasses.replace(self._settings.limits, leases_per_node=None)
        with contextlib.suppress(errors.NoCapacity):  # tenants use the room; look again later
            placement.choose_room([place.room], promises, size, allowed=frozenset(), limits=limits)
            row = lease.Lease(
                lease_id=lease.new_lease_id(),
                status=Status.RESERVED,
                node=place.room.node,
                storage=place.room.storage or None,
                vmid=0,
                owner=lease.IMAGE,
                sku=place.image.name,
                size=size,
                hostname="",
                template=place.image.template,
                rates={},
                created_at=datetime.now(UTC),  # the insert writes the database's own time
                made_of=place.source,
            )
            return await reservation.reserve_image(self._db, tx, row, self._settings)
        return None

    async def _run(self) -> None:
        self._rounds.pause_seconds = INTERVAL_SECONDS
        if not await self.run_once():
            self._rounds.pause_seconds = _REST_SECONDS
