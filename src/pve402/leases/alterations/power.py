"""Lets a tenant start, stop and reboot the guest of an active lease.

Start and stop are recorded on the lease, and the worker carries them out. The reconciler, renewals
and a rebuild of the table follow that record, so a stopped guest stays down until somebody starts
it. The lease's time continues meanwhile, and it keeps its cores, memory and disk. An interrupted
reboot leaves a guest that is down but should run, so it is started again.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import datetime

import structlog

from pve402.domain import errors, lease, power
from pve402.leases import machine, moves, worker, workflow
from pve402.proxmox import errors as pve
from pve402.storage import database, lease_rows, queue, transaction, unfinished_rows

log = structlog.get_logger(__name__)

_PATIENCE_SECONDS = 20.0
_POLL_SECONDS = 0.5


class PowerSwitch:
    """Starts, stops and reboots guests during their paid time."""

    def __init__(
        self,
        db: database.Database,
        machines: machine.Machines,
        lease_worker: worker.Worker,
        on_end: Callable[[lease.Lease, str], Awaitable[None]],
    ) -> None:
        """Keep the parts; `on_end(lease, reason)` closes what is open in a guest."""
        self._db = db
        self._machines = machines
        self._worker = lease_worker
        self._on_end = on_end

    async def start(self, row: lease.Lease) -> lease.Lease:
        """Start the guest; idempotent. Raises LeaseOver, LeaseNotReady, LeaseBusy.

        Waits a few seconds for it; the guest may start, or fail to, after that.
        """
        return await self._want(row, moves.want_running)

    async def stop(self, row: lease.Lease) -> lease.Lease:
        """Stop the guest until somebody starts it; idempotent. Raises and waits like `start`."""
        return await self._want(row, moves.want_stopped)

    async def reboot(self, row: lease.Lease) -> lease.Lease:
        """Shut the guest down and start it; just start it if it is stopped.

        Raises like `start`, and ProxmoxUnavailable if the outcome is unknown.
        """
        wanted = await self._want(row, moves.want_running) if not row.is_to_run else row
        await self.check(wanted)
        async with self._db.begin() as tx:
            await moves.note_reboot(self._db, tx, wanted)
        await self._on_end(wanted, "rebooted")
        try:
            await self._machines.reboot(wanted)
        except (pve.GuestLocked, machine.GuestMovedError, queue.FenceLostError) as error:
            raise errors.LeaseBusy from error
        except pve.GuestMissing as error:
            raise errors.LeaseNotReady from error
        except (pve.ProxmoxError, workflow.RetryLater) as error:
            reason = workflow.reason_of(error)
            log.warning("guest_not_rebooted", lease=row.lease_id, vmid=row.vmid, error=reason)
            raise errors.ProxmoxUnavailable from error
        return wanted

    async def check(self, row: lease.Lease) -> None:
        """Raise the error that a start, a stop or a reboot would get now.

        Raises what `check_running_time` raises, and LeaseBusy while it is down for a rollback,
        for another size, or for another guest in its place.
        """
        check_running_time(row)
        async with self._db.read() as tx:
            await check_not_kept_down(tx, row)

    async def _want(
        self, row: lease.Lease, move: Callable[..., Awaitable[lease.Lease]]
    ) -> lease.Lease:
        check_running_time(row)
        try:
            async with self._db.begin() as tx:
                moved = await move(self._db, tx, row, power.WantedBy.TENANT)
                await check_not_kept_down(tx, row)
        except queue.FenceLostError:
            raise errors.LeaseBusy from None
        return await applied(self._db, self._worker, moved)


async def check_not_kept_down(tx: transaction.Transaction, row: lease.Lease) -> None:
    """Raise LeaseBusy while a lease's guest is down for something that was begun about it."""
    if any(one.keeps_down for one in await unfinished_rows.of_lease(tx, row.lease_id)):
        raise errors.LeaseBusy


async def applied(
    db: database.Database, lease_worker: worker.Worker, row: lease.Lease
) -> lease.Lease:
    """Return a lease once a worker has done what is wanted of it, it ends, or after a while."""
    with lease_worker.changes_of(row.lease_id) as changed:
        lease_worker.wake()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                return await _until_applied(db, row, changed)
    return row


async def _until_applied(
    db: database.Database, row: lease.Lease, changed: asyncio.Event
) -> lease.Lease:
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_POLL_SECONDS):
                await changed.wait()
        changed.clear()
        async with db.read() as tx:
            now = await lease_rows.get(tx, row.lease_id)
        if now is None or now.status is not lease.LeaseStatus.ACTIVE:
            return now or row
        if now.due_at == now.expires_at:
            return now


def check_running_time(row: lease.Lease) -> None:
    """Check that a lease's guest can be started, stopped or rebooted now.

    Raises LeaseOver, LeaseSuspended, LeaseBusy (a renewal holds it), LeaseNotReady (before the
    handover and in grace).
    """
    if row.status in lease.OVER or row.status is lease.LeaseStatus.DELETING:
        raise errors.LeaseOver
    row.check_not_suspended()
    if row.status is not lease.LeaseStatus.ACTIVE:
        raise errors.LeaseNotReady
    if row.hold_order_id is not None:
        raise errors.LeaseBusy


def check_changeable(row: lease.Lease, now: datetime) -> None:
    """Check that a lease's guest can be given another size or disk now.

    Raises as `check_running_time`, and LeaseNotReady if its time is over or it is paused.
    """
    check_running_time(row)
    row.check_usable(now)
    if not moves.is_changeable(row):
        raise errors.LeaseNotReady("The lease is paused; start it first.")
