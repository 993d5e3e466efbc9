"""The workflow that makes a lease: create, start, settle, hand over.

    state of the lease   step                              taken back by
    RESERVED             ask Proxmox for the guest         destroying the guest, freeing the vmid
    CREATING             wait for the creation task        destroying the guest
    STARTING             start the guest                   destroying the guest
    SETTLING             settle the payment, hand over     nothing: this is the last step

A payer that is a contract can say yes to every question and no to the transaction, so its guest is
settled between CREATING and STARTING, and handed over when it runs. A guest whose settlement was
unknown for a while may be stopped, and goes back to STARTING too. What is paid and does not start
is made anew, on another node where there is one.

A lease whose guest comes from the warm pool (pve402.leases.warm_guests) begins at the last step,
with a look at that guest before the money and its re-keying after it.

Until the money is settled, any failure refuses the order, whose payment is then never settled, and
the lease unwinds (pve402.leases.lifetime) until its guest is gone. A step that meets a passing
fault is tried again; a creation that outlasts its limit, or its payment's window, is given up.
"""

import functools
import json
from datetime import datetime, timedelta
from typing import NoReturn

import structlog

from pve402.domain import errors, lease, order
from pve402.leases import (
    anew,
    cluster,
    deals,
    machine,
    moves,
    options,
    settling,
    warm_guests,
    workflow,
)
from pve402.proxmox import errors as pve
from pve402.proxmox import tasks as pve_tasks
from pve402.storage import vault

log = structlog.get_logger(__name__)

Deal = deals.Deal
Status = lease.LeaseStatus
_SETTLING = order.OrderStatus.SETTLING


