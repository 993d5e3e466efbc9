"""A private image as what a new lease is made from: who may choose it, and where it is held.

A lease from an image is made where the image stands, as a full copy: an image must be deletable
once its own time is over, and a storage cannot delete what linked clones share.
"""

from pve402.domain import account, catalogue, errors, lease, placement, private_images, request
from pve402.leases import on_sale, past_copies, purchases
from pve402.storage import database, lease_rows


class Choosing:
    """Finds the private image that a new lease is to be made from."""

    def __init__(self, db: database.Database, selling: on_sale.OnSale) -> None:
        self._db = db
        self._on_sale = selling

    async def rooms(
        self,
        asked: request.CreationRequest,
        sku: catalogue.Sku,
        purchase: purchases.Purchase,
        rooms: list[placement.NodeRoom],
    ) -> list[placement.NodeRoom]:
        """Return where a lease that is bought may be; all rooms unless it is from an image.

        The payer must be proven. Raises as `check`, and ImageNeedsKey for a payer whose guests are
        paid before they start.
        """
        image = await self.check(asked, sku, purchase)
        if image is None:
            return rooms
        if purchase.settles_first:
            raise private_images.ImageNeedsKey
        return placement.beside(rooms, image)

    async def check(
        self, asked: request.CreationRequest, sku: catalogue.Sku, buyer: purchases.Buyer
    ) -> lease.Lease | None:
        """Return the image; None if no private image is asked for.

        Raises UnknownTemplate if the buyer has no such image or the sku cannot have it, ImageEnded,
        LeaseSuspended, OutOfBounds for a disk that is too small, CopiesFailed.
        """
        image_id = private_images.chosen(asked.template)
        if image_id is None:
            return None
        async with self._db.read() as tx:
            image = await lease_rows.get(tx, image_id)
            now = await self._db.time_in(tx)
        if image is None or not image.is_private_image or not image.handed_over:
            raise errors.UnknownTemplate
        if not account.is_same(buyer.owner, image.account, any_chain=buyer.by_key):
            raise errors.UnknownTemplate
        image.check_not_suspended()
        _check_fits(image, asked.size, sku)
        if self._on_sale.now.network_of(sku).is_read_from_guests:  # a copy could name any address
            raise errors.UnknownTemplate(
                "The sku's containers get their address by DHCP; none can be made from this image."
            )
        if not lease.is_usable(image.status, image.expires_at, now):
            raise private_images.ImageEnded
        await past_copies.check(self._db, buyer.owner)
        return image


def _check_fits(image: lease.Lease, size: lease.Size, sku: catalogue.Sku) -> None:
    allows = sku.name == image.sku or bool(sku.rates.image_gb_usd_minute)
    on_node = sku.is_sold_on(image.node)
    on_storage = not sku.storages or image.storage in {None, *sku.storages}
    if not (allows and on_node and on_storage):
        raise errors.UnknownTemplate("The sku has no containers where this image is kept.")
    if size.disk_gb < image.size.disk_gb:
        raise errors.OutOfBounds(f"diskGB must be at least that of the image: {image.size.disk_gb}")
