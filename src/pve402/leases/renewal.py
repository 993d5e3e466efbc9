"""The workflow that adds minutes to a lease: wake the guest, settle, extend.

    state of the order   step                                     taken back by
    CLAIMED              start the guest unless it runs           stopping it again, in grace
    WORKING              (a start is under way; the same step)    stopping it again, in grace
    SETTLING             settle the payment, extend the lease     nothing, once the money moved

The order holds its lease from the claim until the order closes, so that the lease cannot expire, be
renewed twice or be deleted by its owner meanwhile. If the guest does not start, nothing is charged.

A guest that has to start after the money moved, because its payer is a contract or the settlement
was slow, is tried for a day. If it does not start, the payment is owed and the lease released.
"""

import functools
from datetime import timedelta

import structlog

from pve402.domain import lease, order, owed
from pve402.leases import deals, debts, machine, moves, options, settling, workflow
from pve402.proxmox import errors as pve
from pve402.storage import queue

log = structlog.get_logger(__name__)

Deal = deals.Deal
_HOLD_AGAIN_SECONDS = 120.0
_UP = frozenset({lease.LeaseStatus.ACTIVE, lease.LeaseStatus.STARTING})
"""The guest runs, as far as the lease's row knows."""


class Renewal:
    """Runs the renewal workflow of one order at a time; holds no state between steps."""

    def __init__(
        self,
        deal_writer: deals.Deals,
        machines: machine.Machines,
        funds: settling.Settling,
        settings: options.LeaseOptions,
        debt_writer: debts.Debts,
    ) -> None:
        self._debts = debt_writer
        self._deals = deal_writer
        self._machines = machines
        self._settling = funds
        self._settings = settings
        self.steps = {
            order.OrderStatus.CLAIMED: workflow.Step(name="wake", do=self._wake),
            order.OrderStatus.WORKING: workflow.Step(name="wake", do=self._wake),
            order.OrderStatus.SETTLING: workflow.Step(name="settle", do=self._settle),
        }

    async def run(self, row: order.Order) -> None:
        """Take a claimed order as far as it goes; raises like Creation.run."""
        try:
            await self._run_or_refuse(row)
        except machine.GuestMovedError as moved:
            await self._follow(row, moved.node)
        except workflow.UNFINISHED as error:
            deal = await self._deals.reopen(row)
            if not await self._debts.owe_if_overdue(deal, workflow.reason_of(error)):
                raise

    async def _run_or_refuse(self, row: order.Order) -> None:
        deal = await self._hold_again(await self._deals.open_deal(row))
        try:
            await workflow.run(self.steps, deal, lambda deal: deal.order.status)
        except workflow.GiveUp as end:
            log.warning("renewal_refused", order=row.order_id, refusal=end.refusal)
            await self._deals.refuse(await self._deals.open_deal(row), end.refusal, end.reason)

    async def _follow(self, row: order.Order, node: str) -> None:
        """Record the node that the guest was migrated to, and retry at once."""
        deal = await self._deals.open_deal(row)
        await self._deals.advance(deal, functools.partial(moves.follow_in_order, node=node))
        raise workflow.RetryLater("the guest was migrated", after_seconds=0)

    async def _hold_again(self, deal: Deal) -> Deal:
        """Extend the hold of an order that was taken over, before doing anything else."""
        if deal.order.attempts == 0:
            return deal
        async with self._deals.db.begin() as tx:
            try:
                held = await moves.hold_longer(
                    self._deals.db, tx, deal.lease, deal.order.order_id, _HOLD_AGAIN_SECONDS
                )
            except queue.FenceLostError:
                raise workflow.RetryLater("the hold on the lease was lost") from None
        return deals.Deal(order=deal.order, lease=held)

    async def _wake(self, deal: Deal) -> Deal:
        """Make sure the lease's guest runs; if it cannot start, nothing is charged."""
        try:
            sight = await self._machines.look(deal.lease)
            if sight is machine.Sight.STOPPED:
                deal = await self._start_unpaid(deal)
            elif sight is not machine.Sight.RUNNING:
                raise workflow.GiveUp("guest_missing", f"the guest is {sight.value}")
        except pve.ProxmoxError as error:
            raise await self._passing_or_final(deal, error) from error
        await self._check_time(deal)
        return await self._deals.advance(deal, order_status=order.OrderStatus.SETTLING)

    async def _start_unpaid(self, deal: Deal) -> Deal:
        """Start the guest before settling, unless the payment must settle first.

        It must if the payer is a contract or has just failed to pay; the guest then starts later.
        """
        if deal.order.settles_first and deal.lease.status is lease.LeaseStatus.STOPPED:
            return deal
        working = order.OrderStatus.WORKING
        started = await self._deals.advance(deal, moves.wake, order_status=working)
        await self._run_if_wanted(started.lease)
        return started

    async def _settle(self, deal: Deal) -> None:
        if deal.lease.status in lease.OVER:
            await self._owe_for_nothing(deal)
            return
        transaction = deal.order.transaction
        if not deal.order.is_paid:
            paid = await self._settling.settle(deal)
            transaction = paid.transaction
            if paid.may_be_stopped or deal.lease.status not in _UP:
                deal = await self._deals.note_paid(deal, transaction)
        if deal.order.is_paid:
            deal = await self._revive(deal)
        recheck = self._settling.needs_recheck(deal.order.network)
        await self._deals.extend(deal, transaction, recheck=recheck)

    async def _owe_for_nothing(self, deal: Deal) -> None:
        """Owe the payment of a lease that is over; one that has not moved is not sent."""
        if not deal.order.is_paid:
            transaction = await self._settling.look(deal)
            paid_late = await self._deals.remember(deal.order, transaction)
            deal = deals.Deal(order=paid_late, lease=deal.lease)
        await self._debts.owe(deal, owed.OwedReason.LEASE_OVER, "")

    async def _revive(self, deal: Deal) -> Deal:
        """Start the guest of a paid lease that may be down: it waited for money, or its hold ended.

        The money has moved, so a failure is retried until the payment is owed. If the guest is
        gone, the lease gets its minutes, and the reconciler or its end then closes it.
        """
        if deal.lease.status is lease.LeaseStatus.STOPPING:
            raise workflow.RetryLater("paid; the guest is just being stopped", after_seconds=1)
        if deal.lease.status is lease.LeaseStatus.STOPPED:
            deal = await self._deals.advance(deal, moves.wake)
        try:
            await self._run_if_wanted(deal.lease)
        except pve.GuestMissing as error:
            reason = workflow.reason_of(error)
            log.warning("paid_guest_gone", lease=deal.lease.lease_id, error=reason)
        return deal

    async def _run_if_wanted(self, row: lease.Lease) -> None:
        """Start the guest, unless its tenant wants it down; a renewal does not change that."""
        if row.is_to_run:
            await self._machines.ensure_running(row)

    async def _passing_or_final(self, deal: Deal, error: pve.ProxmoxError) -> Exception:
        reason = workflow.reason_of(error)
        if not isinstance(error, workflow.TRANSIENT):
            return workflow.GiveUp("start_failed", reason)
        await self._check_time(deal)
        return workflow.RetryLater(reason)

    async def _check_time(self, deal: Deal) -> None:
        now = await self._deals.db.time()
        margin = timedelta(seconds=self._settings.settle_margin_seconds)
        if now > deal.order.valid_before - margin:
            raise workflow.GiveUp("payment_expired", "the payment's window ends before settlement")
