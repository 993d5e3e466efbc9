"""The workflow after a settlement: write the paid time on the guest, check the chain again.

    finding                           then
    the transfer is deep enough       the order is final, its payment erased
    it is there, but not deep yet     check again later
    the chain went another way        settle again while the payment is valid
    it was lost or reverted           its minutes are taken back; without others the lease stops

A lease is handed over after one confirmation, so that tenants wait only seconds. This workflow
later makes sure that the transfer has stayed on the chain.
"""

import structlog

from pve402.domain import lease, order
from pve402.leases import deals, machine, money, options, parts, workflow
from pve402.payments.settlement import Recheck
from pve402.proxmox import errors as pve

log = structlog.get_logger(__name__)

LOOK_AGAIN_SECONDS = 5.0
_MAY_LAND = "payment_reverted_and_still_valid"


class Confirmation:
    """Finishes settled orders of creations and renewals."""

    def __init__(
        self,
        deal_writer: deals.Deals,
        machines: machine.Machines,
        funds: money.Money,
        settings: options.LeaseOptions,
    ) -> None:
        self._deals = deal_writer
        self._machines = machines
        self._money = funds
        self._parts = parts.Parts(deal_writer)
        self._settings = settings

    async def run(self, row: order.Order) -> None:
        """Describe and confirm; raises RetryLater or Proxmox's error until both are done.

        Neither waits for the other: the chain is checked even if the guest cannot be described.
        However often the chain is checked, the guest is described only once.
        """
        deal = await self._deals.open_deal(row)
        refused = await self._describe(deal) if row.described_at is None else None
        try:
            stands = await self._confirm(deal) if row.sealed_payment is not None else None
        except workflow.GiveUp as lost:
            await self._take_back(deal, may_land=lost.reason == _MAY_LAND)
            return
        except workflow.RetryLater:
            if refused is None and row.described_at is None:
                await self._deals.note_description(row)
            raise
        if refused is not None:
            raise refused
        await self._deals.finish(deal.order, stands)

    async def _describe(self, deal: deals.Deal) -> Exception | None:
        """Rewrite the guest's description, unless a later order did or the guest is gone.

        Returns the failure, if any.
        """
        current = deal.lease
        over = current.status not in {lease.LeaseStatus.ACTIVE, lease.LeaseStatus.STOPPED}
        if over or current.expires_at is None or current.expires_at != deal.order.expires_at:
            return None
        try:
            await self._machines.write_description(current)
        except pve.GuestMissing:
            log.info("guest_gone_before_description", lease=current.lease_id)
        except (pve.ProxmoxError, machine.GuestMovedError) as error:
            return error
        return None

    async def _confirm(self, deal: deals.Deal) -> str | None:
        """Return the final transaction; after a reorganisation it may be a different one.

        Raises GiveUp if there is none and never will be.
        """
        found = await self._money.recheck(deal.order)
        if found.standing is Recheck.TOO_EARLY:
            raise workflow.RetryLater("not deep enough yet", after_seconds=LOOK_AGAIN_SECONDS)
        if found.standing is Recheck.VANISHED:
            await self._settle_again(deal)
        if found.standing is Recheck.LOST:
            raise workflow.GiveUp(parts.REVERTED, _MAY_LAND if found.may_land else parts.REVERTED)
        return found.transaction

    async def _settle_again(self, deal: deals.Deal) -> None:
        """Submit the payment again; whether it is lost is for the next recheck to find on chain.

        A facilitator's no proves nothing here: the transfer that vanished may still come back.
        """
        log.warning("settlement_vanished", order=deal.order.order_id)
        again = await self._money.settle(deal.order)
        await self._deals.remember(deal.order, again.transaction)
        raise workflow.RetryLater("settled again", after_seconds=LOOK_AGAIN_SECONDS)

    async def _take_back(self, deal: deals.Deal, *, may_land: bool) -> None:
        """Close the order as refused and take its minutes back; a lease with none left stops.

        Does both or neither: while a renewal holds the lease, the order stays as it is. A payment
        that is still valid is watched: whoever submits it again is owed the money.
        """
        log.error("settlement_lost", order=deal.order.order_id, may_land=may_land)
        others = await self._parts.take_back(deal)
        closing = self._deals.watched() if may_land else {"final": True, **deals.CLOSED}
        async with self._deals.db.begin() as tx:
            reason = "the transfer is no longer on the chain"
            await self._deals.write_refusal(tx, deal.order, parts.REVERTED, reason, **closing)
            await self._parts.write_lost(tx, others, reason)
            await self._parts.shorten(tx, deal)
