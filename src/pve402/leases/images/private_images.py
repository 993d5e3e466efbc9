"""The use cases of private images: save a lease, list, renew and delete images.

What can be known is checked before a payment is asked for, and again in the transaction that claims
it. Whose an image is, is known once a payment is verified; anybody else hears that there is none.
"""

from fractions import Fraction
from typing import Final

from pve402.domain import (
    account,
    catalogue,
    errors,
    lease,
    meter,
    oci,
    placement,
    price,
    private_images,
    snapshots,
)
from pve402.leases import admission, on_sale, options, outcome, purchases, service
from pve402.leases.alterations import power, snapshot_calls
from pve402.leases.images import saving_orders
from pve402.leases.images.saving_orders import SaveRequest
from pve402.leases.service import Caller
from pve402.payments import networks
from pve402.proxmox import errors as pve
from pve402.proxmox import guests as pve_guests
from pve402.storage import (
    lease_rows,
    private_image_rows,
    snapshot_rows,
    transaction,
)

_Status = lease.LeaseStatus
_NOT_A_WALLET: Final = "This token is of one lease; sign in with the wallet that owns the images."
_STOP_FIRST: Final = (
    "This container runs: stop it first, or name one of its snapshots. Nothing was charged."
)


class CopyNotPossible(errors.Conflict):
    """Neither the guest as it is now nor the snapshot can be copied."""

    detail = "The storage of this container's disk cannot copy it; nothing was charged."
    code = "copy_not_possible"


class StopFirst(errors.Conflict):
    """The guest runs, and no snapshot is named."""

    detail = _STOP_FIRST
    code = "stop_first"


