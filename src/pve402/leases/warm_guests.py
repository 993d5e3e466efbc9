"""Hands a guest from the warm pool over to a tenant.

Before settlement, the guest must carry our tags, accept its new name and description, and answer
through its shell, which is opened only if it runs and carries them. Otherwise the order gets a new
lease, created cold under another vmid, and the guest is destroyed; nothing was charged. After
settlement we re-key the guest, retrying until it works, and only then hand it over. So no tenant
input gets inside a guest before settlement.
"""

import asyncio
import functools
from datetime import datetime
from typing import Protocol

import structlog

from pve402.domain import errors, lease, making, order, placement
from pve402.leases import deals, machine, metrics, moves, on_sale, options, reservation, workflow
from pve402.proxmox import errors as pve

log = structlog.get_logger(__name__)

Deal = deals.Deal
Status = lease.LeaseStatus
BROKEN = "pool_broken"
#: How long a guest may take to show that it can be sold.
PATIENCE_SECONDS = 4.0


class Rooms(Protocol):
    """The free room on the nodes."""

    async def rooms_for(self, template: str) -> list[placement.NodeRoom]:
        """Return the nodes' free room; raise ProxmoxUnavailable if it is unknown."""


class NotReady(Exception):
    """A guest cannot be re-keyed: its shell does not answer, or lacks a needed program."""


class Rekeying(Protocol):
    """Sets the tenant's name and secrets in a running guest."""

    async def check(self, row: lease.Lease) -> None:
        """Check that the guest could be re-keyed now; changes nothing. Raises NotReady."""

    async def rekey(self, row: lease.Lease, secrets: machine.Secrets) -> None:
        """Set the lease's host name and its tenant's secrets; idempotent. Raises RetryLater."""

    async def leave(self, row: lease.Lease) -> None:
        """Close what `check` opened, if nobody needs it soon."""


class WarmGuests:
    """Checks, replaces and re-keys guests of the warm pool."""

    def __init__(
        self,
        deal_writer: deals.Deals,
        machines: machine.Machines,
        rekeying: Rekeying,
        view: Rooms,
        selling: on_sale.OnSale,
        settings: options.LeaseOptions,
    ) -> None:
        self._deals = deal_writer
        self._machines = machines
        self._rekeying = rekeying
        self._view = view
        self._on_sale = selling
        self._settings = settings

    async def is_sound(self, row: lease.Lease, planned_expiry: datetime) -> bool:
        """Return whether the guest can be handed over once paid; sets its name and description."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asyncio.gather(
                    self._machines.describe_sold(row, planned_expiry), self._rekeying.check(row)
                )
        except (pve.ProxmoxError, machine.GuestMovedError, NotReady, TimeoutError) as error:
            reason = workflow.reason_of(error)
            log.warning("pooled_guest_broken", lease=row.lease_id, vmid=row.vmid, reason=reason)
            return False
        return True

    async def replace(self, deal: Deal) -> Deal:
        """Give the order a new lease, created cold, and discard the guest.

        Raises NoCapacity, ProxmoxUnavailable.
        """
        rooms = await self._view.rooms_for(deal.lease.template)
        old = deal.lease
        how = making.of_names(self._on_sale.now, old.sku, old.network)
        if how is None:
            raise errors.NoCapacity
        cold = lease.made_again(old)
        async with self._deals.db.begin() as tx:
            db = self._deals.db
            await reservation.lock_placement(db, tx)
            named = {"lease_id": cold.lease_id, "attempts": 0}
            written = await self._deals.write_order(tx, deal.order, **named)
            new = await reservation.reserve(db, tx, cold, self._settings, rooms=rooms, how=how)
            await self._deals.abandon(tx, deal, new, BROKEN)
        metrics.FROM_POOL.labels("replaced").inc()
        return Deal(order=written, lease=new)

    async def hand_over(self, deal: Deal, secrets: machine.Secrets) -> None:
        """Re-key the guest for its tenant. Raises RetryLater until that succeeds.

        One that was made for its tenant has its secrets already, unless it is a clone. Raises
        GiveUp if the guest vanished: what is paid for is then made anew.
        """
        if deal.lease.pooled_at is None:
            return
        try:
            # Its shell answered just before the settlement, so we look at the guest only if it does
            # not do so now. The hub opens no shell of another lease's guest.
            await self._rekeying.rekey(deal.lease, secrets)
        except workflow.RetryLater:
            await self._bring_up(deal)
            await self._rekeying.rekey(deal.lease, secrets)
        if deal.lease.pooled_at <= deal.order.created_at:  # else a clone for it
            metrics.FROM_POOL.labels("handed_over").inc()

    async def _bring_up(self, deal: Deal) -> None:
        """Start a guest that went down since it was checked. Raises as `hand_over`."""
        row = deal.lease
        try:
            await self._machines.ensure_running(row)
        except pve.GuestMissing as error:
            raise workflow.GiveUp("guest_missing", workflow.reason_of(error)) from error
        except machine.GuestMovedError as moved:
            follow = functools.partial(moves.follow_in_order, node=moved.node)
            await self._deals.advance(deal, follow)
            raise workflow.RetryLater(f"the guest moved to {moved.node}") from None
        except pve.ProxmoxError as error:
            raise workflow.RetryLater(f"not re-keyed: {workflow.reason_of(error)}") from error


def may_be_replaced(leased: lease.Lease, bought: order.Order) -> bool:
    """Return whether an order may still get another lease, as its warm guest is not yet checked."""
    is_new = bought.kind is order.OrderKind.CREATION and bought.status is order.OrderStatus.CLAIMED
    return is_new and leased.pooled_at is not None
