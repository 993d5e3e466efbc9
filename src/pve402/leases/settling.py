"""The step of creations and renewals in which the money moves.

    outcome     then
    settled     the transaction is returned
    refused     the workflow gives up; nothing was charged
    unknown     the step is retried until the chain is past the payment's window

While the outcome is unknown, an unpaid guest runs for a minute at most. Then it is stopped and
kept, and started again once the payment settles.
"""

import asyncio
import dataclasses
from datetime import timedelta

import structlog

from pve402.domain import lease
from pve402.leases import deals, machine, money, moves, parts, workflow
from pve402.proxmox import errors as pve

log = structlog.get_logger(__name__)

UNPAID_SECONDS = 60.0
"""How long a guest runs while we do not know whether it is paid."""
LOOK_SECONDS = 5.0
"""How long the chain may take to show that a guest is paid, before the guest is stopped."""
_STOP_AGAIN_SECONDS = 5.0
"""The pause after a stop that failed; each new attempt also asks the facilitator again."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Paid:
    """A transfer that is on the chain."""

    transaction: str | None  # None if a trusted facilitator named none
    may_be_stopped: bool  # the outcome was unknown for a while, and the guest may be down


class Settling:
    """Moves the money of an order."""

    def __init__(
        self, deal_writer: deals.Deals, machines: machine.Machines, funds: money.Money
    ) -> None:
        self._deals = deal_writer
        self._parts = parts.Parts(deal_writer)
        self._machines = machines
        self._money = funds

    async def settle(self, deal: deals.Deal) -> Paid:
        """Move the money. Raises GiveUp if it was refused, RetryLater while that is unknown.

        That of an order without a payment is moved with the first order of its payment.
        """
        if deal.order.part_of is not None:
            return await self._await_first(deal)
        left = await self._seconds_left(deal)
        asking = asyncio.ensure_future(self._money.settle(deal.order))
        try:
            await asyncio.wait({asking}, timeout=max(left, LOOK_SECONDS))
            was_slow = not asking.done()
            is_down = was_slow and await self._stop(deal)
            settled = await asking
        finally:
            asking.cancel()
        try:
            transaction = money.transaction_of(settled)
        except money.SettlementUnknown as unknown:
            await self._deals.remember(deal.order, unknown.transaction)
            raise await self._again(deal, unknown.reason, is_down=is_down) from None
        await self._deals.remember(deal.order, transaction)
        may_be_stopped = was_slow or deal.order.attempts > 0
        return Paid(transaction=transaction, may_be_stopped=may_be_stopped)

    async def _await_first(self, deal: deals.Deal) -> Paid:
        """Wait for the payment of another order; a guest that is unpaid for long is stopped."""
        try:
            paid = await self._parts.await_money(deal)
        except workflow.RetryLater as waits:
            if await self._seconds_left(deal) > 0:
                raise
            await self._stop(deal)  # again each time, so no look is as soon as before
            raise workflow.RetryLater(waits.reason, after_seconds=_STOP_AGAIN_SECONDS) from None
        return Paid(transaction=paid.order.transaction, may_be_stopped=True)

    async def look(self, deal: deals.Deal) -> str | None:
        """Return the transaction of a payment that has moved by itself; moves nothing.

        Raises GiveUp if it never will, RetryLater while that is unknown.
        """
        return money.transaction_of(await self._money.look(deal.order))

    def needs_recheck(self, network: str) -> bool:
        """Return whether a network's settlements are checked again on chain."""
        return self._money.needs_recheck(network)

    async def _seconds_left(self, deal: deals.Deal) -> float:
        """Return how long the guest may still run unpaid, on top of its earlier paid time."""
        now = await self._deals.db.time()
        settling_at = deal.order.settling_at or deal.order.created_at
        unpaid_since = max(settling_at, deal.lease.expires_at or settling_at)
        left = unpaid_since + timedelta(seconds=UNPAID_SECONDS) - now
        return max(0.0, left.total_seconds())

    async def _again(self, deal: deals.Deal, reason: str, *, is_down: bool) -> workflow.RetryLater:
        """Say when to ask again: no later than the guest must be stopped, if it still runs."""
        left = await self._seconds_left(deal)
        if left > 0:
            return workflow.RetryLater(reason, at_most_seconds=left)
        if is_down or await self._stop(deal):
            return workflow.RetryLater(reason)
        return workflow.RetryLater(reason, at_most_seconds=_STOP_AGAIN_SECONDS)

    async def _stop(self, deal: deals.Deal) -> bool:
        """Stop the guest and keep it; return whether it is down.

        Raises FenceLostError if another process has the order, and may have found it paid.
        """
        async with self._deals.db.single() as tx:
            await self._deals.write_order(tx, deal.order, last_error="unpaid for too long")
        try:
            await self._stop_wherever_it_is(deal.lease)
        except pve.GuestMissing:
            return True
        except (pve.ProxmoxError, machine.GuestMovedError, workflow.RetryLater) as error:
            reason = workflow.reason_of(error)
            log.warning("unpaid_guest_not_stopped", lease=deal.lease.lease_id, reason=reason)
            return False
        log.warning("unpaid_guest_stopped", lease=deal.lease.lease_id)
        return True

    async def _stop_wherever_it_is(self, row: lease.Lease) -> None:
        """Stop a guest; one that was migrated is followed, and stopped on its new node."""
        try:
            await self._machines.ensure_stopped(row)
        except machine.GuestMovedError as moved:
            async with self._deals.db.single() as tx:
                row = await moves.follow_in_order(tx, row, moved.node)
            await self._machines.ensure_stopped(row)
