"""Creates guests again, elsewhere if possible: paid ones that do not come up, and unpaid ones.

A paid guest that does not come up is destroyed first.

The lease keeps its leaseId while its old guest is certainly gone. A guest that cannot be looked at
or destroyed, because its node is dead or a lock on it is stale, keeps the old lease, which unwinds
by itself whenever that becomes possible; the order then gets a new lease.
"""

import contextlib
from datetime import timedelta
from typing import Protocol

import structlog

from pve402.domain import errors, lease, making, placement
from pve402.leases import (
    deals,
    guest_networks,
    machine,
    on_sale,
    options,
    reservation,
    workflow,
)
from pve402.proxmox import errors as pve

log = structlog.get_logger(__name__)

_LEAST_PAUSE_SECONDS = 5.0
_MOST_PAUSE_SECONDS = 600.0
MOST_VMIDS = 3
"""How many an order may use up.

The vmid may be what is wrong, such as by a lock on it; but each one given up rests for a day, and a
container that cannot be delivered is tried for as long.
"""
_ABANDONED = "guest_abandoned"
#: After those an order gets another lease only so seldom, as each may keep its vmid and its room.
_SELDOM_SECONDS = 6 * 3600.0
_MOST_ASKED = 2
MOST_PLACES = 4
"""In how many places an unpaid guest is tried."""
_MOST_LEASES = 1024
_UNASKED = lease.LeaseStatus.RESERVED
Place = tuple[str, str]  # a node and a storage of it


class Rooms(Protocol):
    """The free room on the nodes."""

    def note_unfit(self, node: str, template: str, storage: str | None) -> None:
        """Remember that guests of a template cannot be made on a storage of a node."""

    async def rooms(self) -> list[placement.NodeRoom]:
        """Return the nodes' free room; raise ProxmoxUnavailable if it is unknown."""

    async def rooms_for(self, template: str) -> list[placement.NodeRoom]:
        """Return the free room on nodes that have a template; raise as `rooms`."""


