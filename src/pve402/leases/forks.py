"""Lets a tenant lease copies of a guest: what can be copied, for how much, and the order for it."""

import dataclasses
import time
from collections.abc import Sequence
from fractions import Fraction

from pve402.domain import (
    errors,
    forks,
    lease,
    making,
    oci,
    order,
    placement,
    request,
    snapshots,
)
from pve402.leases import (
    admission,
    fork_admission,
    machine,
    outcome,
    past_copies,
    purchases,
    service,
)
from pve402.leases.alterations import snapshot_calls
from pve402.proxmox import errors as pve
from pve402.proxmox import guests as pve_guests
from pve402.proxmox import snapshots as pve_snapshots
from pve402.storage import order_rows, snapshot_rows

_SETTLED = order.OrderStatus.SETTLED
_COPY_SNAPSHOTS = frozenset({"btrfs", "lvmthin", "rbd"})
"""Types of storages that copy a container's snapshot (PVE/Storage/*Plugin.pm, `copy`)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Offer:
    """Whether and how a lease's guest can be copied now."""

    way: forks.Way | None
    refusal: errors.Pve402Error | None  # why not
    at_most: int  # copies at once
    minute_usd: Fraction | None  # of one copy; None: its size is not on sale

    @property
    def needs_stop(self) -> bool:
        """Whether it could be copied if it were down."""
        return isinstance(self.refusal, forks.ForkNeedsStop)


