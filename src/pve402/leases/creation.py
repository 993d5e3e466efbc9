"""The workflow that makes a lease: create, start, settle, hand over.

    state of the lease   step                              taken back by
    RESERVED             ask Proxmox for the guest         destroying the guest, freeing the vmid
    CREATING             wait for the creation task        destroying the guest
    STARTING             start the guest                   destroying the guest
    SETTLING             settle the payment, hand over     nothing: this is the last step

A payer that is a contract can pass every check and still fail the transaction. Its payment is
therefore settled between CREATING and STARTING, and the lease is handed over once the guest runs.
A guest whose settlement was unknown for a while may be stopped, and then goes back to STARTING too.
A paid guest that does not start is made again, elsewhere if possible, and owed after a day.

A lease whose guest comes from the warm pool (pve402.leases.warm_guests) begins at the last step:
the guest is checked before the money moves and re-keyed afterwards.

Until the money is settled, any failure refuses the order. Its payment is then never settled, and
the lease unwinds (pve402.leases.lifetime) until its guest is gone. Steps are retried after passing
faults; a creation that exceeds its time limit, or its payment's window, is given up.
"""

import functools
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import NoReturn

import structlog

from pve402.domain import errors, lease, order
from pve402.leases import (
    clone_steps,
    clones,
    deals,
    debts,
    failing,
    guest_networks,
    guest_steps,
    machine,
    making_turns,
    moves,
    options,
    settling,
    warm_guests,
    workflow,
)
from pve402.proxmox import errors as pve
from pve402.proxmox import tasks as pve_tasks

log = structlog.get_logger(__name__)

Deal = deals.Deal
Status = lease.LeaseStatus
_SETTLING = order.OrderStatus.SETTLING
_NOT_ASKED_TO_PAY = {order.OrderStatus.CLAIMED, order.OrderStatus.WORKING}


