"""The workflow that ends a lease: stop, keep for a while, destroy; and the unwinding of a new one.

    state of the lease   step                                       then
    ACTIVE               snapshots, another size or guest;          ACTIVE
                         start or stop the guest, as requested;     ACTIVE
                         once it is down, a pause begins            ACTIVE
                         the time of some suspended leases is held  ACTIVE
                         or its time is over                        STOPPING
    STOPPING             shut the guest down, hard after a limit    STOPPED, or DELETING on request
    STOPPED              the grace is over                          DELETING
                         or its guest was found running             STOPPING, the grace goes on
    DELETING             destroy the guest, free the vmid           ENDED
    UNWINDING            destroy the guest, free the vmid           FAILED

No step is undone or given up: a failing step is retried forever, with growing pauses, and shows in
`last_error` and in the metrics. A state is written only once it is true: STOPPED after we saw the
guest down, ENDED and FAILED after we saw it gone. A renewal that takes its hold clears the fence,
so a step that is still running here can no longer write.
"""

import contextlib
import functools
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import structlog

from pve402.domain import lease, meter, power
from pve402.leases import deals, guest_networks, machine, metrics, moves, options, workflow
from pve402.leases.alterations import reinstall_steps, size_change_steps, snapshot_steps
from pve402.proxmox import errors as pve
from pve402.storage import (
    address_rows,
    database,
    port_rows,
    reinstall_rows,
    size_change_rows,
    snapshot_rows,
    token_rows,
    unfinished_rows,
    vmid_rows,
)

log = structlog.get_logger(__name__)

Status = lease.LeaseStatus

_HELD_PAUSE = timedelta(hours=1)  # between two looks at a lease whose time stands still


