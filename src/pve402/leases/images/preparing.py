"""Makes prepared images: guests that are unpacked, never started, and turned into templates.

    state of the row     step                                              then
    RESERVED             ask Proxmox for the guest                         CREATING
    CREATING             wait for the creation task                        STARTING
    STARTING             turn it into a template, read that back           STOPPED
    STOPPED              nothing; once it is retired and has no clones     DELETING

A row with the owner `IMAGE` takes vmid and disk like any lease, and the first steps are those of
the warm pool. What fails on the way is destroyed and made anew later. As the guest never ran, its
disk holds what its template holds: no keys of a host, no password; and it has no card.
"""

import structlog

from pve402.domain import lease
from pve402.leases import machine, moves, warm_pool, workflow
from pve402.proxmox import errors as pve
from pve402.proxmox import guests as pve_guests
from pve402.storage import database, lease_rows, queue

log = structlog.get_logger(__name__)

Status = lease.LeaseStatus
FAILED = "image_failed"
NOT_LINKABLE = "image_not_linkable"
_LOOKS = 60
_PAUSE_SECONDS = 0.5


class Preparing:
    """Runs the steps of images that are being made; holds no state between steps."""

    def __init__(
        self, db: database.Database, guests: pve_guests.Guests, filling: warm_pool.Filling
    ) -> None:
        self._db = db
        self._guests = guests
        self._filling = filling
        self.steps = {
            Status.RESERVED: workflow.Step(name="create", do=filling.create),
            Status.CREATING: workflow.Step(name="await", do=filling.await_guest),
            Status.STARTING: workflow.Step(name="make template", do=self._make_template),
        }

    async def run(self, row: lease.Lease) -> None:
        """Take an image's row as far as it goes. Raises RetryLater, FenceLostError."""
        try:
            await workflow.run(self.steps, row, lambda row: row.status)
        except workflow.GiveUp as end:
            refusal = end.refusal if end.refusal == NOT_LINKABLE else FAILED
            log.warning("image_not_prepared", image=row.sku, vmid=row.vmid, reason=end.reason)
            async with self._db.begin() as tx:
                current = await lease_rows.get(tx, row.lease_id)
                if current is None or current.fence != row.fence:
                    raise queue.FenceLostError from None
                await moves.unwind(self._db, tx, current, refusal, end.reason)

    async def _make_template(self, row: lease.Lease) -> None:
        """Have the guest turned into a template. The call ends before it is one: look again."""
        ref = pve_guests.GuestRef(node=row.node, vmid=row.vmid)
        try:
            if await self._filling.machines.look(row) is not machine.Sight.STOPPED:
                raise workflow.GiveUp(FAILED, "its guest is gone, not ours, or runs")
            config = await self._guests.config(ref)
            record = self._filling.machines.read_description(config.description)
            if record is None or record.lease_id != row.lease_id:
                raise workflow.GiveUp(FAILED, "its guest has another description")
            if config.values.get("template") != "1":
                if row.attempts > _LOOKS:
                    raise workflow.GiveUp(FAILED, "it does not become a template")
                if row.attempts % 10 == 0:
                    await self._guests.make_template(ref)
                raise workflow.RetryLater("it becomes a template", after_seconds=_PAUSE_SECONDS)
            if not await self._guests.can_link(ref):
                raise workflow.GiveUp(NOT_LINKABLE, "its storage makes no linked clones")
        except (pve.ProxmoxError, machine.GuestMovedError) as error:
            if isinstance(error, workflow.TRANSIENT) and row.attempts <= _LOOKS:
                raise workflow.RetryLater(workflow.reason_of(error)) from error
            raise workflow.GiveUp(FAILED, workflow.reason_of(error)) from error
        async with self._db.single() as tx:
            await moves.enter_images(tx, row)
        log.info("image_prepared", image=row.sku, vmid=row.vmid, node=row.node)


def is_in_making(row: lease.Lease) -> bool:
    """Whether an image's guest is not a template yet."""
    return row.status in {Status.RESERVED, Status.CREATING, Status.STARTING}
