"""What a tenant does with a running lease's guest: start it, stop it, reboot it.

A start and a stop are written on the lease, and the worker makes them true: the reconciler, a
renewal and a rebuild of the table obey what is written there, so a stopped guest stays down until
somebody starts it. A stopped lease's time goes on, and it keeps its cores, memory and disk. A
reboot that is cut short leaves a guest that is down and wanted running, which is started again.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from pve402.domain import errors, lease, power
from pve402.leases import machine, moves, worker, workflow
from pve402.proxmox import errors as pve
from pve402.storage import database, lease_rows, queue

log = structlog.get_logger(__name__)

_PATIENCE_SECONDS = 20.0
_POLL_SECONDS = 0.5


class PowerSwitch:
    """Starts, stops and reboots guests inside their time."""

    def __init__(
        self,
        db: database.Database,
        machines: machine.Machines,
        lease_worker: worker.Worker,
        on_end: Callable[[lease.Lease, str], Awaitable[None]],
    ) -> None:
        """Take the parts; `on_end(lease, reason)` closes what is open in a guest."""
        self._db = db
        self._machines = machines
        self._worker = lease_worker
        self._on_end = on_end

    async def start(self, row: lease.Lease) -> lease.Lease:
        """Have the guest run; idempotent. Raises LeaseOver, LeaseNotReady, LeaseBusy.

        Waits some seconds for it; the guest may come up, or fail to, after that.
        """
        return await self._want(row, moves.want_running)

    async def stop(self, row: lease.Lease) -> lease.Lease:
        """Have the guest down until it is started; idempotent. Raises and waits like `start`."""
        return await self._want(row, moves.want_stopped)

    async def reboot(self, row: lease.Lease) -> lease.Lease:
        """Shut the guest down and start it; one that is stopped is started.

        Raises like `start`, and ProxmoxUnavailable where the outcome is not known.
        """
        wanted = await self._want(row, moves.want_running) if not row.is_to_run else row
        check_running_time(wanted)
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

    async def _want(
        self, row: lease.Lease, move: Callable[..., Awaitable[lease.Lease]]
    ) -> lease.Lease:
        check_running_time(row)
        try:
            async with self._db.single() as tx:
                moved = await move(self._db, tx, row, power.WantedBy.TENANT)
        except queue.FenceLostError:
            raise errors.LeaseBusy from None
        with self._worker.changes_of(row.lease_id) as changed:
            self._worker.wake()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    return await self._until_applied(moved, changed)
        return moved

    async def _until_applied(self, row: lease.Lease, changed: asyncio.Event) -> lease.Lease:
        """Wait until the worker has put the lease down again."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_SECONDS):
                    await changed.wait()
            changed.clear()
            async with self._db.read() as tx:
                now = await lease_rows.get(tx, row.lease_id)
            if now is None or now.due_at == now.expires_at:
                return now or row


def check_running_time(row: lease.Lease) -> None:
    """Raise why a lease's guest cannot be started, stopped or rebooted now.

    LeaseOver, LeaseBusy (a renewal holds it), LeaseNotReady before the handover and in grace.
    """
    if row.status in lease.OVER or row.status is lease.LeaseStatus.DELETING:
        raise errors.LeaseOver
    if row.status is not lease.LeaseStatus.ACTIVE:
        raise errors.LeaseNotReady
    if row.hold_order_id is not None:
        raise errors.LeaseBusy