class Lifetime:
    """Runs the steps of leases that fall due."""

    def __init__(
        self,
        db: database.Database,
        machines: machine.Machines,
        settings: options.LeaseOptions,
        on_end: Callable[[lease.Lease, str], Awaitable[None]],
        guest_network: guest_networks.GuestNetworks,
        *,
        snapshots: snapshot_steps.SnapshotSteps,
        size_changes: size_change_steps.SizeChangeSteps,
        reinstalls: reinstall_steps.ReinstallSteps,
    ) -> None:
        """Keep the parts; `on_end(lease, reason)` closes consoles when a guest goes down."""
        self._reinstalls = reinstalls
        self._snapshots = snapshots
        self._size_changes = size_changes
        self._db = db
        self._machines = machines
        self._settings = settings
        self._on_end = on_end
        self._networks = guest_network
        self.steps = {
            Status.ACTIVE: workflow.Step(name="expire", do=self._expire),
            Status.STOPPING: workflow.Step(name="stop", do=self._stop),
            Status.STOPPED: workflow.Step(name="end grace", do=self._end_grace),
            Status.DELETING: workflow.Step(name="delete", do=self._delete),
            Status.UNWINDING: workflow.Step(name="unwind", do=self._unwind),
        }

    async def run(self, row: lease.Lease) -> None:
        """Take a due lease as far as it goes.

        Raises RetryLater, FenceLostError, or the error of an outside call; the row stays as it is.
        """
        try:
            await workflow.run(self.steps, row, lambda row: row.status)
        except machine.GuestMovedError as moved:
            await self._follow(row, moved.node)

    async def _follow(self, row: lease.Lease, node: str) -> None:
        """Record the node that the guest was migrated to, and retry at once."""
        log.info("guest_moved", lease=row.lease_id, node=node)
        async with self._db.single() as tx:
            await moves.follow_when_due(self._db, tx, row, node)

    async def _expire(self, row: lease.Lease) -> lease.Lease | None:
        """Begin to stop a lease whose time is over, unless a renewal holds it."""
        if row.is_emptied:
            return await self._refill(row)
        if meter.is_outdated(row):
            row = await self._meter(row, moves.correct_pause)
        if row.expires_at is None:
            raise LookupError(f"lease {row.lease_id} is active without an end")
        now = await self._db.time()
        if row.suspension is not None and row.suspension.time_held:
            await self._apply_power(row)
            await self._wait_until(row, now + _HELD_PAUSE)
            return None
        if now < row.expires_at:
            return await self._serve(row, row.expires_at)
        if row.hold_until is not None and now < row.hold_until:
            await self._wait_until(row, row.hold_until)
            return None
        longer = (
            await self._size_changes.abandon(row)
            or await self._snapshots.abandon(row)
            or await self._reinstalls.abandon(row)
        )
        if longer is not None:
            return longer
        reason = row.end_reason or "expired"
        stopping = functools.partial(moves.begin_stopping, self._db, reason=reason)
        return await self._move(row, stopping)

    async def _refill(self, row: lease.Lease) -> lease.Lease | None:
        """Have another guest made; until then the lease's time stands still, suspended or not."""
        back = await self._reinstalls.advance(row)
        if back is not row:
            return back
        await self._wait_until(row, await self._db.time() + _HELD_PAUSE)
        return None

    async def _serve(self, row: lease.Lease, ends: datetime) -> lease.Lease | None:
        """Do what is due during the paid time; return the row if it must be looked at again."""
        back, look_at = await self._go_on(row)
        if back is not row:  # another guest, disk, size or wish, and perhaps another end
            return back
        row = await self._apply_power(row)
        ends = row.expires_at or ends  # a pause moves it
        if self._networks.is_outdated(row):
            await self._machines.write_description(row)
        row, again_at = await self._networks.advance(row, functools.partial(self._move, row))
        await self._wait_until(row, min([ends, *(look for look in (again_at, look_at) if look)]))
        return None

    async def _go_on(self, row: lease.Lease) -> tuple[lease.Lease, datetime | None]:
        """Go on with what was begun about the guest; return the row, and when to look again."""
        async with self._db.read() as tx:
            begun = await unfinished_rows.kinds(tx, row.lease_id)
        if unfinished_rows.Kind.REINSTALL in begun:
            return await self._reinstalls.advance(row), None
        back, look_at = await self._snapshots.advance(row)
        if back is row and unfinished_rows.Kind.SIZE_CHANGE in begun:
            return await self._size_changes.advance(row)
        return back, look_at

    async def _apply_power(self, row: lease.Lease) -> lease.Lease:
        """Start, stop or pause the guest of an active lease, as its tenant or the operator wants.

        If the guest does not start, the reconciler retries a few times an hour. A suspension is
        written on the guest, so that it survives a lost database, and so are its end, whoever
        changed the lease after that, and minutes that were taken back.
        """
        with contextlib.suppress(pve.GuestMissing):
            await self._machines.describe_changes(row)
        if not row.is_to_run:
            await self._on_end(row, "suspended" if row.suspension else "stopped_by_owner")
            sight = await self._machines.ensure_stopped(row)
            if sight is machine.Sight.RUNNING:
                raise workflow.RetryLater("the guest still runs after it was stopped")
            return await self._pause(row) if sight is machine.Sight.STOPPED else row
        try:
            await self._machines.ensure_running(row)
        except workflow.TRANSIENT:
            raise
        except pve.ProxmoxError as error:
            reason = workflow.reason_of(error)
            log.warning("guest_not_started", lease=row.lease_id, vmid=row.vmid, error=reason)
            await self._move(row, functools.partial(moves.note_trouble, reason=reason))
        return row

    async def _pause(self, row: lease.Lease) -> lease.Lease:
        """Let a lease burn less whose guest is down, if that is asked for, and tell its guest.

        A start that was sent before the stop may still bring the guest up.
        """
        is_held = row.suspension is not None and row.suspension.time_held
        if row.pause_asked_at is None or is_held:
            return row
        if await self._machines.find_task(row, machine.STARTING) is not None:
            raise workflow.RetryLater("the guest is just being started", after_seconds=1)
        return await self._meter(row, moves.begin_pause, longest=power.LONGEST_PAUSE)

    async def _stop(self, row: lease.Lease) -> lease.Lease | None:
        await self._on_end(row, row.end_reason or "expired")
        row = await self._size_changes.abandon(row) or row  # or no renewal could follow
        sight = await self._machines.ensure_stopped(row)
        if sight is machine.Sight.RUNNING:
            raise workflow.RetryLater("the guest still runs after it was stopped")
        if sight is machine.Sight.IN_MAKING:
            raise workflow.RetryLater("something is being made on the vmid")
        if sight in {machine.Sight.ABSENT, machine.Sight.FOREIGN}:
            await self._finish(row, reason="guest_vanished")
            return None
        now = await self._db.time()
        if row.deletes_at is None and row.expires_at is not None and row.expires_at <= now:
            metrics.EXPIRY_LAG.observe((now - row.expires_at).total_seconds())
        to_be_deleted = row.deletes_at is not None and row.deletes_at <= now
        if to_be_deleted and row.hold_order_id is None:
            return await self._move(row, moves.begin_deleting)
        # A guest that was stopped before already has its grace period.
        deletes_at: Any = None if to_be_deleted else row.deletes_at
        deletes_at = deletes_at or self._db.now(self._grace_seconds(row))
        await self._move(row, functools.partial(moves.keep_stopped, deletes_at=deletes_at))
        return None

    def _grace_seconds(self, row: lease.Lease) -> float:
        """Return how long to keep a guest for a renewal: in proportion to its paid time, capped.

        A lease that was rebuilt from its guest names no template, and nobody knows how long it was
        paid for; it gets the longest time. Nobody renews a trial.
        """
        if row.is_trial:
            return 0.0
        if not row.template:
            return self._settings.grace_seconds
        paid = row.expires_at - row.created_at if row.expires_at is not None else timedelta(0)
        share = self._settings.grace_per_paid * max(0.0, paid.total_seconds())
        return min(self._settings.grace_seconds, share)

    async def _end_grace(self, row: lease.Lease) -> lease.Lease | None:
        if row.hold_order_id is not None:
            raise workflow.RetryLater("a renewal holds the lease")
        if row.deletes_at is not None and await self._db.time() < row.deletes_at:
            await self._wait_until(row, row.deletes_at)
            return None
        return await self._move(row, moves.begin_deleting)

    async def _delete(self, row: lease.Lease) -> None:
        if not await self._machines.ensure_gone(row):
            raise workflow.RetryLater("something is being made on the vmid")
        await self._finish(row, reason=row.end_reason or "expired")

    async def _unwind(self, row: lease.Lease) -> None:
        """Destroy the guest of a failed creation, and wait for one that may still appear."""
        await self._on_end(row, row.end_reason or "failed")
        if not await self._machines.ensure_gone(row):
            raise workflow.RetryLater("the guest is still being made", after_seconds=1)
        if row.upid is None and row.create_sent_at is not None:
            late = timedelta(seconds=self._settings.late_create_seconds)
            if await self._db.time() < row.create_sent_at + late:
                raise workflow.RetryLater("a creation of unknown outcome may appear late")
        await self._networks.forget(row)
        await self._finish(row, reason=row.end_reason or "failed")

    async def _finish(self, row: lease.Lease, *, reason: str) -> None:
        """Close a lease whose guest is gone: free the vmid, revoke the tokens.

        Raises RetryLater while its reinstallation may still make another guest.
        """
        if await self._reinstalls.wait_out(row):
            await self._networks.forget(row)
            reason = row.end_reason or reason
        async with self._db.begin() as tx:
            await moves.end(self._db, tx, row, reason)
            await vmid_rows.release(self._db, tx, row.vmid, row.lease_id)
            rest = self._settings.address_rest_seconds
            await address_rows.release(self._db, tx, row.lease_id, rest)
            await token_rows.revoke_of_lease(self._db, tx, row.lease_id)
            await port_rows.remove_of_lease(tx, row.lease_id)
            await snapshot_rows.remove_of_lease(tx, row.lease_id)
            await size_change_rows.remove_of_lease(tx, row.lease_id)
            await reinstall_rows.remove_of_lease(tx, row.lease_id)
        await self._on_end(row, reason)
        metrics.LEASES_OVER.labels(reason).inc()
        log.info("lease_over", lease=row.lease_id, vmid=row.vmid, reason=reason)

    async def _wait_until(self, row: lease.Lease, when: datetime) -> None:
        await self._move(row, functools.partial(moves.wait, until=when))

    async def _move(self, row: lease.Lease, move: deals.Move) -> lease.Lease:
        async with self._db.single() as tx:
            return await move(tx, row)

    async def _meter(
        self, row: lease.Lease, move: Callable[..., Awaitable[lease.Lease]], **named: Any
    ) -> lease.Lease:
        """Write a move that reads the lease's meter, and tell its guest what it says then."""
        async with self._db.begin() as tx:
            moved = await move(self._db, tx, row, **named)
        with contextlib.suppress(pve.GuestMissing):
            await self._machines.write_description(moved)
        return moved
