"""Makes a lease's guest as a clone of another guest, and makes it what its lease says.

    noted      the lease's row names the base, before anything is asked of Proxmox VE
    cloned     the clone has its own name and our signed description, else all that its base has
    whole      tags, card, shares and size are the lease's, are read back, and it is still down

All that happens while the lease is RESERVED, so nothing can start a guest that is not whole, and a
process that takes over goes on from what it sees: `Sight.UNFINISHED` is a clone that was made for
the lease. Only what is certainly not there is asked for again. The base is a prepared image, or
what an origin of the caller's says: see `leases.origins`. If it is on another node, the clone is
made there and moves at the end. Where no image can be used, the guest is unpacked from its
template.

Proxmox VE gives a clone no password and no keys; they are set as in a warm guest, which is why the
row says since when it waits for them (`pooled_at`).
"""

import functools
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog

from pve402.domain import lease
from pve402.leases import (
    cluster,
    deals,
    guest_networks,
    machine,
    making_turns,
    moves,
    options,
    origins,
    whole_clones,
    workflow,
)
from pve402.proxmox import errors as pve
from pve402.proxmox import guests as pve_guests
from pve402.proxmox import snapshots as pve_snapshots
from pve402.proxmox import tasks as pve_tasks
from pve402.storage import database, transaction

log = structlog.get_logger(__name__)

Sight = machine.Sight
Move = Callable[[deals.Move], Awaitable[lease.Lease]]
_LOCKED_PAUSE_SECONDS = 0.3
_MOST_LOCKED = 30  # looks of one order in a row; then the lock is one that nobody removes
_LENT_PATIENCE = timedelta(seconds=15)  # those looks take less; other nodes may want the image


class ForeignError(Exception):
    """The vmid is not the lease's any more; the text says why."""


class _GoneError(Exception):
    """The base may not be cloned any more."""