class Creation:
    """Runs the creation workflow of one order at a time; holds no state between steps."""

    def __init__(  # noqa: PLR0913 -- the parts of a workflow of many steps
        self,
        deal_writer: deals.Deals,
        machines: machine.Machines,
        funds: settling.Settling,
        settings: options.LeaseOptions,
        ready: warm_guests.WarmGuests,
        *,
        failures: failing.Failures,
        debt_writer: debts.Debts,
        guest_network: guest_networks.GuestNetworks,
        steps_in_guests: guest_steps.GuestSteps,
        on_started: Callable[[lease.Lease], None],  # of a guest that is up; neither waits nor fails
        cloning: clone_steps.CloneSteps,
        saving: Mapping[Status, workflow.Step[Deal]],  # of private images, which nothing starts
    ) -> None:
        self.saving_steps = saving
        self._on_started = on_started
        self._ready = ready
        self._clones = cloning
        self._debts = debt_writer
        self._failures = failures
        self._networks = guest_network
        self._guest_steps = steps_in_guests
        self._deals = deal_writer
        self._machines = machines
        self._settling = funds
        self._settings = settings
        self.steps = {
            Status.RESERVED: workflow.Step(name="create", do=self._create),
            Status.CREATING: workflow.Step(name="await", do=self._await_guest),
            Status.STARTING: workflow.Step(name="start", do=self._start),
            Status.SETTLING: workflow.Step(name="settle", do=self._settle),
        }

    async def run(self, row: order.Order) -> None:
        """Take a claimed order as far as it goes.

        Raises RetryLater if it must run again, FenceLostError if another process has the order.
        A failure of the order itself is written on it and never raised.
        """
        try:
            await self._run_or_refuse(row)
        except machine.GuestMovedError as moved:
            await self._follow(row, moved.node)
        except workflow.UNFINISHED as error:
            if not await self._end_if_overdue(row, workflow.reason_of(error)):
                raise

    async def _run_or_refuse(self, row: order.Order) -> None:
        deal = await self._deals.open_deal(row)
        steps = self.saving_steps if deal.lease.is_private_image else self.steps
        try:
            await workflow.run(steps, deal, lambda deal: deal.lease.status)
        except workflow.GiveUp as end:
            await self._refuse(row, end)

    async def _end_if_overdue(self, row: order.Order, reason: str) -> bool:
        """End what would be tried again, if its time is over; return whether it was.

        A paid lease is owed after a day. An order whose settlement was not asked for yet is
        refused, whatever it waits for.
        """
        deal = await self._deals.reopen(row)
        if not deal.order.is_paid and deal.order.status in _NOT_ASKED_TO_PAY:
            return await self._refuse_if_late(deal)
        return await self._debts.owe_if_overdue(deal, reason)

    async def _refuse_if_late(self, deal: Deal) -> bool:
        try:
            await self._failures.check_time(deal)
        except workflow.GiveUp as end:
            await self._refuse(deal.order, end)
            return True
        return False

    async def _follow(self, row: order.Order, node: str) -> NoReturn:
        """Record the node that the guest was migrated to, and retry at once."""
        deal = await self._deals.open_deal(row)
        await self._deals.advance(deal, functools.partial(moves.follow_in_order, node=node))
        raise workflow.RetryLater("the guest was migrated", after_seconds=0)

    async def _create(self, deal: Deal) -> Deal:
        """Ask for the guest. If an earlier attempt's outcome is unknown, check before asking."""
        first_try = deal.lease.create_sent_at is None
        await self._await_turn(deal)
        if first_try or deal.lease.base is None:  # else a clone of ours may have the vmid
            found = await self._probe(deal)
            if found is not None:
                return found
        try:
            cloned = await self._clones.make(deal, deal.planned_expiry)
        except clones.ForeignError as error:
            return await self._take_other_vmid(deal, str(error))
        if cloned is not None:
            return cloned
        sent, upid = await self._send(deal)
        if not first_try:
            await self._wait_out(sent, upid)
        created = functools.partial(moves.begin_creating, upid=upid.text)
        return await self._deals.advance(sent, created, order_status=order.OrderStatus.WORKING)

    async def _send(self, deal: Deal) -> tuple[Deal, pve_tasks.Upid]:
        """Record that we ask for the guest, write its rules, then ask for it."""
        sent, is_asked = deal, False
        try:
            async with self._machines.turn_to_write(deal.lease.node):
                noted = functools.partial(making_turns.take, self._deals.db, self._settings)
                sent = await self._deals.advance(deal, noted)
                await self._networks.prepare(sent.lease)
                is_asked = True
                upid = await self._machines.ask_to_create(
                    sent.lease, self._deals.secrets_of(sent.order), sent.planned_expiry
                )
        except pve.GuestExists:
            await self._failures.check_time(sent)
            raise workflow.RetryLater("the vmid was taken meanwhile", after_seconds=0.2) from None
        except pve.ProxmoxError as error:
            is_known = isinstance(error, pve.Unreachable) or not isinstance(
                error, workflow.TRANSIENT
            )
            if is_known or not is_asked:
                before = deal.lease.create_sent_at
                sent = await self._deals.advance(
                    sent, functools.partial(moves.forget_create_sent, before=before)
                )
            raise await self._failures.passing_or_final(deal, error, "create_failed") from error
        return sent, upid

    async def _await_turn(self, deal: Deal) -> None:
        """Raise RetryLater while there is time and the node makes many guests, GiveUp later."""
        try:
            await making_turns.check(self._deals.db, deal.lease, self._settings)
        except workflow.RetryLater:
            await self._failures.check_time(deal)
            raise

    async def _probe(self, deal: Deal) -> Deal | None:
        """Return None if the vmid is free; otherwise find out whose guest it is.

        It can be ours, from an earlier request or because the database lost the record of one.
        """
        try:
            free = await self._machines.is_vmid_free(deal.lease.vmid)
        except pve.ProxmoxError as error:
            raise await self._failures.passing_or_final(deal, error, "create_failed") from error
        if free:
            return None
        return await self._adopt(deal) or await self._take_other_vmid(deal, "on another node")

    async def _adopt(self, deal: Deal) -> Deal | None:
        """Find out the result of an earlier request; None if it may be sent (again)."""
        sight = await self._look(deal)
        if sight is machine.Sight.IN_MAKING:
            return await self._adopt_making(deal)
        if sight in {machine.Sight.STOPPED, machine.Sight.RUNNING}:
            found = functools.partial(moves.begin_creating, upid=None)
            return await self._deals.advance(deal, found, order_status=order.OrderStatus.WORKING)
        if sight is machine.Sight.FOREIGN:
            return await self._take_other_vmid(deal, "taken by a foreign guest")
        return None

    async def _adopt_making(self, deal: Deal) -> Deal:
        upid = await self._machines.find_task(deal.lease, machine.CREATING)
        if upid is not None:
            await self._wait_out(deal, upid)
        await self._check_abandoned(deal)
        log.error("guest_locked_without_task", vmid=deal.lease.vmid, node=deal.lease.node)
        return await self._take_other_vmid(deal, "locked for creation without a task")

    async def _take_other_vmid(self, deal: Deal, note: str) -> Deal:
        try:
            return await self._deals.reassign_vmid(deal, note)
        except errors.NoCapacity as error:
            raise workflow.GiveUp("create_failed", f"no vmid is free: {note}") from error

    async def _wait_out(self, deal: Deal, upid: pve_tasks.Upid) -> NoReturn:
        """Wait for a creation on the vmid to end, then check again to see whose guest it is.

        The task is not recorded. If two requests were sent, the end of one task does not rule out
        that the other guest appears; a lease without a task waits for that when it unwinds.
        """
        try:
            await self._machines.wait_until_created(deal.lease, upid.text)
        except pve.TaskMissing:
            await self._failures.check_time(deal)  # its record is gone; the next check tells
        except pve.ProxmoxError as error:
            raise await self._failures.passing_or_final(deal, error, "create_failed") from error
        raise workflow.RetryLater("the creation has just ended", after_seconds=0)

    async def _check_abandoned(self, deal: Deal) -> None:
        """Raise RetryLater unless the task that locked the vmid is certainly dead.

        Proxmox locks the vmid just before the task starts and unlocks it just before the task ends.
        So if we see a lock but no task, the task may be about to start, or may have just ended.
        """
        sent = deal.lease.create_sent_at
        grace = timedelta(seconds=self._settings.task_shows_seconds)
        if sent is not None and await self._deals.db.time() < sent + grace:
            raise workflow.RetryLater("locked for creation, no task seen yet", after_seconds=1)
        if await self._look(deal) is not machine.Sight.IN_MAKING:
            raise workflow.RetryLater("the creation has just ended", after_seconds=0)

    async def _await_guest(self, deal: Deal) -> Deal:
        """Wait for the creation task; without one, the guest already exists."""
        if deal.lease.upid is not None:
            try:
                await self._machines.wait_until_created(deal.lease, deal.lease.upid)
            except pve.TaskMissing:
                await self._look_for_guest(deal)
            except pve.ProxmoxError as error:
                await self._ask_again(deal, error)
        else:
            await self._look_for_guest(deal)
        deal = await self._guest_steps.complete(deal)
        if not deal.order.settles_first or deal.order.is_paid:
            return await self._deals.advance(deal, moves.begin_starting)
        await self._failures.check_time(deal)
        return await self._deals.advance(deal, moves.begin_settling, order_status=_SETTLING)

    async def _ask_again(self, deal: Deal, error: pve.ProxmoxError) -> NoReturn:
        """Ask for the guest again if its creation failed for a passing reason and made nothing.

        For example, Proxmox timed out on a lock. Reading that task again would never help.
        """
        is_over = isinstance(error.__cause__, pve.TaskFailed)
        failure = await self._failures.passing_or_final(deal, error, "create_failed")
        is_passing = isinstance(error, workflow.TRANSIENT)
        if is_over and is_passing and await self._look(deal) is machine.Sight.ABSENT:
            await self._deals.advance(deal, moves.ask_again)
        raise failure from error

    async def _start(self, deal: Deal) -> Deal | None:
        """Start the guest; go on to settle only if there is still time for it."""
        # A paid guest may have waited for its money for minutes, so its tags are compared again.
        look_first = deal.order.is_paid or deal.order.attempts > 0
        try:
            await self._machines.ensure_running(deal.lease, look_first=look_first)
        except pve.ProxmoxError as error:
            raise await self._failures.passing_or_final(deal, error, "start_failed") from error
        deal = await self._guest_steps.connect(deal)
        if deal.order.is_paid:
            await self._clones.check(deal)
            if deal.lease.pooled_at is not None:  # a copy of a private image, made anew
                await self._hand_over(deal)
            self._on_started(deal.lease)
            await self._activate(deal, deal.order.transaction)
            return None
        await self._failures.check_time(deal)
        await self._clones.check(deal)
        begun = await self._deals.advance(deal, moves.begin_settling, order_status=_SETTLING)
        self._on_started(begun.lease)
        return begun

    async def _look_at_ready(self, deal: Deal) -> Deal:
        """Check a guest from the warm pool; replace it with a new one if it is not sound."""
        await self._failures.check_time(deal)
        if await self._ready.is_sound(deal.lease, deal.planned_expiry):
            return await self._deals.advance(deal, order_status=_SETTLING)
        try:
            return await self._ready.replace(deal)
        except errors.NoCapacity as error:
            raise workflow.GiveUp("create_failed", "no room for another guest") from error
        except errors.ProxmoxUnavailable as error:
            raise workflow.RetryLater("no node is seen") from error

    async def _settle(self, deal: Deal) -> Deal | None:
        """Move the money. The lease is handed over only after the transfer is seen on chain."""
        if deal.order.status is order.OrderStatus.CLAIMED:
            return await self._look_at_ready(deal)
        if not deal.order.is_paid:
            paid = await self._settling.settle(deal)
            if deal.lease.pooled_at is not None:
                deal = await self._deals.note_paid(deal, paid.transaction)
            elif deal.order.settles_first or paid.may_be_stopped:
                return await self._deals.start_paid(deal, paid.transaction)
            else:
                await self._activate(deal, paid.transaction)
                return None
        await self._hand_over(deal)
        await self._activate(deal, deal.order.transaction)
        return None

    async def _hand_over(self, deal: Deal) -> None:
        try:
            await self._ready.hand_over(deal, self._deals.secrets_of(deal.order))
        except workflow.RetryLater:
            try:
                await self._failures.check_time(deal)
            except workflow.GiveUp:
                await self._check_own_doing(deal)
                return
            raise

    async def _check_own_doing(self, deal: Deal) -> None:
        """Raise GiveUp unless a paid guest is a copy of its tenant's disk, and runs.

        What keeps it from being re-keyed is on that disk: another copy would be no better, and
        would run for nothing meanwhile.
        """
        if not deal.lease.is_copy or await self._look(deal) is not machine.Sight.RUNNING:
            raise workflow.GiveUp("create_failed", "the paid container did not come up in time")
        log.warning("copy_not_rekeyed", lease=deal.lease.lease_id, vmid=deal.lease.vmid)

    async def _activate(self, deal: Deal, transaction: str | None) -> None:
        recheck = self._settling.needs_recheck(deal.order.network)
        deal = await self._guest_steps.connect_paid(deal)
        await self._deals.activate(deal, transaction, recheck=recheck)

    async def _look(self, deal: Deal) -> machine.Sight:
        try:
            return await self._machines.look(deal.lease)
        except pve.ProxmoxError as error:
            raise await self._failures.passing_or_final(deal, error, "create_failed") from error

    async def _look_for_guest(self, deal: Deal) -> None:
        sight = await self._look(deal)
        if sight is machine.Sight.IN_MAKING:
            await self._failures.check_time(deal)
            raise workflow.RetryLater("the guest is still being made")
        if sight not in {machine.Sight.STOPPED, machine.Sight.RUNNING}:
            raise workflow.GiveUp("create_failed", f"no guest after its creation: {sight.value}")

    async def _refuse(self, row: order.Order, end: workflow.GiveUp) -> None:
        """Write the refusal on the order and its lease, as they are now.

        A paid order is no longer refused: its guest is made again.
        """
        deal = await self._deals.reopen(row)
        if deal.order.is_paid:
            await self._failures.make_anew(deal, end.reason)
            return
        log.warning("creation_refused", order=row.order_id, refusal=end.refusal, reason=end.reason)
        await self._deals.refuse(deal, end.refusal, end.reason)
