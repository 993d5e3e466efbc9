"""A guest from the warm pool on its way to a tenant.

Before the money: it must run, carry our tags, take its new name and description, and answer through
its shell. If it does not, the order gets a new lease that is created cold on another vmid, and the
guest is destroyed; nothing was charged. After the money: it is re-keyed, again and again until that
is true, and only then handed over. What a tenant wrote so meets the guest after settlement alone.
"""

import asyncio
import dataclasses
import functools
from datetime import datetime
from typing import Protocol

import structlog

from pve402.domain import catalogue, lease, order, placement
from pve402.guests import rekey
from pve402.leases import books, machine, metrics, moves, options, reservation, workflow
from pve402.proxmox import errors as pve

log = structlog.get_logger(__name__)

Deal = books.Deal
Status = lease.LeaseStatus
BROKEN = "pool_broken"
_PATIENCE_SECONDS = 4.0


class Rooms(Protocol):
    """What nodes have to offer."""

    async def rooms(self) -> list[placement.NodeRoom]:
        """Return the nodes' room; raise ProxmoxUnavailable if nobody knows."""


class PooledGuests:
    """Checks, replaces and re-keys guests that stood ready."""

    def __init__(
        self,
        ledger: books.Books,
        machines: machine.Machines,
        keys_to: rekey.Rekey,
        view: Rooms,
        book: catalogue.Catalogue,
        settings: options.LeaseOptions,
    ) -> None:
        self._books = ledger
        self._machines = machines
        self._rekey = keys_to
        self._view = view
        self._book = book
        self._settings = settings

    async def is_sound(self, of: lease.Lease, planned_expiry: datetime) -> bool:
        """Tell whether the guest can be handed over once it is paid; names and describes it."""
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await asyncio.gather(
                    self._machines.describe_running(of, planned_expiry), self._rekey.check(of)
                )
        except (pve.ProxmoxError, machine.GuestMovedError, rekey.NotReady, TimeoutError) as error:
            reason = workflow.reason_of(error)
            log.warning("pooled_guest_broken", lease=of.lease_id, vmid=of.vmid, reason=reason)
            return False
        return True

    async def replace(self, deal: Deal) -> Deal:
        """Give the order a new lease, to be created cold, and discard the guest.

        Raises NoCapacity, ProxmoxUnavailable.
        """
        rooms = await self._view.rooms()
        old = deal.lease
        sku = self._book.skus.get(old.sku)
        lease_id = lease.new_lease_id()
        async with self._books.db.begin() as tx:
            db = self._books.db
            await reservation.lock_placement(db, tx)
            written = await self._books.write_order(tx, deal.order, lease_id=lease_id, attempts=0)
            allowed = sku.nodes if sku is not None else frozenset()
            cold = _cold(old, lease_id)
            new = await reservation.reserve(
                db, tx, cold, self._settings, rooms=rooms, allowed=allowed
            )
            await moves.discard_sold(db, tx, old, BROKEN)
        metrics.FROM_POOL.labels("replaced").inc()
        return Deal(order=written, lease=new)

    async def hand_over(self, deal: Deal, secrets: machine.Secrets) -> None:
        """Make the guest its tenant's. Raises RetryLater until it is.

        A guest that vanished after it was paid is met as any other: its lease ends, with a reason.
        """
        of = deal.lease
        try:
            await self._machines.ensure_running(of)
        except pve.GuestMissing:
            log.warning("guest_lost_after_settlement", lease=of.lease_id, vmid=of.vmid)
            return
        except machine.GuestMovedError as moved:
            follow = functools.partial(moves.follow_in_order, node=moved.node)
            await self._books.advance(deal, follow)
            raise workflow.RetryLater(f"the guest moved to {moved.node}") from None
        except pve.ProxmoxError as error:
            raise workflow.RetryLater(f"not re-keyed: {workflow.reason_of(error)}") from error
        await self._rekey.rekey(of, secrets)
        metrics.FROM_POOL.labels("handed_over").inc()


def may_be_replaced(of: lease.Lease, row: order.Order) -> bool:
    """Tell whether an order may yet get another lease, because its guest is still looked at."""
    is_new = row.kind is order.OrderKind.CREATION and row.status is order.OrderStatus.CLAIMED
    return is_new and of.pooled_at is not None


def _cold(old: lease.Lease, lease_id: str) -> lease.Lease:
    return dataclasses.replace(
        old,
        lease_id=lease_id,
        status=Status.RESERVED,
        upid=None,
        create_sent_at=None,
        pooled_at=None,
        fence=None,
    )