class Anew:
    """Creates guests again, on other nodes where there is one."""

    def __init__(
        self,
        deal_writer: deals.Deals,
        machines: machine.Machines,
        view: Rooms,
        selling: on_sale.OnSale,
        settings: options.LeaseOptions,
        guest_network: guest_networks.GuestNetworks,
    ) -> None:
        self._networks = guest_network
        self._tried: dict[str, set[Place]] = {}
        self._deals = deal_writer
        self._machines = machines
        self._view = view
        self._on_sale = selling
        self._settings = settings

    async def make(self, deal: deals.Deal, reason: str) -> None:
        """Start a paid lease over; always raises RetryLater.

        Failures are retried, because the money has already moved.
        """
        log.error("paid_guest_made_anew", lease=deal.lease.lease_id, reason=reason)
        try:
            is_gone = await self._is_gone(deal)
            if not is_gone and not await self._may_be_replaced(deal):
                raise workflow.RetryLater(f"the old guest is not gone yet: {reason}")
            rooms = await self._rooms(deal.lease)
            if is_gone:
                await self._move(deal, rooms)
            else:
                await self._replace(deal, rooms)
        except (errors.NoCapacity, errors.ProxmoxUnavailable) as error:
            raise workflow.RetryLater(workflow.reason_of(error)) from error
        pause = await self._pause_seconds(deal)
        raise workflow.RetryLater(f"made anew: {reason}", after_seconds=pause)

    async def _rooms(self, row: lease.Lease) -> list[placement.NodeRoom]:
        """Return where a guest may be made anew; a copy is made beside what it is a copy of."""
        if not row.is_copy:
            return await self._view.rooms_for(row.template)
        return placement.beside(await self._view.rooms(), row)

    def note_unfit(self, deal: deals.Deal) -> None:
        """Remember that the lease's node cannot make its guest."""
        self._view.note_unfit(deal.lease.node, deal.lease.template, deal.lease.storage)

    async def is_too_long(self, deal: deals.Deal) -> bool:
        """Return whether the present try to deliver a paid lease takes longer than a creation."""
        return await self._takes_longer(deal, self._settings.creation_limit_seconds)

    async def _may_be_replaced(self, deal: deals.Deal) -> bool:
        """Return whether a lease whose guest may be there may be left to unwind by now."""
        limit = self._settings.creation_limit_seconds
        if self._keeps_vmid(deal):
            limit = _SELDOM_SECONDS
        return await self._takes_longer(deal, limit)

    async def _takes_longer(self, deal: deals.Deal, seconds: float) -> bool:
        began = deal.order.tried_at or deal.order.settled_at
        return began is not None and await self._deals.db.time() > began + timedelta(
            seconds=seconds
        )

    async def _is_gone(self, deal: deals.Deal) -> bool:
        """Destroy the guest; return whether it is gone and cannot appear any more."""
        with contextlib.suppress(
            pve.ProxmoxError, machine.GuestMovedError, workflow.RetryLater, *workflow.TRANSIENT
        ):
            gone = await self._machines.ensure_gone(deal.lease)
            return gone and not await self._may_appear_late(deal)
        return False

    async def _pause_seconds(self, deal: deals.Deal) -> float:
        """Return the pause before the next attempt; it grows with the time spent so far."""
        if deal.order.settled_at is None:
            return _LEAST_PAUSE_SECONDS
        tried = (await self._deals.db.time() - deal.order.settled_at).total_seconds()
        return min(max(tried / 10, _LEAST_PAUSE_SECONDS), _MOST_PAUSE_SECONDS)

    async def elsewhere(self, deal: deals.Deal, refusal: str, reason: str) -> Exception:
        """Move an unpaid lease to a place where it was not tried; return what to raise.

        It stays if an earlier request may still make the guest: it then unwinds, and waits for it.
        A guest that was left half made is left to the operator, with its vmid.
        """
        row, tried = deal.lease, self._note_tried(deal.lease)
        given_up = workflow.GiveUp(refusal, reason)
        if len(tried) >= MOST_PLACES:
            return given_up
        try:
            if was_asked_for(row):
                if not await self._is_gone_or_left(deal):
                    return workflow.RetryLater("the guest is still being made")
                if await self._may_appear_late(deal):
                    return given_up
            rooms = await self._view.rooms_for(row.template)
            await self._move(deal, [one for one in rooms if _place(one) not in tried])
        except (errors.NoCapacity, errors.ProxmoxUnavailable, pve.ProxmoxError):
            return given_up
        log.warning("tried_elsewhere", node=row.node, lease=row.lease_id, reason=reason)
        return workflow.RetryLater(f"on another node: {reason}", after_seconds=0)

    async def _is_gone_or_left(self, deal: deals.Deal) -> bool:
        """Destroy the guest; True if it is gone, or certainly left half made by a killed task."""
        try:
            return await self._machines.ensure_gone(deal.lease)
        except machine.HalfMadeError:
            if self._keeps_vmid(deal) or not await self._is_task_over(deal.lease):
                raise
        log.error("guest_locked_without_task", vmid=deal.lease.vmid, node=deal.lease.node)
        return True

    async def _is_task_over(self, row: lease.Lease) -> bool:
        """Return whether any creation that was asked for would have shown its task by now."""
        if row.upid is None or row.create_sent_at is None:
            return False
        shows = timedelta(seconds=self._settings.task_shows_seconds)
        if await self._deals.db.time() < row.create_sent_at + shows:
            return False
        return await self._machines.look(row) is machine.Sight.IN_MAKING

    def _keeps_vmid(self, deal: deals.Deal) -> bool:
        """Return whether the order has had all the vmids that it may use up."""
        return deal.order.tries + 1 >= MOST_VMIDS

    def _note_tried(self, row: lease.Lease) -> set[Place]:
        """Return where a lease was tried so far, here included.

        Another process knows nothing of it and begins again; the creation's time limit ends that.
        """
        tried = self._tried.pop(row.lease_id, set()) | {(row.node, row.storage or "")}
        self._tried[row.lease_id] = tried  # at the end, so that the oldest one goes first
        if len(self._tried) > _MOST_LEASES:
            del self._tried[next(iter(self._tried))]
        return tried

    async def _may_appear_late(self, deal: deals.Deal) -> bool:
        row = deal.lease
        if row.upid is not None or row.create_sent_at is None:
            return False
        late = timedelta(seconds=self._settings.late_create_seconds)
        return await self._deals.db.time() < row.create_sent_at + late

    async def _move(self, deal: deals.Deal, rooms: list[placement.NodeRoom]) -> None:
        """Move a lease whose guest is gone. Raises NoCapacity, and ProxmoxErrors of its rules."""
        keeps_vmid = self._keeps_vmid(deal)
        if not keeps_vmid:  # while the vmid is still the lease's, so that any process repeats it
            others = {room.node for room in rooms} - {deal.lease.node}
            through = (*sorted(others)[:_MOST_ASKED], deal.lease.node)
            await self._networks.forget(deal.lease, through)
        async with self._deals.db.begin() as tx:
            db = self._deals.db
            await reservation.lock_placement(db, tx)
            await self._deals.begin_try(tx, deal.order)
            how = making.of_names(self._on_sale.now, deal.lease.sku, deal.lease.network)
            await reservation.make_anew(
                db,
                tx,
                deal.lease,
                self._settings,
                rooms=rooms,
                how=how,
                keeps_vmid=keeps_vmid,
            )

    async def _replace(self, deal: deals.Deal, rooms: list[placement.NodeRoom]) -> None:
        """Give the order a new lease, and leave the old one to unwind."""
        old, db = deal.lease, self._deals.db
        how = making.of_names(self._on_sale.now, old.sku, old.network)
        if how is None:
            raise errors.NoCapacity
        new = lease.made_again(old)
        async with db.begin() as tx:
            await reservation.lock_placement(db, tx)
            await self._deals.begin_try(tx, deal.order, lease_id=new.lease_id)
            await reservation.reserve_elsewhere(
                db,
                tx,
                new,
                self._settings,
                rooms=rooms,
                how=how,
            )
            await self._deals.abandon(tx, deal, new, _ABANDONED)
        log.error("paid_guest_abandoned", lease=old.lease_id, node=old.node, vmid=old.vmid)


def was_asked_for(row: lease.Lease) -> bool:
    """Whether Proxmox was asked for the guest where the lease is now, so that it may exist."""
    return row.upid is not None or row.create_sent_at is not None or row.status is not _UNASKED


def _place(room: placement.NodeRoom) -> Place:
    return room.node, room.storage