class PrivateImages:
    """Private images of all wallets; an operator without a rate for them sells none."""

    def __init__(
        self,
        parts: service.Parts,
        leases: service.LeaseService,
        orders: saving_orders.SavingOrders,
        guests: pve_guests.Guests,
    ) -> None:
        self._parts = parts
        self._db = parts.db
        self._leases = leases
        self._orders = orders
        self._guests = guests
        self._settings: options.LeaseOptions = parts.settings
        self._on_sale: on_sale.OnSale = parts.on_sale

    @property
    def at_most(self) -> int:
        """How many images a wallet may keep."""
        return self._settings.private_images_per_wallet

    def lowest_usd(self) -> Fraction:
        """Return the lowest price that an image can have. Raises ImagesNotOffered."""
        skus = self._on_sale.now.skus.values()
        least = private_images.LEAST_MINUTES
        found = [
            _usd(sku.rates, sku.disk_gb.least, least)
            for sku in skus
            if sku.rates.image_gb_usd_minute
        ]
        if not found:
            raise private_images.ImagesNotOffered
        return min(found)

    def prices_of_saving(self, row: lease.Lease, minutes: int) -> list[Fraction]:
        """Return the exact prices to save a lease, today's first.

        Raises ImagesNotOffered, OutOfBounds.
        """
        _check_minutes(minutes)
        if not self._rates(row, self._on_sale.now):
            raise private_images.ImagesNotOffered
        rates = (self._rates(row, sold) for sold in (self._on_sale.now, *self._on_sale.held()))
        found = (_usd(one, row.size.disk_gb, minutes) for one in rates if one is not None)
        return list(dict.fromkeys(found))

    def prices_of_renewal(self, image: lease.Lease, minutes: int) -> list[Fraction]:
        """Return the exact prices to keep an image longer, today's first.

        Once its sku offers none, an image costs what it burns.
        """
        _check_minutes(minutes)
        sold = (self._on_sale.now, *self._on_sale.held())
        rates = [one for one in (self._rates(image, each) for each in sold) if one is not None]
        if not self._rates(image, self._on_sale.now):
            metered = meter.of(image)
            burn = meter.burn_of(image.rates, image.size) if metered is None else metered.burn
            return [meter.minute_usd(burn) * minutes]
        return list(dict.fromkeys(_usd(one, image.size.disk_gb, minutes) for one in rates))

    async def check_saving(
        self, row: lease.Lease, asked: SaveRequest, buyer: purchases.Buyer | None = None
    ) -> None:
        """Raise the error that `save` would get now, before a payment is asked for.

        Raises ImagesNotOffered, OutOfBounds, PaidTooFarAhead, StopFirst, CopyNotPossible,
        SnapshotNotFound, ContainerLocked, LeaseBusy, ImageExists, TooManyImages, NoCapacity, and
        the errors of `power.check_running_time`.
        """
        private_images.check_name(asked.name)
        self.prices_of_saving(row, asked.minutes)
        if asked.minutes * 60 > self._settings.paid_ahead_limit_seconds:
            days = self._settings.paid_ahead_limit_seconds / 86400
            raise errors.PaidTooFarAhead(f"at most {days:g} days may be paid ahead")
        if oci.is_file(row.template):  # what its containers need more is not known of a copy
            raise CopyNotPossible("Containers from OCI images cannot be saved.")
        power.check_running_time(row)
        row.check_usable(await self._db.time())
        async with self._db.read() as tx:
            await self._orders.check(tx, asked, buyer)
            snapshot = await _snapshot_of(tx, row, asked.snapshot)
        await self._check_copy(row, snapshot)
        promises = await self._parts.view.promises(self._db)
        saving_orders.check_room(await self._rooms(), promises, row, self._settings)

    async def save(
        self,
        row: lease.Lease,
        asked: SaveRequest,
        purchase: purchases.Purchase,
        caller: Caller | None,
    ) -> outcome.Answer:
        """Save a lease as an image of the payer's: claim, copy, settle, hand over.

        Raises LeaseNotFound unless the payer is the lease's owner or the caller has a token of the
        lease, ImageNeedsKey for a payer who could lease nothing from it, and the errors of
        `check_saving`. After ProvisioningFailed nothing was charged.
        """
        payer_owns = account.is_same(purchase.owner, row.account, any_chain=purchase.by_key)
        if not payer_owns and not service.may_manage(caller, row):
            raise errors.LeaseNotFound
        find = self._parts.admissions.find
        taken = await find(purchase, saving_orders.SAVE_ROUTE, asked.canonical())
        if taken is None:
            taken = await self._take(row, asked, purchase)
        return await self._leases.answer(taken, purchase)

    async def _take(
        self, row: lease.Lease, asked: SaveRequest, purchase: purchases.Purchase
    ) -> admission.Taken:
        await self._parts.rules.check_owner(row)
        await self._parts.rules.check_purchase(purchase)
        purchase = await self._leases.verify(purchase)
        if purchase.settles_first:  # nothing could be leased from it
            raise private_images.ImageNeedsKey
        await self.check_saving(row, asked, purchase)
        rates = self._rates_as_paid(row, asked.minutes, purchase)
        taken = await self._orders.take(asked, row, rates, purchase, await self._rooms())
        if taken.new:
            self._parts.lease_worker.begin(taken.order)
        return taken

    async def list_of(self, caller: Caller) -> list[lease.Lease]:
        """Return the images of a wallet, or the one of an image's token, oldest first.

        Raises NotAllowed for a token of another lease.
        """
        async with self._db.read() as tx:
            if caller.lease_id is not None:
                own = await lease_rows.get(tx, caller.lease_id)
                if own is None or not own.is_private_image:
                    raise errors.NotAllowed(_NOT_A_WALLET)
                return [own]
            accounts = [caller.owner]
            if caller.by_key:
                accounts = account.on_networks(caller.owner, self._parts.networks)
            found = await private_image_rows.list_of(tx, accounts)
        return [row for row in found if service.may_manage(caller, row)]

    async def find(self, image_id: str, caller: Caller | None = None) -> lease.Lease:
        """Return an image by its id; with a caller, only one of the caller's.

        Raises ImageNotFound.
        """
        if not lease.is_lease_id(image_id):
            raise private_images.ImageNotFound
        async with self._db.read() as tx:
            found = await lease_rows.get(tx, image_id)
        if found is None or not found.is_private_image or not found.handed_over:
            raise private_images.ImageNotFound
        if caller is not None and not service.may_manage(caller, found):
            raise private_images.ImageNotFound
        return found

    async def check_renewable(self, image: lease.Lease, minutes: int) -> None:
        """Raise the error that a renewal would get now, before a payment is asked for."""
        self.prices_of_renewal(image, minutes)
        await self._leases.check_renewable(image, minutes)

    async def renew(
        self, image: lease.Lease, minutes: int, purchase: purchases.Purchase, caller: Caller | None
    ) -> outcome.Answer:
        """Keep an image longer. Raises ImageNotFound unless it is the payer's or the caller's."""
        try:
            return await self._leases.renew(image, minutes, purchase, caller)
        except errors.LeaseNotFound:
            raise private_images.ImageNotFound from None

    async def end(self, image: lease.Lease) -> lease.Lease:
        """Delete an image, without a refund. Raises LeaseBusy, LeaseSuspended."""
        return await self._leases.end(image)

    async def _check_copy(self, row: lease.Lease, snapshot: str | None) -> None:
        """Raise what keeps a guest, or a snapshot of it, from being copied now."""
        ref = snapshot_calls.ref(row)
        try:
            status = await self._guests.status(ref)
            if status.lock:
                raise snapshots.ContainerLocked
            if snapshot is None and status.state is not pve_guests.RunState.STOPPED:
                raise StopFirst
            if not await self._guests.can_copy(ref, snapshot=snapshot):
                raise CopyNotPossible
        except pve.GuestMissing as error:
            raise errors.LeaseNotReady from error

    async def _rooms(self) -> list[placement.NodeRoom]:
        drained = self._parts.view.drained
        return [room for room in await self._parts.view.rooms() if room.node not in drained]

    def _rates(self, row: lease.Lease, sold: catalogue.Catalogue) -> price.Rates | None:
        """Return the rates of a lease's sku, if it offers images."""
        sku = sold.skus.get(row.sku)
        return sku.rates if sku is not None and sku.rates.image_gb_usd_minute else None

    def _rates_as_paid(
        self, row: lease.Lease, minutes: int, purchase: purchases.Purchase
    ) -> price.Rates:
        """Return the rates at which an image was paid, which it keeps."""
        terms = purchase.requirements
        decimals = networks.BY_CAIP2[terms.network].decimals
        sold = (self._on_sale.now, *self._on_sale.held())
        rates = [one for one in (self._rates(row, each) for each in sold) if one is not None]
        if not rates:
            raise private_images.ImagesNotOffered
        paid = (
            one
            for one in rates
            if price.atomic_units(_usd(one, row.size.disk_gb, minutes), decimals)
            == terms.amount_atomic
        )
        return next(paid, rates[0])


async def _snapshot_of(
    tx: transaction.Transaction, row: lease.Lease, name: str | None
) -> str | None:
    """Return what Proxmox calls a snapshot. Raises SnapshotNotFound."""
    if name is None:
        return None
    found = await snapshot_rows.of_lease(tx, row.lease_id)
    named = next((one for one in found if one.name == name and not one.is_temporary), None)
    if named is None or named.state is not snapshots.State.THERE:
        raise snapshots.SnapshotNotFound
    return named.pve_name


def _check_minutes(minutes: int) -> None:
    least = private_images.LEAST_MINUTES
    if not least <= minutes <= catalogue.MAX_MINUTES:
        raise errors.OutOfBounds(f"runtimeMinutes must be {least} to {catalogue.MAX_MINUTES}")


def _usd(rates: price.Rates, disk_gb: int, minutes: int) -> Fraction:
    kept, size = private_images.rates_of(rates), private_images.size_of(disk_gb)
    return price.lease_price_usd(kept, size, minutes)
