"""Decides which nodes are to have the files of OCI images, and where those may be sold.

Rows that are lacking are written, and rows of files that no image names are forgotten; the files
themselves are left to the operator. A file that became another is tried anew. A node that is away
keeps its rows: its files are still those that were tried.
"""

from collections.abc import Mapping, Sequence

import structlog

from pve402.domain import catalogue, image_tables, oci_files, placement
from pve402.leases import cluster, on_sale
from pve402.storage import database, drain_rows, oci_rows

log = structlog.get_logger(__name__)

State = oci_files.State


class OciPlaces:
    """Compares rows with the catalogue and the cluster; any number of replicas may do so."""

    def __init__(
        self, db: database.Database, view: cluster.ClusterView, selling: on_sale.OnSale
    ) -> None:
        self._db = db
        self._view = view
        self._on_sale = selling

    @property
    def are_sold(self) -> bool:
        """Whether the catalogue sells an OCI image."""
        return any(image.reference for image in self._on_sale.now.images_on_sale)

    async def look(self, rooms: Sequence[placement.NodeRoom]) -> bool:
        """Write what is lacking, and tell the view what may be sold; return if a row fell due."""
        wanted = self._wanted(rooms)
        async with self._db.read() as tx:
            rows = await oci_rows.list_all(tx)
            drained = await drain_rows.names(tx)
        known = {(row.node, row.volume) for row in rows}
        new = sorted(key for key in wanted if key not in known and key[0] not in drained)
        over = [row.file_id for row in rows if self._is_over(row)]
        stale = [row for row in rows if row.file_id not in over and self._is_stale(row)]
        woken = bool(new)
        if new or over or stale:
            async with self._db.begin() as tx:
                for node, volume in new:
                    await oci_rows.want(self._db, tx, node, volume, wanted[node, volume])
                await oci_rows.forget(tx, over)
                for row in stale:
                    woken |= await oci_rows.look_again(self._db, tx, row)
        self._view.note_sellable(
            {
                (row.node, row.volume): row.seen or ""
                for row in rows
                if row.is_sellable and row.file_id not in over
            }
        )
        return woken

    def _wanted(self, rooms: Sequence[placement.NodeRoom]) -> Mapping[tuple[str, str], str]:
        """Return the references by node and volume."""
        return {
            (room.node, image.template): str(image.reference)
            for image, sku in self._sold()
            for room in rooms
            if sku.is_sold_on(room.node)
        }

    def _is_over(self, row: oci_files.OciFile) -> bool:
        """Whether a file's node is gone, or may sell it no more; a node that is away comes back."""
        seen = self._view.latest()
        if seen is not None and all(node.node != row.node for node in seen.nodes):
            return True
        return not any(
            image.template == row.volume and sku.is_sold_on(row.node) for image, sku in self._sold()
        )

    def _sold(self) -> list[tuple[image_tables.Image, catalogue.Sku]]:
        """Return the OCI images on sale, each with every sku that sells it."""
        selling = self._on_sale.now
        return [
            (image, sku)
            for image in selling.images_on_sale
            if image.reference is not None
            for sku in selling.skus.values()
            if image.name in sku.images
        ]

    def _is_stale(self, row: oci_files.OciFile) -> bool:
        """Whether a row that rests does not say what its node shows."""
        if row.fence is not None:
            return False
        shown = self._view.template_on(row.node, row.volume)
        if row.state is State.TRIED:
            is_gone = self._view.lacks(row.node, row.volume)
            return is_gone or (shown is not None and shown.digest != row.seen)
        return row.state is State.WANTED and row.problem is not None and shown is not None
