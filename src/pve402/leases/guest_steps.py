"""What a creation does to its guest once that is made: it completes, isolates and connects it."""

import structlog

from pve402.domain import networks
from pve402.leases import deals, failing, guest_networks, oci_guests, workflow
from pve402.proxmox import errors as pve

log = structlog.get_logger(__name__)

Deal = deals.Deal


class GuestSteps:
    """Parts of a creation's steps; each may run twice, and holds no state."""

    def __init__(
        self,
        deal_writer: deals.Deals,
        failures: failing.Failures,
        guest_network: guest_networks.GuestNetworks,
        oci: oci_guests.OciGuests,
    ) -> None:
        self._deals = deal_writer
        self._failures = failures
        self._networks = guest_network
        self._oci_guests = oci

    async def complete(self, deal: Deal) -> Deal:
        """Give a guest that never ran what its image took from it, and its isolation rules."""
        try:
            await self._oci_guests.complete(deal.lease)
        except workflow.RetryLater:
            await self._failures.check_time(deal)
            raise
        except pve.ProxmoxError as error:
            raise await self._failures.passing_or_final(deal, error, "create_failed") from error
        return await self._isolate(deal)

    async def _isolate(self, deal: Deal) -> Deal:
        """Write the isolation rules of a guest whose card is down, and note when they stood."""
        if deal.lease.rules_at is not None or not self._networks.awaits_rules(deal.lease):
            return deal
        try:
            moved = deals.Moving(self._deals, deal)
            await self._networks.fence(deal.lease, moved.move)
        except pve.ProxmoxError as error:
            raise await self._failures.passing_or_final(deal, error, "create_failed") from error
        return moved.deal

    async def connect(self, deal: Deal) -> Deal:
        """Connect a guest whose address is read from it, before it is anybody's."""
        if not self._networks.connects_first(deal.lease):
            return deal
        moved = deals.Moving(self._deals, deal)
        try:
            _, again_at = await self._networks.advance(deal.lease, moved.move)
        except pve.ProxmoxError as error:
            raise await self._failures.passing_or_final(
                moved.deal, error, "start_failed"
            ) from error
        if again_at is None:
            return moved.deal
        await self._failures.check_time(moved.deal)
        raise workflow.retry_at(again_at, await self._deals.db.time(), "its network waits")

    async def connect_paid(self, deal: Deal) -> Deal:
        """Switch the card of a copy on, now that it is paid for; if that fails, it is tried later.

        Where its rules have to stand first, its lease's own steps do it as well.
        """
        if deal.lease.link is networks.Link.READY or self._networks.awaits_rules(deal.lease):
            return deal
        moved = deals.Moving(self._deals, deal)
        try:
            await self._networks.advance(deal.lease, moved.move)
        except pve.ProxmoxError as error:
            reason = workflow.reason_of(error)
            log.warning("copy_not_connected", lease=deal.lease.lease_id, reason=reason)
        return moved.deal
