"""Replaces a paid guest that does not come up: destroys it and creates it again elsewhere.

The lease keeps its leaseId while its old guest is certainly gone. A guest that cannot be looked at
or destroyed, because its node is dead or a lock on it is stale, keeps the old lease, which unwinds
by itself whenever that becomes possible; the order then gets a new lease.
"""

import contextlib
from datetime import timedelta
from typing import Protocol

import structlog

from pve402.domain import catalogue, errors, lease, placement
from pve402.leases import deals, machine, moves, options, reservation, workflow
from pve402.proxmox import errors as pve

log = structlog.get_logger(__name__)

_LEAST_PAUSE_SECONDS = 5.0
_MOST_PAUSE_SECONDS = 600.0
_ABANDONED = "guest_abandoned"


class Rooms(Protocol):
    """The free room on the nodes."""

    def note_unfit(self, node: str, template: str) -> None:
        """Remember that guests of a template cannot be made on a node."""

    async def rooms_for(self, template: str) -> list[placement.NodeRoom]:
        """Return the nodes' free room; raise ProxmoxUnavailable if it is unknown."""


class Anew:
    """Creates guests again, on other nodes where there is one."""

    def __init__(
        self,
        deal_writer: deals.Deals,
        machines: machine.Machines,
        view: Rooms,
        sku_catalogue: catalogue.Catalogue,
        settings: options.LeaseOptions,
    ) -> None:
        self._deals = deal_writer
        self._machines = machines
        self._view = view
        self._sku_catalogue = sku_catalogue
        self._settings = settings

    async def make(self, deal: deals.Deal, reason: str) -> None:
        """Start a paid lease over; always raises RetryLater.

        Failures are retried, because the money has already moved.
        """
        log.error("paid_guest_made_anew", lease=deal.lease.lease_id, reason=reason)
        try:
            is_gone = await self._is_gone(deal)
            if not is_gone and not await self.is_too_long(deal):
                raise workflow.RetryLater(f"the old guest is not gone yet: {reason}")
            rooms = await self._view.rooms_for(deal.lease.template)
            if is_gone:
                await self._move(deal, rooms)
            else:
                await self._replace(deal, rooms)
        except (errors.NoCapacity, errors.ProxmoxUnavailable) as error:
            raise workflow.RetryLater(workflow.reason_of(error)) from error
        pause = await self._pause_seconds(deal)
        raise workflow.RetryLater(f"made anew: {reason}", after_seconds=pause)

    def note_unfit(self, deal: deals.Deal) -> None:
        """Remember that the lease's node cannot make its guest."""
        self._view.note_unfit(deal.lease.node, deal.lease.template)

    async def is_too_long(self, deal: deals.Deal) -> bool:
        """Return whether the present try to deliver a paid lease takes longer than a creation."""
        began = deal.order.tried_at or deal.order.settled_at
        limit = timedelta(seconds=self._settings.creation_limit_seconds)
        return began is not None and await self._deals.db.time() > began + limit

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

    async def elsewhere(self, deal: deals.Deal, reason: str) -> Exception:
        """Move a lease to another node if its own cannot make the guest; return what to raise.

        It stays if an earlier request may still make the guest: it then unwinds, and waits for it.
        """
        log.warning("node_unfit", node=deal.lease.node, lease=deal.lease.lease_id, reason=reason)
        self.note_unfit(deal)
        try:
            if not await self._machines.ensure_gone(deal.lease):
                return workflow.RetryLater("the guest is still being made")
            if await self._may_appear_late(deal):
                return workflow.GiveUp("create_failed", reason)
            await self._move(deal, await self._view.rooms_for(deal.lease.template))
        except (errors.NoCapacity, errors.ProxmoxUnavailable):
            return workflow.GiveUp("create_failed", reason)
        return workflow.RetryLater(f"on another node: {reason}", after_seconds=0)

    async def _may_appear_late(self, deal: deals.Deal) -> bool:
        row = deal.lease
        if row.upid is not None or row.create_sent_at is None:
            return False
        late = timedelta(seconds=self._settings.late_create_seconds)
        return await self._deals.db.time() < row.create_sent_at + late

    async def _move(self, deal: deals.Deal, rooms: list[placement.NodeRoom]) -> None:
        async with self._deals.db.begin() as tx:
            db = self._deals.db
            await reservation.lock_placement(db, tx)
            await self._deals.begin_try(tx, deal.order)
            await reservation.make_anew(
                db, tx, deal.lease, self._settings, rooms=rooms, allowed=self._allowed(deal)
            )

    async def _replace(self, deal: deals.Deal, rooms: list[placement.NodeRoom]) -> None:
        """Give the order a new lease, and leave the old one to unwind."""
        old, db = deal.lease, self._deals.db
        network = self._sku_catalogue.networks.get(old.network)
        if network is None:
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
                allowed=self._allowed(deal),
                network=network,
            )
            await moves.abandon(db, tx, old, _ABANDONED)
        log.error("paid_guest_abandoned", lease=old.lease_id, node=old.node, vmid=old.vmid)

    def _allowed(self, deal: deals.Deal) -> frozenset[str]:
        sku = self._sku_catalogue.skus.get(deal.lease.sku)
        return sku.nodes if sku is not None else frozenset()