class Creation:
    """Runs the creation workflow of one order at a time; holds no state between steps."""

    def __init__(
        self,
        deal_writer: deals.Deals,
        machines: machine.Machines,
        funds: settling.Settling,
        settings: options.LeaseOptions,
        secret_vault: vault.Vault,
        ready: warm_guests.WarmGuests,
        *,
        again: anew.Anew,
    ) -> None:
        self._ready = ready
        self._anew = again
        self._deals = deal_writer
        self._machines = machines
        self._settling = funds
        self._settings = settings
        self._vault = secret_vault
        self.steps = {
            Status.RESERVED: workflow.Step(name="create", do=self._create),
            Status.CREATING: workflow.Step(name="await", do=self._await_guest),
            Status.STARTING: workflow.Step(name="start", do=self._start),
            Status.SETTLING: workflow.Step(name="settle", do=self._settle),
        }

    async def run(self, row: order.Order) -> None:
        """Take a claimed order as far as it goes.

        Raises RetryLater when it must be looked at again, FenceLostError when another process has
        it, and never for a failure of the order itself, which is written on it.
        """
        deal = await self._deals.open_deal(row)
        try:
            await workflow.run(self.steps, deal, lambda deal: deal.lease.status)
        except workflow.GiveUp as end:
            await self._refuse(row, end)

    async def _create(self, deal: Deal) -> Deal:
        """Ask for the guest. After an earlier try of unknown outcome, look before asking again."""
        first_try = deal.lease.create_sent_at is None
        found = await (self._probe(deal) if first_try else self._adopt(deal))
        if found is not None:
            return found
        sent, upid = await self._send(deal)
        if not first_try:
            await self._wait_out(sent, upid)
        created = functools.partial(moves.begin_creating, upid=upid.text)
        return await self._deals.advance(sent, created, order_status=order.OrderStatus.WORKING)

    async def _send(self, deal: Deal) -> tuple[Deal, pve_tasks.Upid]:
        """Write down that the guest is asked for, and ask for it."""
        sent = deal
        try:
            async with self._machines.turn_to_write(deal.lease.node):
                noted = functools.partial(moves.note_create_sent, self._deals.db)
                sent = await self._deals.advance(deal, noted)
                upid = await self._machines.ask_to_create(
                    sent.lease, self._secrets(sent.order), self._planned_expiry(sent)
                )
        except pve.GuestExists:
            await self._check_time(sent)
            raise workflow.RetryLater("the vmid was taken meanwhile", after_seconds=0.2) from None
        except pve.ProxmoxError as error:
            raise await self._passing_or_final(deal, error, "create_failed") from error
        return sent, upid

    async def _probe(self, deal: Deal) -> Deal | None:
        """See that the vmid is free: then None. If a guest stands there, look whose it is.

        Ours can stand there if the database forgot that it was asked for.
        """
        try:
            free = await self._machines.is_vmid_free(deal.lease.vmid)
        except pve.ProxmoxError as error:
            raise await self._passing_or_final(deal, error, "create_failed") from error
        if free:
            return None
        found = await self._adopt(deal)
        return found or await self._deals.reassign_vmid(deal, "taken on another node")

    async def _adopt(self, deal: Deal) -> Deal | None:
        """Find out what became of an earlier request; None if it may be sent (again)."""
        sight = await self._look(deal)
        if sight is machine.Sight.IN_MAKING:
            return await self._adopt_making(deal)
        if sight in {machine.Sight.STOPPED, machine.Sight.RUNNING}:
            found = functools.partial(moves.begin_creating, upid=None)
            return await self._deals.advance(deal, found, order_status=order.OrderStatus.WORKING)
        if sight is machine.Sight.FOREIGN:
            return await self._deals.reassign_vmid(deal, "taken by a foreign guest")
        return None

    async def _adopt_making(self, deal: Deal) -> Deal:
        upid = await self._machines.find_creation(deal.lease)
        if upid is not None:
            await self._wait_out(deal, upid)
        await self._check_abandoned(deal)
        log.error("guest_locked_without_task", vmid=deal.lease.vmid, node=deal.lease.node)
        return await self._deals.reassign_vmid(deal, "locked for creation without a task")

    async def _wait_out(self, deal: Deal, upid: pve_tasks.Upid) -> NoReturn:
        """Wait for a creation on the vmid and look again: only then it shows whose it was.

        Its task is not written down. Where two requests were sent, no task tells that the other
        will not appear, and a lease without one waits for that when it unwinds.
        """
        try:
            await self._machines.wait_until_created(deal.lease, upid.text)
        except pve.TaskMissing:
            await self._check_time(deal)  # its record is gone; the look tells
        except pve.ProxmoxError as error:
            raise await self._passing_or_final(deal, error, "create_failed") from error
        raise workflow.RetryLater("the creation has just ended", after_seconds=0)

    async def _check_abandoned(self, deal: Deal) -> None:
        """Raise RetryLater unless the task that locked the vmid has surely died.

        Proxmox locks the vmid just before it starts the task, and frees it just before the task
        ends, so a task that is not seen may be about to begin, or have ended since the lock was.
        """
        sent = deal.lease.create_sent_at
        grace = timedelta(seconds=self._settings.task_shows_seconds)
        if sent is not None and await self._deals.db.time() < sent + grace:
            raise workflow.RetryLater("locked for creation, no task seen yet", after_seconds=1)
        if await self._look(deal) is not machine.Sight.IN_MAKING:
            raise workflow.RetryLater("the creation has just ended", after_seconds=0)

    async def _await_guest(self, deal: Deal) -> Deal:
        """Wait for the task of the creation; without one, the guest was found ready."""
        if deal.lease.upid is not None:
            try:
                await self._machines.wait_until_created(deal.lease, deal.lease.upid)
            except pve.TaskMissing:
                await self._look_for_guest(deal)
            except pve.ProxmoxError as error:
                await self._ask_again(deal, error)
        else:
            await self._look_for_guest(deal)
        if not deal.order.settles_first or deal.order.is_paid:
            return await self._deals.advance(deal, moves.begin_starting)
        await self._check_time(deal)
        return await self._deals.advance(deal, moves.begin_settling, order_status=_SETTLING)

    async def _ask_again(self, deal: Deal, error: pve.ProxmoxError) -> NoReturn:
        """Ask for the guest again where its creation ended and made nothing, for a passing reason.

        Proxmox gave up on a lock, say: that task's end never changes, however often it is read.
        """
        is_over = isinstance(error.__cause__, pve.TaskFailed)
        failure = await self._passing_or_final(deal, error, "create_failed")
        is_passing = isinstance(error, workflow.TRANSIENT)
        if is_over and is_passing and await self._look(deal) is machine.Sight.ABSENT:
            await self._deals.advance(deal, moves.ask_again)
        raise failure from error

    async def _start(self, deal: Deal) -> Deal | None:
        """Start the guest; the money is asked for only while there is time to settle."""
        fresh = deal.order.attempts == 0
        try:
            await self._machines.ensure_running(deal.lease, look_first=not fresh)
        except pve.ProxmoxError as error:
            raise await self._passing_or_final(deal, error, "start_failed") from error
        if deal.order.is_paid:
            await self._activate(deal, deal.order.transaction)
            return None
        await self._check_time(deal)
        return await self._deals.advance(deal, moves.begin_settling, order_status=_SETTLING)

    async def _look_at_ready(self, deal: Deal) -> Deal:
        """See that a guest of the warm pool is sound; one that is not is replaced by a new one."""
        await self._check_time(deal)
        if await self._ready.is_sound(deal.lease, self._planned_expiry(deal)):
            return await self._deals.advance(deal, order_status=_SETTLING)
        try:
            return await self._ready.replace(deal)
        except errors.NoCapacity as error:
            raise workflow.GiveUp("create_failed", "no room for another guest") from error
        except errors.ProxmoxUnavailable as error:
            raise workflow.RetryLater("no node is seen") from error

    async def _settle(self, deal: Deal) -> Deal | None:
        """Move the money. Only a transfer seen on chain hands the lease over."""
        if deal.order.status is order.OrderStatus.CLAIMED:
            return await self._look_at_ready(deal)
        paid = await self._settling.settle(deal)
        if deal.lease.pooled_at is not None:
            await self._ready.hand_over(deal, self._secrets(deal.order))
        elif deal.order.settles_first or paid.may_be_stopped:
            return await self._deals.start_paid(deal, paid.transaction)
        await self._activate(deal, paid.transaction)
        return None

    async def _activate(self, deal: Deal, transaction: str | None) -> None:
        recheck = self._settling.needs_recheck(deal.order.network)
        await self._deals.activate(deal, transaction, recheck=recheck)

    async def _look(self, deal: Deal) -> machine.Sight:
        try:
            return await self._machines.look(deal.lease)
        except pve.ProxmoxError as error:
            raise await self._passing_or_final(deal, error, "create_failed") from error

    async def _look_for_guest(self, deal: Deal) -> None:
        sight = await self._look(deal)
        if sight is machine.Sight.IN_MAKING:
            await self._check_time(deal)
            raise workflow.RetryLater("the guest is still being made")
        if sight not in {machine.Sight.STOPPED, machine.Sight.RUNNING}:
            raise workflow.GiveUp("create_failed", f"no guest after its creation: {sight.value}")

    async def _refuse(self, row: order.Order, end: workflow.GiveUp) -> None:
        """Write the refusal on the order and its lease as they stand now.

        What is paid is not refused any more: its guest is made anew.
        """
        deal = await self._deals.reopen(row)
        if deal.order.is_paid:
            await self._anew.make(deal, end.reason)
            return
        log.warning("creation_refused", order=row.order_id, refusal=end.refusal, reason=end.reason)
        await self._deals.refuse(deal, end.refusal, end.reason)

    async def _passing_or_final(
        self, deal: Deal, error: pve.ProxmoxError, refusal: str
    ) -> Exception:
        """Return what a failure of Proxmox means: try again while there is time, or give up."""
        reason = workflow.reason_of(error)
        if isinstance(error, cluster.NOT_HERE) and not deal.order.is_paid:
            return await self._anew.elsewhere(deal, reason)
        if not isinstance(error, workflow.TRANSIENT):
            return workflow.GiveUp(refusal, reason)
        await self._check_time(deal)
        return workflow.RetryLater(reason)

    async def _check_time(self, deal: Deal) -> None:
        """Give up a creation that took too long, or whose payment could not be settled in time."""
        if deal.order.is_paid:
            return
        now = await self._deals.db.time()
        limit = timedelta(seconds=self._settings.creation_limit_seconds)
        margin = timedelta(seconds=self._settings.settle_margin_seconds)
        if now > deal.order.created_at + limit:
            raise workflow.GiveUp("creation_timed_out", "the creation took too long")
        if now > deal.order.valid_before - margin:
            raise workflow.GiveUp("payment_expired", "the payment's window ends before settlement")

    def _planned_expiry(self, deal: Deal) -> datetime:
        return deal.order.created_at + timedelta(minutes=deal.order.minutes)

    def _secrets(self, row: order.Order) -> machine.Secrets:
        if row.sealed_secrets is None:
            raise workflow.GiveUp("secrets_erased", "the secrets of this order were erased")
        stored = json.loads(self._vault.unseal(row.sealed_secrets, row.order_id))
        return machine.Secrets(
            password=stored["password"], ssh_public_keys=tuple(stored["ssh_public_keys"])
        )