class Forks:
    """Forks of all leases; an operator who allows none switches them off."""

    def __init__(
        self,
        parts: service.Parts,
        accepting: fork_admission.ForkAdmission,
        machines: machine.Machines,
        guests: pve_guests.Guests,
        on_proxmox: pve_snapshots.GuestSnapshots,
        selling: service.LeaseService,
    ) -> None:
        self._parts = parts
        self._db = parts.db
        self.settings = parts.settings
        self._accepting = accepting
        self._machines = machines
        self._guests = guests
        self._on_proxmox = on_proxmox
        self._service = selling

    @property
    def at_most(self) -> int:
        """How many copies one payment may buy; 0 if none are made."""
        return self.settings.forks_at_once

    def check_on(self) -> None:
        """Raise ForksOff if the operator allows none."""
        if self.at_most == 0:
            raise forks.ForksOff

    def check_count(self, asked: request.CreationRequest) -> None:
        """Raise ForksOff or OutOfBounds if the operator allows fewer copies at once."""
        self.check_on()
        if asked.count > self.at_most:
            raise errors.OutOfBounds(f"count must be 1 to {self.at_most}")

    async def offer(self, row: lease.Lease, snapshot: str | None = None) -> Offer:
        """Return whether a guest can be copied now. Raises ProxmoxErrors."""
        way: forks.Way | None = None
        refused: errors.Pve402Error | None = None
        try:
            way = await self.check(row, snapshot)
        except (errors.Conflict, errors.LeaseNotFound) as refusal:
            refused = refusal
        usd = self._minute_usd(row)
        return Offer(way=way, refusal=refused, at_most=self.at_most, minute_usd=usd)

    def _minute_usd(self, row: lease.Lease) -> Fraction | None:
        sku = self._service.catalogue.skus.get(row.sku)
        if sku is None:
            return None
        return sku.price_usd(row.size, 2) - sku.price_usd(row.size, 1)

    async def check(self, row: lease.Lease, snapshot: str | None = None) -> forks.Way:
        """Return how a guest can be copied now; raise what a fork of it would get.

        Raises ForksOff, SnapshotNotFound, ForkNeedsStop, ForkUnsupported, ForkEndsTooSoon,
        ContainerLocked, LeaseBusy, LeaseNotReady, LeaseOver, LeaseSuspended, ProxmoxErrors.
        """
        self.check_on()
        self._check_network(row)
        fork_admission.check_source(row, await self._db.time())
        async with self._db.read() as tx:
            await fork_admission.check_idle(tx, row)
            found = await snapshot_rows.of_lease(tx, row.lease_id)
        try:
            if oci.is_file(row.template):  # what its containers need more is not known of a copy
                raise forks.ForkUnsupported(
                    "Containers from OCI images cannot be copied; nothing was charged."
                )
            config = await self._guests.config(snapshot_calls.ref(row))
            if config.lock:
                raise snapshots.ContainerLocked
            if snapshot is not None:
                return await self._of_snapshot(row, _named(found, snapshot))
            return await self._of_guest(row)
        except pve.GuestMissing as error:
            raise errors.LeaseNotReady from error

    def _check_network(self, row: lease.Lease) -> None:
        """Raise ForkUnsupported where guests tell us their address: a copy could name any."""
        sku = self._service.catalogue.skus.get(row.sku)
        if sku is not None and self._service.catalogue.network_of(sku).is_read_from_guests:
            raise forks.ForkUnsupported(
                "Addresses on this container's network come from DHCP, so no copy can be given"
                " one; nothing was charged."
            )

    async def create(
        self,
        row: lease.Lease,
        asked: request.CreationRequest,
        purchase: purchases.Purchase,
    ) -> outcome.Answer:
        """Lease copies of a guest. Raises as `LeaseService.create`, and as `check`.

        Once they are paid for, each is returned as it is, delivered or not. Raises PaymentOwed and
        DeliveryPending only if none is or may be delivered besides the first.
        """
        give_up_at = time.monotonic() + purchase.wait_seconds  # for all copies together
        taken = await self._accepting.find(asked, purchase)
        if taken is None:
            taken = await self._take(row, asked, purchase)
            if taken.new:
                self._parts.lease_worker.begin(taken.order)
        try:
            first = await self._service.answer(taken, purchase)
        except (errors.PaymentOwed, errors.DeliveryPending):
            others = await self._others(taken, purchase, give_up_at)
            if not any(one.order.is_open or one.order.status is _SETTLED for one in others):
                raise
            now = await self._parts.outcomes.read(taken.order.order_id)  # delivered since, perhaps
            may_see = await self._service.may_see_token(taken, purchase)
            first = await self._answer(now, shows_token=may_see)
        else:
            others = await self._others(taken, purchase, give_up_at)
        return dataclasses.replace(first, others=others)

    async def _others(
        self, taken: admission.Taken, purchase: purchases.Purchase, give_up_at: float
    ) -> tuple[outcome.Answer, ...]:
        """Return what else a payment bought; what takes longer than the client waits is open."""
        if taken.order.parts == 1:
            return ()
        async with self._db.read() as tx:
            rows = await order_rows.list_parts(tx, taken.order.order_id)
        if purchase.wait_seconds > 0:
            until = self._parts.outcomes.until_closed
            rows = [await until(one, max(0.0, give_up_at - time.monotonic())) for one in rows]
        may_see = await self._service.may_see_token(taken, purchase)
        return tuple([await self._answer(one, shows_token=may_see) for one in rows])

    async def _answer(self, row: order.Order, *, shows_token: bool) -> outcome.Answer:
        """Return what became of one copy; its token only once it is delivered."""
        shows_token &= row.status is _SETTLED
        token = self._parts.secret_vault.lease_token(row.order_id) if shows_token else None
        found = await self._parts.outcomes.lease_of(row)
        return outcome.Answer(lease=found, order=row, access_token=token)

    async def _take(
        self, row: lease.Lease, asked: request.CreationRequest, purchase: purchases.Purchase
    ) -> admission.Taken:
        self.check_count(asked)
        way = await self.check(row, asked.snapshot)
        selling = self._service.catalogue
        sku = asked.check(selling)
        how = making.of_sku(selling, sku)
        self._parts.firewalls.check(how.network)
        rooms = await self._rooms(row)
        await self._parts.rules.check_purchase(purchase)
        await self._parts.rules.check_owner(row)
        purchase = await self._service.verify(purchase)
        await past_copies.check(self._db, purchase.owner)
        if purchase.settles_first:
            raise errors.PaymentRefused(
                "A fork cannot be paid by a contract wallet; nothing was charged.",
                reason=forks.CONTRACT_PAYER,
            )
        sku = self._service.prices.as_paid(sku, asked, purchase.requirements)
        return await self._accepting.take(row, way, asked, purchase, sku=sku, how=how, rooms=rooms)

    async def check_room(self, row: lease.Lease, asked: request.CreationRequest) -> None:
        """Raise NoCapacity if there is no room for a copy beside the guest, before any payment."""
        sku = asked.check(self._service.catalogue)
        await self._service.fitting.check_beside(
            sku, asked.size, await self._rooms(row), asked.count
        )

    async def _rooms(self, row: lease.Lease) -> Sequence[placement.NodeRoom]:
        return placement.beside(await self._parts.view.rooms(), row)

    async def _of_snapshot(self, row: lease.Lease, one: snapshots.Snapshot) -> forks.Way:
        name, ref = one.pve_name, snapshot_calls.ref(row)
        if self._links(row) and await self._guests.can_link(ref, snapshot=name):
            return forks.Way(snapshot=name, is_linked=True)
        if self._copies_snapshots(row) and await self._guests.can_copy(ref, snapshot=name):
            return forks.Way(snapshot=name)
        raise forks.ForkUnsupported

    async def _of_guest(self, row: lease.Lease) -> forks.Way:
        ref = snapshot_calls.ref(row)
        if self._copies_snapshots(row) and await self._on_proxmox.are_possible(ref):
            return forks.Way(takes_snapshot=True, is_linked=self._links(row))
        if not await self._guests.can_copy(ref):
            raise forks.ForkUnsupported
        is_down = await self._machines.look(row) is machine.Sight.STOPPED
        if row.is_to_run or not is_down:
            raise forks.ForkNeedsStop
        return forks.Way()

    def _links(self, row: lease.Lease) -> bool:
        """Whether clones of snapshots can be linked; elsewhere only those of templates can."""
        return self._parts.view.storage_type(row.node, row.storage or "") == "btrfs"

    def _copies_snapshots(self, row: lease.Lease) -> bool:
        return self._parts.view.storage_type(row.node, row.storage or "") in _COPY_SNAPSHOTS


def _named(found: Sequence[snapshots.Snapshot], name: str) -> snapshots.Snapshot:
    one = next((one for one in found if one.name == name and not one.is_temporary), None)
    if one is None or one.state is not snapshots.State.THERE:
        raise snapshots.SnapshotNotFound
    return one
