"""Accepts orders to save private images: one transaction claims the payment and reserves the image.

The image stands where its source does, so nothing is chosen but a vmid.
"""

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pve402.domain import account, errors, lease, order, placement, price, private_images
from pve402.leases import admission, options, purchases, reservation
from pve402.storage import (
    database,
    fork_rows,
    lease_rows,
    private_image_rows,
    transaction,
    unfinished_rows,
)

SAVE_ROUTE = "POST /lease/{ctid}/image"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SaveRequest:
    """A lease to be saved as a private image."""

    lease_id: str
    name: str
    minutes: int
    snapshot: str | None = None  # the tenant's name of it; None: the disk as it is now

    def canonical(self) -> dict[str, Any]:
        """Return everything that makes two requests the same."""
        return dataclasses.asdict(self)


class SavingOrders:
    """Writes the orders of private images."""

    def __init__(
        self,
        db: database.Database,
        admissions: admission.Admission,
        settings: options.LeaseOptions,
        networks: Sequence[str],
    ) -> None:
        """Keep the parts; a wallet counts as one on all `networks` (CAIP-2)."""
        self._db = db
        self._admissions = admissions
        self._settings = settings
        self._networks = networks

    async def take(
        self,
        asked: SaveRequest,
        source: lease.Lease,
        rates: price.Rates,
        purchase: purchases.Purchase,
        rooms: Sequence[placement.NodeRoom],
    ) -> admission.Taken:
        """Claim the payment, and reserve an image where its source stands.

        `rates` are those of the source's sku, as paid. Raises LeaseBusy, ImageExists,
        TooManyImages, NoCapacity, TooManyUnsettled, WalletMustWait, PaymentReused,
        IdempotencyKeyReused.
        """
        kind = order.OrderKind.CREATION
        new = self._admissions.new_order(purchase, SAVE_ROUTE, asked.canonical(), kind)
        new = dataclasses.replace(new, minutes=asked.minutes)
        wanted = _image(asked, source, rates, purchase.owner)
        async with self._db.begin() as tx:
            await reservation.lock_placement(self._db, tx)
            found = await self._admissions.find_in(tx, purchase, SAVE_ROUTE, new.request_hash)
            if found is not None:
                return found
            await self._admissions.free_riding.check_creation(tx, purchase)
            current = await lease_rows.get_locked(tx, source.lease_id)
            if current is None or _place(current) != _place(source):
                raise errors.LeaseBusy  # the price that was paid is of another size
            await self.check(tx, asked, purchase)
            await self._check_room(tx, wanted, rooms)
            taken = await reservation.reserve_private_image(self._db, tx, wanted, self._settings)
            return await self._admissions.insert(
                tx, dataclasses.replace(new, lease_id=taken.lease_id)
            )

    async def check(
        self, tx: transaction.Transaction, asked: SaveRequest, buyer: purchases.Buyer | None
    ) -> None:
        """Raise ImageExists, TooManyImages, LeaseBusy if the image cannot be had now."""
        standing = await private_image_rows.list_standing(tx)
        kept = [row for row in standing if row.status is not lease.LeaseStatus.UNWINDING]
        if len(kept) >= self._settings.private_images:
            raise private_images.TooManyImages
        private_images.check_unsaved(standing, asked.lease_id)
        await fork_rows.check_none(tx, asked.lease_id)
        if await unfinished_rows.of_lease(tx, asked.lease_id):
            raise errors.LeaseBusy
        if buyer is None:
            return
        accounts = self._accounts_of(buyer)
        own = [row for row in kept if row.account in accounts]
        if any(row.hostname == asked.name for row in own):
            raise private_images.ImageExists
        if len(own) >= self._settings.private_images_per_wallet:
            raise private_images.TooManyImages

    def _accounts_of(self, buyer: purchases.Buyer) -> list[str]:
        if not buyer.by_key:
            return [buyer.owner]
        return account.on_networks(buyer.owner, self._networks)

    async def _check_room(
        self,
        tx: transaction.Transaction,
        wanted: lease.Lease,
        rooms: Sequence[placement.NodeRoom],
    ) -> None:
        usable = await reservation.without_drained(tx, rooms)
        check_room(usable, await lease_rows.list_promises(tx), wanted, self._settings)


def check_room(
    rooms: Sequence[placement.NodeRoom],
    promises: Sequence[placement.Promise],
    row: lease.Lease,
    settings: options.LeaseOptions,
) -> None:
    """Raise NoCapacity if the disk of a lease does not fit a second time where it is."""
    here = placement.beside(rooms, row)
    disk = lease.Size(cores=0, memory_mb=0, disk_gb=row.size.disk_gb)
    limits = dataclasses.replace(settings.limits, leases_per_node=None)
    placement.choose_room(here, promises, disk, allowed=frozenset(), limits=limits)


def _image(asked: SaveRequest, source: lease.Lease, rates: price.Rates, owner: str) -> lease.Lease:
    """Return the row of a private image; its vmid is not reserved yet."""
    kept = {
        private_images.SAVED_FROM: source.lease_id,
        "template": source.metadata.get("template"),
        "snapshot": asked.snapshot,
    }
    return lease.Lease(
        lease_id=lease.new_lease_id(),
        status=lease.LeaseStatus.RESERVED,
        node=source.node,
        storage=source.storage,
        vmid=0,
        owner=private_images.owner_of(owner),
        sku=source.sku,
        size=private_images.size_of(source.size.disk_gb),
        hostname=asked.name,
        template=source.template,
        rates=private_images.rates_of(rates).to_strings(),
        created_at=datetime.now(UTC),  # the insert writes the database's own time
        metadata={name: value for name, value in kept.items() if value},
    )


def _place(row: lease.Lease) -> tuple[object, ...]:
    return row.status, row.node, row.storage, row.vmid, row.size.disk_gb
