"""Replaces a paid guest that does not start: destroys it and creates it again elsewhere."""

from datetime import timedelta
from typing import Protocol

import structlog

from pve402.domain import catalogue, errors, placement
from pve402.leases import deals, machine, options, reservation, workflow

log = structlog.get_logger(__name__)

_LEAST_PAUSE_SECONDS = 5.0
_MOST_PAUSE_SECONDS = 600.0


class Rooms(Protocol):
    """The free room on the nodes."""

    def note_unfit(self, node: str, template: str) -> None:
        """Remember that guests of a template cannot be made on a node."""

    async def rooms_for(self, template: str) -> list[placement.NodeRoom]:
        """Return the nodes' free room; raise ProxmoxUnavailable if it is unknown."""


class Anew:
    """Creates paid guests again. The lease keeps its leaseId but gets a new vmid and node."""

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
        """Destroy the guest and start the lease over; always raises RetryLater.

        Failures are retried, because the money has already moved.
        """
        log.error("paid_guest_made_anew", lease=deal.lease.lease_id, reason=reason)
        try:
            gone = await self._machines.ensure_gone(deal.lease)
            rooms = await self._view.rooms_for(deal.lease.template) if gone else []
            if gone:
                await self._move(deal, rooms)
        except (errors.NoCapacity, errors.ProxmoxUnavailable) as error:
            raise workflow.RetryLater(workflow.reason_of(error)) from error
        pause = await self._pause_seconds(deal)
        raise workflow.RetryLater(f"made anew: {reason}", after_seconds=pause)

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
        self._view.note_unfit(deal.lease.node, deal.lease.template)
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
        sku = self._sku_catalogue.skus.get(deal.lease.sku)
        allowed = sku.nodes if sku is not None else frozenset()
        async with self._deals.db.begin() as tx:
            db = self._deals.db
            await reservation.lock_placement(db, tx)
            await self._deals.write_order(tx, deal.order, last_error=None)
            await reservation.make_anew(
                db, tx, deal.lease, self._settings, rooms=rooms, allowed=allowed
            )