class Clones:
    """Clones guests for the workflows; any process may go on with what another began."""

    def __init__(
        self,
        db: database.Database,
        machines: machine.Machines,
        guests: pve_guests.Guests,
        guest_network: guest_networks.GuestNetworks,
        settings: options.LeaseOptions,
        view: cluster.ClusterView,
        *,
        on_proxmox: pve_snapshots.GuestSnapshots,
    ) -> None:
        self._db = db
        self._machines = machines
        self._guests = guests
        self._on_proxmox = on_proxmox
        self._networks = guest_network
        self._settings = settings
        self._whole = whole_clones.WholeClones(machines, guests, guest_network)
        self._locked: dict[str, dict[str, int]] = {}  # by base, then by the lease that waits
        self.images = origins.Images(db, machines, guests, view, settings.instance)

    def guest_of(
        self, lease_id: str, *, snapshot: str | None, is_linked: bool
    ) -> origins.GuestOrigin:
        """Return an origin: a lease's guest, which is down, or a snapshot of it.

        The snapshot is named as on Proxmox VE. A linked clone shares what both disks have.
        """
        return origins.GuestOrigin(
            self._db,
            self._machines,
            self._guests,
            self._on_proxmox,
            self._settings.instance,
            lease_id=lease_id,
            snapshot=snapshot,
            is_linked=is_linked,
        )

    async def make(
        self,
        row: lease.Lease,
        planned_expiry: datetime,
        move: Move,
        origin: origins.Origin | None = None,
    ) -> lease.Lease | None:
        """Clone the guest of a RESERVED lease and make it whole; from an image if none is named.

        Returns None if that cannot be, so that nothing was made, and nothing can appear any more
        unless the guest was unpacked. Raises RetryLater, ForeignError, ProxmoxErrors,
        FenceLostError.
        """
        origin = origin or self.images
        found: lease.Lease | None = row
        if row.create_sent_at is not None:
            if row.base is None:  # an unpacked guest was asked for, and may appear
                return None
            found = await self._resume(row, move, origin)
        if found is not None and await self._is_to_be_asked_for(found):
            found = await self._ask(found, planned_expiry, move, origin)
        if found is None:
            return None
        try:
            await self._whole.make(found, planned_expiry, had_rules=origin.had_tenant)
        except whole_clones.StrangeError as error:
            origin.leave_alone(found.base, found.node)
            raise pve.ProxmoxFault(str(error)) from error
        return found

    async def _is_to_be_asked_for(self, row: lease.Lease) -> bool:
        return row.base is None or await self._machines.look(row) is Sight.ABSENT

    async def _resume(
        self, row: lease.Lease, move: Move, origin: origins.Origin
    ) -> lease.Lease | None:
        """Find out what became of a clone that was asked for; None if it failed for good."""
        sight = await self._machines.look(row)
        if sight in {Sight.UNFINISHED, Sight.STOPPED}:
            return row
        if sight in {Sight.FOREIGN, Sight.RUNNING}:
            raise ForeignError(f"a guest that is {sight.value} has the vmid")
        making = await self._find_task(row, sight)
        upid = row.upid or getattr(making, "text", None)
        if upid is not None:
            return await self._await(row, upid, move, origin)
        sent = row.create_sent_at or row.created_at
        now = await self._db.time()
        shows = sent + timedelta(seconds=self._settings.task_shows_seconds)
        if now < shows:
            raise workflow.retry_at(shows, now, "a clone's outcome is not known")
        if sight is Sight.IN_MAKING and await self._machines.look(row) is sight:
            raise ForeignError("locked for creation without a task")
        return row

    async def _find_task(self, row: lease.Lease, sight: Sight) -> pve_tasks.Upid | None:
        """Return a task that may make the clone; none if its base's node does not tell.

        Every node sees a clone before its task begins, so without a clone there is no task.
        """
        try:
            return await self._machines.find_task(row, machine.CREATING)
        except (pve.Unreachable, pve.OutcomeUnknown):
            if sight is not Sight.ABSENT:
                raise
            return None

    async def _ask(
        self, row: lease.Lease, planned_expiry: datetime, move: Move, origin: origins.Origin
    ) -> lease.Lease | None:
        """Ask for a clone, and wait for its task; None if there is no base, or not any more."""
        is_first = row.base is None
        base = await origin.find(row)
        if base is None:
            if not is_first:
                await self._give_up_late(row, move)
            return None
        spec = self._machines.spec(row, planned_expiry)
        spec.parameters(row.vmid)  # raises if there can be no such guest
        try:
            async with self._machines.turn_to_write(base.row.node):
                await self._check(origin, base, row)
                row = await move(functools.partial(self._note, base=base, origin=origin))
                await self._networks.prepare(row)
                upid = await self._guests.clone(
                    base.ref,
                    row.vmid,
                    hostname=spec.hostname,
                    description=spec.description,
                    pool=spec.pool,
                    snapshot=base.snapshot,
                    is_linked=base.is_linked,
                    target=None if base.row.node == row.node else row.node,
                )
        except _GoneError:
            return None if is_first else row
        except pve.OutcomeUnknown:
            raise
        except pve.ProxmoxError as error:
            if is_first and row.create_sent_at is not None:
                await move(moves.forget_clone)
            if is_first and await self._has_waited(row, base, error):
                return None
            if self._is_passing(row, base, error, is_patient=origin.had_tenant):
                raise
            log.warning("not_cloned", base=base.lease_id, error=workflow.reason_of(error))
            origin.leave_alone(base.lease_id, row.node)
            if is_first:
                return None
            raise workflow.RetryLater("the base cannot be cloned") from error
        self._locked.pop(base.lease_id, None)
        row = await move(functools.partial(moves.note_clone, upid=upid.text))
        return await self._await(row, upid.text, move, origin)

    async def _check(self, origin: origins.Origin, base: origins.Source, row: lease.Lease) -> None:
        """Check the base. If it is on another node that does not answer, only the base is given up.

        Noticing that takes half a minute. So an order that waited for its turn meanwhile first
        looks whether the base was given up, and does not wait as long again.
        """
        if base.row.node == row.node:
            await origin.check(base, row)
            return
        found = await origin.find(row)
        if found is None or found.lease_id != base.lease_id:
            raise _GoneError
        try:
            await origin.check(base, row)
        except (pve.Unreachable, pve.OutcomeUnknown) as error:
            raise pve.ProxmoxFault(f"node {base.row.node} of the base does not answer") from error

    async def _has_waited(
        self, row: lease.Lease, base: origins.Source, error: pve.ProxmoxError
    ) -> bool:
        """Whether a lease waited long enough for another node's image, which others clone."""
        if not isinstance(error, pve.GuestLocked) or base.row.node == row.node:
            return False
        return await self._db.time() > row.created_at + _LENT_PATIENCE

    def _is_passing(
        self,
        row: lease.Lease,
        base: origins.Source,
        error: pve.ProxmoxError,
        *,
        is_patient: bool,
    ) -> bool:
        """Whether to try again; raises RetryLater if that may be soon.

        While another clone of the base is made, it is locked, for minutes perhaps if it is copied.
        A lock of an image that stays is nobody's; with patience, the caller says when to give up.
        """
        if isinstance(error, pve.GuestExists):
            raise workflow.RetryLater("the vmid was taken meanwhile", after_seconds=0.2)
        if isinstance(error, pve.GuestLocked):
            waiting = self._locked.setdefault(base.lease_id, {})
            waiting[row.lease_id] = waiting.get(row.lease_id, 0) + 1
            if is_patient or waiting[row.lease_id] < _MOST_LOCKED:
                reason = "another clone of the base is made"
                raise workflow.look_again(reason, waiting[row.lease_id], _LOCKED_PAUSE_SECONDS)
            del self._locked[base.lease_id]
            return False
        return isinstance(error, workflow.TRANSIENT)

    async def _give_up_late(self, row: lease.Lease, move: Move) -> None:
        """Forget a clone that cannot appear any more. Raises RetryLater while it may."""
        sent = row.create_sent_at or row.created_at
        arrives = sent + timedelta(seconds=self._settings.late_create_seconds)
        now = await self._db.time()
        if now < arrives:
            raise workflow.retry_at(arrives, now, "a call without an answer may still arrive")
        await move(moves.forget_clone)

    async def _await(
        self, row: lease.Lease, upid: str, move: Move, origin: origins.Origin
    ) -> lease.Lease | None:
        """Wait for the clone's task; None if it failed and left nothing."""
        try:
            await self._machines.wait_until_created(row, upid)
        except pve.TaskMissing:
            pass  # its record is gone; what is there tells
        except pve.ProxmoxError as error:
            is_over = upid == row.upid and isinstance(error.__cause__, pve.TaskFailed)
            if not is_over or await self._machines.look(row) is not Sight.ABSENT:
                raise
            await move(moves.forget_clone)
            if isinstance(error, workflow.TRANSIENT):
                raise workflow.RetryLater(workflow.reason_of(error)) from error
            log.warning("clone_failed", base=row.base, error=workflow.reason_of(error))
            origin.leave_alone(row.base, row.node)
            return None
        return row

    async def _note(
        self,
        tx: transaction.Transaction,
        row: lease.Lease,
        base: origins.Source,
        origin: origins.Origin,
    ) -> lease.Lease:
        """Note the base on the lease, if it may still be cloned, and that a clone is asked for."""
        if not await origin.lock(tx, base):
            raise _GoneError
        row = await making_turns.take(self._db, self._settings, tx, row)
        return await moves.note_base(tx, row, base.lease_id)
