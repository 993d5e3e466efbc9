"""The workflow that saves a lease as a private image: copy, turn into a template, settle.

    state of the image   step                                          taken back by
    RESERVED             copy the lease's guest, strip the copy        destroying it
    CREATING             nothing more: the copy is bare                destroying it
    STARTING             turn it into a template, read that back       destroying it
    SETTLING             settle the payment, hand over                 nothing: it is the last step

The creation of the order (pve402.leases.creation) runs these steps. Nothing starts. Whatever fails
before the money is settled refuses the order, and the image unwinds like any new lease. Nothing can
fail after it, so a saving is never owed: the image is there.
"""

import contextlib
import functools

import structlog

from pve402.domain import errors, lease, mark, order, private_images
from pve402.leases import (
    clones,
    deals,
    failing,
    machine,
    making_turns,
    moves,
    options,
    origins,
    settling,
    workflow,
)
from pve402.proxmox import errors as pve
from pve402.proxmox import guests as pve_guests
from pve402.storage import snapshot_rows

log = structlog.get_logger(__name__)

Deal = deals.Deal
Status = lease.LeaseStatus
FAILED = "image_failed"
_LOOKS = 60
_PAUSE_SECONDS = 0.5


class Saving:
    """Runs the steps of images that are being saved; holds no state between steps."""

    def __init__(
        self,
        deal_writer: deals.Deals,
        machines: machine.Machines,
        guests: pve_guests.Guests,
        cloning: clones.Clones,
        funds: settling.Settling,
        settings: options.LeaseOptions,
    ) -> None:
        self._deals = deal_writer
        self._machines = machines
        self._guests = guests
        self._clones = cloning
        self._settling = funds
        self._settings = settings
        self.steps = {
            Status.RESERVED: workflow.Step(name="copy", do=self._copy),
            Status.CREATING: workflow.Step(name="await", do=self._go_on),
            Status.STARTING: workflow.Step(name="make template", do=self._make_template),
            Status.SETTLING: workflow.Step(name="settle", do=self._settle),
        }

    async def _copy(self, deal: Deal) -> Deal:
        await self._check_time(deal)
        moved = deals.Moving(self._deals, deal)
        try:
            if deal.lease.create_sent_at is None:
                await making_turns.check(self._deals.db, deal.lease, self._settings)
                if not await self._machines.is_vmid_free(deal.lease.vmid):  # somebody else's guest
                    return await self._take_other_vmid(deal)
            origin = await self._origin_of(deal.lease)
            row = await self._clones.make(deal.lease, deal.planned_expiry, moved.move, origin)
        except clones.ForeignError as error:
            raise workflow.GiveUp(FAILED, str(error)) from error
        except pve.ProxmoxError as error:
            raise _passing_or_final(error) from error
        if row is None:
            raise workflow.GiveUp(FAILED, "its container cannot be copied now")
        made = functools.partial(moves.begin_creating, upid=None)
        return await self._deals.advance(moved.deal, made, order_status=order.OrderStatus.WORKING)

    async def _take_other_vmid(self, deal: Deal) -> Deal:
        try:
            return await self._deals.reassign_vmid(deal, "taken by a foreign guest")
        except errors.NoCapacity as error:
            raise workflow.GiveUp(FAILED, "no vmid is free") from error

    async def _go_on(self, deal: Deal) -> Deal:
        await self._check_time(deal)
        return await self._deals.advance(deal, moves.begin_starting)

    async def _make_template(self, deal: Deal) -> Deal:
        """Have the copy turned into a template. The call ends before it is one: look again."""
        await self._check_time(deal)
        row, looks = deal.lease, deal.order.attempts
        ref = pve_guests.GuestRef(node=row.node, vmid=row.vmid)
        try:
            if await self._machines.look(row) is not machine.Sight.STOPPED:
                raise workflow.GiveUp(FAILED, "the copy is gone, not ours, or runs")
            config = await self._guests.config(ref)
            record = self._machines.read_description(config.description)
            if not _is_of(record, row):
                raise workflow.GiveUp(FAILED, "the copy has another description")
            if config.values.get("template") != "1":
                if looks > _LOOKS:
                    raise workflow.GiveUp(FAILED, "the copy does not become a template")
                if looks % 10 in {0, 1}:  # who took over cannot know whether it was asked for
                    with contextlib.suppress(pve.ProxmoxFault):  # it may just be made one
                        await self._guests.make_template(ref)
                raise workflow.RetryLater("it becomes a template", after_seconds=_PAUSE_SECONDS)
        except pve.ProxmoxError as error:
            raise _passing_or_final(error) from error
        settling_ = order.OrderStatus.SETTLING
        return await self._deals.advance(deal, moves.begin_settling, order_status=settling_)

    async def _settle(self, deal: Deal) -> None:
        """Move the money, and hand the image over once the transfer is seen on chain."""
        paid = await self._settling.settle(deal)
        recheck = self._settling.needs_recheck(deal.order.network)
        await self._deals.activate(deal, paid.transaction, recheck=recheck)
        log.info("image_saved", image=deal.lease.lease_id, vmid=deal.lease.vmid)

    async def _origin_of(self, row: lease.Lease) -> origins.GuestOrigin:
        """Return what the image is a copy of. Raises GiveUp if a snapshot is gone."""
        source = private_images.saved_from(row) or ""
        name, snapshot = row.metadata.get("snapshot"), None
        if name is not None:
            async with self._deals.db.read() as tx:
                found = await snapshot_rows.get(tx, source, name)
            if found is None:
                raise workflow.GiveUp(FAILED, "its snapshot is gone")
            snapshot = found.pve_name
        return self._clones.guest_of(source, snapshot=snapshot, is_linked=False)

    async def _check_time(self, deal: Deal) -> None:
        """Give up what took too long, or whose payment could not be settled in time."""
        late = workflow.GiveUp("saving_timed_out", "the copy took too long")
        failing.check_unpaid_time(deal.order, await self._deals.db.time(), self._settings, late)


def _passing_or_final(error: pve.ProxmoxError) -> Exception:
    """An image is made where its lease stands, or nowhere."""
    reason = workflow.reason_of(error)
    if isinstance(error, workflow.TRANSIENT):
        return workflow.RetryLater(reason)
    return workflow.GiveUp(FAILED, reason)


def _is_of(record: mark.GuestRecord | None, row: lease.Lease) -> bool:
    return record is not None and record.lease_id == row.lease_id
