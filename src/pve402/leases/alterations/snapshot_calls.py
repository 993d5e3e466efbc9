"""Calls to Proxmox about snapshots, each noted before it is sent and after it was answered.

    asked_at   upid    what is known
    none       none    nothing was asked that could still happen
    set        none    sent, or about to be: it may arrive until `late_create_seconds` later
    set        set     a task, whose end can be waited for

A 200 says only that a task runs, and a task that succeeds only that somebody should look.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import structlog

from pve402.domain import lease, mark, snapshots
from pve402.leases import machine, moves, options, workflow
from pve402.proxmox import errors as pve
from pve402.proxmox import guests as pve_guests
from pve402.proxmox import snapshots as pve_snapshots
from pve402.proxmox import tasks as pve_tasks
from pve402.storage import database, snapshot_rows, transaction

log = structlog.get_logger(__name__)

_TASK_LIMIT_SECONDS = 300.0
_POLL = pve_tasks.PollPolicy(first_seconds=0.05, factor=1.25, ceiling_seconds=1.0)
_OURS = frozenset({machine.Sight.STOPPED, machine.Sight.RUNNING})


class SnapshotCalls:
    """Sends calls about snapshots for one process at a time, and tells what came of them."""

    def __init__(
        self,
        db: database.Database,
        machines: machine.Machines,
        guests: pve_guests.Guests,
        tasks: pve_tasks.Tasks,
        on_proxmox: pve_snapshots.GuestSnapshots,
        settings: options.LeaseOptions,
    ) -> None:
        self._db = db
        self._machines = machines
        self._guests = guests
        self._tasks = tasks
        self.on_proxmox = on_proxmox
        self._settings = settings

    async def ask(
        self,
        row: lease.Lease,
        one: snapshots.Snapshot,
        send: Callable[[], Awaitable[pve_tasks.Upid]],
    ) -> tuple[snapshots.Snapshot, pve.ProxmoxError | None]:
        """Have Proxmox do something, and wait for it; return why it was refused, if it was.

        Sends nothing if the lease was taken over (FenceLostError), or if its guest is not there
        (GuestMissing). Raises OutcomeUnknown, Unreachable, TaskTimeout.
        """
        async with self._machines.turn_to_write(row.node):
            if await self._machines.look(row) not in _OURS:
                raise pve.GuestMissing(f"guest {row.vmid} is not the lease's")
            one = await self.note(row, one, asked_at=self._db.now(), upid=None)
            try:
                upid = await send()
            except pve.OutcomeUnknown:
                raise
            except pve.Unreachable:
                await self.note(row, one, asked_at=None)
                raise
            except pve.ProxmoxError as error:
                return await self.note(row, one, asked_at=None), error
            one = await self.note_task(one, upid)
            return one, await self._end_of(upid)

    async def settle(self, row: lease.Lease, one: snapshots.Snapshot) -> pve.ProxmoxError | None:
        """Wait until nothing that was asked before can still happen; return why it failed.

        Raises RetryLater while a call without an answer may still arrive, TaskTimeout, Unreachable.
        """
        if one.asked_at is None:
            return None
        if one.upid is not None:
            return await self._end_of(pve_tasks.Upid.parse(one.upid))
        arrives = one.asked_at + timedelta(seconds=self._settings.late_create_seconds)
        now = await self._db.time()
        if now < arrives:
            raise workflow.retry_at(arrives, now, "a call without an answer may still arrive")
        for upid in await self._tasks.list_active(row.node, row.vmid):
            if upid.type in pve_snapshots.TASKS:
                await self._end_of(upid)
        return None

    async def note(
        self, row: lease.Lease, one: snapshots.Snapshot, **values: Any
    ) -> snapshots.Snapshot:
        """Write something down, if the lease is still ours. Raises FenceLostError."""
        async with self._db.begin() as tx:
            await snapshot_rows.check_fence(tx, row)
            return await snapshot_rows.update(tx, one, **values)

    async def note_failed(
        self, row: lease.Lease, one: snapshots.Snapshot, **values: Any
    ) -> lease.Lease:
        """Write down that one could not be taken; those that failed before give way to it.

        What it has burnt is given back. Raises FenceLostError.
        """
        return await self._give_back(row, one, state=snapshots.State.FAILED.value, **values)

    async def note_given_up(self, row: lease.Lease, one: snapshots.Snapshot) -> lease.Lease:
        """Write down that one is no longer wanted though it may still be taken: it is deleted then.

        What it has burnt is given back. Raises FenceLostError.
        """
        given_up = {"state": snapshots.State.DELETING.value}
        return await self._give_back(row, one, problem=snapshots.SnapshotFailed.code, **given_up)

    async def _give_back(
        self, row: lease.Lease, one: snapshots.Snapshot, **values: Any
    ) -> lease.Lease:
        nothing = dict.fromkeys(("gb", "burn", "burns_since"))
        async with self._db.begin() as tx:
            moved = await self._end_burning(tx, row, one, failed=True)
            await snapshot_rows.remove_failed(tx, row.lease_id)
            await snapshot_rows.update(tx, one, **nothing, **values)
        return moved

    async def note_task(self, one: snapshots.Snapshot, upid: pve_tasks.Upid) -> snapshots.Snapshot:
        """Write down the task of a call that was sent. Raises FenceLostError after another call."""
        async with self._db.begin() as tx:
            return await snapshot_rows.note_task(tx, one, upid.text)

    async def remove(self, row: lease.Lease, one: snapshots.Snapshot) -> lease.Lease:
        """Delete the row of a snapshot that is gone, and burns no more. Raises FenceLostError."""
        async with self._db.begin() as tx:
            moved = await self._end_burning(tx, row, one, failed=False)
            await snapshot_rows.remove(tx, one)
        return moved

    async def correct(self, row: lease.Lease) -> lease.Lease:
        """Burn for the snapshots that are there, whatever a replica of an earlier version did."""
        async with self._db.begin() as tx:
            return await moves.end_burning(self._db, tx, row)

    async def _end_burning(
        self,
        tx: transaction.Transaction,
        row: lease.Lease,
        one: snapshots.Snapshot,
        *,
        failed: bool,
    ) -> lease.Lease:
        if not one.burn:
            await snapshot_rows.check_fence(tx, row)
            return row
        return await moves.end_burning(self._db, tx, row, one, failed=failed)

    async def seen(
        self, row: lease.Lease, one: snapshots.Snapshot
    ) -> pve_snapshots.SeenSnapshot | None:
        """Return the snapshot as Proxmox lists it, None if it does not. Raises GuestMissing."""
        await self.own_config(row)
        found = await self.on_proxmox.list(ref(row))
        return next((seen for seen in found if seen.name == one.pve_name), None)

    async def own_config(
        self, row: lease.Lease, *, current: bool = False
    ) -> pve_guests.GuestConfig:
        """Return the guest's options, `current` without what waits for its next start.

        Raises GuestMissing if the guest is not the lease's.
        """
        config = await self._guests.config(ref(row), current=current)
        if not self.is_marked(row, config):
            raise pve.GuestMissing(f"guest {row.vmid} is not the lease's")
        return config

    def is_marked(self, row: lease.Lease, config: pve_guests.GuestConfig) -> bool:
        """Whether these options carry the lease's tags."""
        return mark.is_marked(config.tags, self._settings.instance, row.lease_id)

    async def finished(self, upid: pve_tasks.Upid) -> None:
        """Wait for a task. Raises what it failed with."""
        error = await self._end_of(upid)
        if error is not None:
            raise error

    async def _end_of(self, upid: pve_tasks.Upid) -> pve.ProxmoxError | None:
        try:
            await self._tasks.wait_until_finished(
                upid, limit_seconds=_TASK_LIMIT_SECONDS, policy=_POLL
            )
        except pve.TaskMissing:  # so long ago that its node has forgotten it
            return None
        except pve.TaskFailed as error:
            log.warning("task_failed", upid=error.upid, end=error.exitstatus, log=error.log_tail)
            return error.cause
        return None


def problem_of(error: pve.ProxmoxError | None) -> str:
    """Return the code that tells a tenant about a refusal."""
    if isinstance(error, pve.SnapshotsNotPossible):
        return snapshots.SnapshotsNotPossible.code
    if isinstance(error, pve.GuestLocked):
        return snapshots.ContainerLocked.code
    return snapshots.SnapshotFailed.code


def ref(row: lease.Lease) -> pve_guests.GuestRef:
    """Name the lease's guest to Proxmox."""
    return pve_guests.GuestRef(node=row.node, vmid=row.vmid)
