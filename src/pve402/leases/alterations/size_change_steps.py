"""What a lease's worker does about a change of its size; each step may run twice.

    down      only if the running guest cannot get its size, and its tenant allowed a restart
    kept      the options of before that depend on the size are noted
    options   cores, memory, swap and shares are written where they differ, and read back
    disk      it grows to an absolute size; the configuration and the task's log are read
    done      the lease has its size, and burns for just that

The lease's row has what becomes more since before the first call, so nobody gets it unpaid. What
cannot be done is given back in one transaction, and then the guest gets the options of before. A
call whose answer was lost may arrive late: going on is harmless, since sizes are absolute; what is
undone waits for it first. Nothing else that is due about the guest waits for any of this.
"""

import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import structlog

from pve402.domain import lease, snapshots
from pve402.domain import size_changes as changes
from pve402.leases import guest_specs, machine, moves, on_sale, options, workflow
from pve402.leases.alterations import snapshot_calls
from pve402.proxmox import errors as pve
from pve402.proxmox import guests as pve_guests
from pve402.proxmox import tasks as pve_tasks
from pve402.storage import database, size_change_rows, snapshot_rows

log = structlog.get_logger(__name__)

_AGAIN_SECONDS = 10.0
_GIVEN_UP_AFTER = timedelta(seconds=120)
_RESIZE_TASK = "resize"
_NOT_GROWN_INSIDE = "Failed to update the container's filesystem"  # PVE/API2/LXC.pm, resize_vm
_GIB = 2**30
_NOW_OVER: Mapping[str, Any] = dict.fromkeys(("asked_at", "upid", "resumes_to")) | {"kept": {}}


@dataclasses.dataclass(frozen=True)
class _CannotBeError(Exception):
    """The guest will not get its size; `problem` is the code that tells its tenant."""

    problem: str


class SizeChangeSteps:
    """Brings unfinished changes of sizes to their ends."""

    def __init__(
        self,
        db: database.Database,
        calls: snapshot_calls.SnapshotCalls,
        machines: machine.Machines,
        guests: pve_guests.Guests,
        tasks: pve_tasks.Tasks,
        *,
        selling: on_sale.OnSale,
        settings: options.LeaseOptions,
        on_end: Callable[[lease.Lease, str], Awaitable[None]],
    ) -> None:
        """Keep the parts; `on_end(lease, reason)` closes what is open in a guest."""
        self._db = db
        self._calls = calls
        self._machines = machines
        self._guests = guests
        self._tasks = tasks
        self._on_sale = selling
        self._settings = settings
        self._on_end = on_end

    async def advance(self, row: lease.Lease) -> tuple[lease.Lease, datetime | None]:
        """Take an unfinished change as far as it goes; return the row, and when to look again.

        Raises FenceLostError, and GuestMovedError.
        """
        one = await self._unfinished(row)
        if one is None or row.suspension is not None:
            return row, None
        now = await self._db.time()
        try:
            return await self._go_on(row, one), None
        except workflow.RetryLater as later:
            return row, now + timedelta(seconds=later.after_seconds or _AGAIN_SECONDS)
        except pve.ProxmoxError as error:
            log.warning(
                "size_unchanged",
                lease=row.lease_id,
                vmid=row.vmid,
                error=workflow.reason_of(error),
            )
            if isinstance(error, pve.GuestMissing):
                await self._machines.look(row)  # it may be on another node
            if await self._is_hopeless(row, error):
                problem = _problem_of(error)
                return await self._give_up(row, await self._latest(row, one), problem), None
            return row, now + timedelta(seconds=_AGAIN_SECONDS)

    async def abandon(self, row: lease.Lease) -> lease.Lease | None:
        """Give up a change of a lease whose time is over or that ends, and pay its time back first.

        Returns the lease, or None if there was none to give up.
        """
        one = await self._unfinished(row)
        if one is None or one.state is not changes.State.CHANGING:
            return None
        return await self._give_up(row, one, changes.ChangeFailed.code)

    async def _unfinished(self, row: lease.Lease) -> changes.SizeChange | None:
        async with self._db.read() as tx:
            return await size_change_rows.unfinished(tx, row.lease_id)

    async def _latest(self, row: lease.Lease, one: changes.SizeChange) -> changes.SizeChange:
        return await self._unfinished(row) or one

    async def _go_on(self, row: lease.Lease, one: changes.SizeChange) -> lease.Lease:
        if one.state is changes.State.UNDOING:
            return await self._undo(row, one)
        try:
            if one.resumes_to is not None:
                await self._stop(row)
            one = await self._keep(row, one)
            one = await self._set_options(row, one)
            one = await self._grow_disk(row, one)
        except _CannotBeError as refused:
            one = await self._latest(row, one)
            needs_restart = refused.problem == changes.NeedsRestart.code
            if needs_restart and one.may_restart and one.resumes_to is None and row.is_to_run:
                return await self._begin_restart(row, one)
            return await self._give_up(row, one, refused.problem)
        return await self._finish(row, one)

    async def _stop(self, row: lease.Lease) -> None:
        await self._on_end(row, "size_changed")
        if await self._machines.ensure_stopped(row) is not machine.Sight.STOPPED:
            raise workflow.RetryLater("the guest is not down yet")

    async def _keep(self, row: lease.Lease, one: changes.SizeChange) -> changes.SizeChange:
        """Note what depends on the size before the first call that could change it."""
        if one.kept:
            return one
        status = await self._guests.status(snapshot_calls.ref(row))
        if status.lock:
            raise pve.GuestLocked(f"guest {row.vmid} is locked: {status.lock}")
        config = await self._calls.own_config(row, current=True)
        runs = status.state is pve_guests.RunState.RUNNING
        disk_bytes = status.disk_total if runs else None
        return await self._note(row, one, kept=_size_options(config), disk_bytes=disk_bytes)

    async def _set_options(self, row: lease.Lease, one: changes.SizeChange) -> changes.SizeChange:
        wanted = guest_specs.size_options(self._on_sale, row, one.after)
        config = await self._calls.own_config(row, current=True)
        if not _differing(config, wanted):
            return one
        refused: pve.ProxmoxError | None = None
        began_at, one = one.began_at, await self._note_asking(row, one)
        try:
            await self._guests.update_config(
                snapshot_calls.ref(row), _differing(config, wanted), digest=config.digest
            )
        except pve.OutcomeUnknown:
            raise
        except workflow.TRANSIENT:  # nothing was done, so nothing is paid yet
            await self._note(row, one, asked_at=None, began_at=began_at)
            raise
        except pve.ProxmoxError as error:
            refused = error
        one = await self._note(row, one, asked_at=None)
        if not _differing(await self._calls.own_config(row, current=True), wanted):
            return one
        if refused is not None:
            reason = workflow.reason_of(refused)
            log.warning("size_refused", lease=row.lease_id, vmid=row.vmid, error=reason)
        is_live = refused is None or isinstance(refused, pve.InvalidParameters)
        if is_live and await self._machines.look(row) is machine.Sight.RUNNING:
            raise _CannotBeError(changes.NeedsRestart.code)
        raise _CannotBeError(changes.ChangeFailed.code)

    async def _grow_disk(self, row: lease.Lease, one: changes.SizeChange) -> changes.SizeChange:
        if one.after.disk_gb == one.before.disk_gb:
            return one
        wanted_bytes = one.after.disk_gb * _GIB
        try:
            await self._wait_for_growth(row, one)
            if await self._disk_bytes(row) < wanted_bytes:
                one = await self._ask_to_grow(row, one)
        except (*workflow.TRANSIENT, pve.GuestMissing):
            raise
        except pve.ProxmoxError as error:
            log.warning("disk_not_grown", lease=row.lease_id, error=workflow.reason_of(error))
            raise _CannotBeError(changes.ChangeFailed.code) from error
        if await self._disk_bytes(row) < wanted_bytes or not await self._has_grown_inside(row, one):
            log.error("disk_not_grown", lease=row.lease_id, vmid=row.vmid, wanted=one.after.disk_gb)
            raise _CannotBeError(changes.ChangeFailed.code)
        return one

    async def _wait_for_growth(self, row: lease.Lease, one: changes.SizeChange) -> None:
        """Wait for what was asked before, whether or not its answer was lost."""
        if one.upid is not None:
            await self._calls.finished(pve_tasks.Upid.parse(one.upid))
        for upid in await self._tasks.list_active(row.node, row.vmid):
            if upid.type == _RESIZE_TASK:
                await self._calls.finished(upid)

    async def _ask_to_grow(self, row: lease.Lease, one: changes.SizeChange) -> changes.SizeChange:
        async with self._machines.turn_to_write(row.node):
            config = await self._calls.own_config(row)
            began_at, one = one.began_at, await self._note_asking(row, one)
            try:
                upid = await self._guests.resize_disk(
                    snapshot_calls.ref(row), one.after.disk_gb, digest=config.digest
                )
            except pve.OutcomeUnknown:
                raise
            except pve.ProxmoxError:
                await self._note(row, one, asked_at=None, began_at=began_at)
                raise
            one = await self._note(row, one, asked_at=None, upid=upid.text)
            await self._calls.finished(upid)
        return one

    async def _disk_bytes(self, row: lease.Lease) -> int:
        """Return the size of the disk. Raises ProxmoxFault if it has none that could grow."""
        found = (await self._calls.own_config(row)).disk_bytes
        if found is None:
            raise pve.ProxmoxFault("the root disk has no size")
        return found

    async def _has_grown_inside(self, row: lease.Lease, one: changes.SizeChange) -> bool:
        """Whether the file system has grown with its disk.

        Proxmox's log decides: a tenant may put another file system in the place of the guest's, and
        what the guest tells of it is then no reason to give the disk away.
        """
        if not await self._failed_to_grow_inside(row, one):
            return True
        status = await self._guests.status(snapshot_calls.ref(row))
        if one.disk_bytes is None or status.disk_total is None:
            return False
        runs = status.state is pve_guests.RunState.RUNNING
        return runs and status.disk_total > one.disk_bytes

    async def _failed_to_grow_inside(self, row: lease.Lease, one: changes.SizeChange) -> bool:
        """Whether the last task that grew the disk says so, although it ended well."""
        upid = None if one.upid is None else pve_tasks.Upid.parse(one.upid)
        if upid is None:
            past = [task.upid for task in await self._tasks.list_past(row.node, row.vmid)]
            grown = [each for each in past if each.type == _RESIZE_TASK]
            upid = max(grown, key=lambda each: each.started_at, default=None)
        try:
            log_tail = () if upid is None else await self._tasks.tail(upid)
        except pve.TaskMissing:  # so long ago that its node has forgotten it
            return False
        return any(line.removeprefix("WARN: ").startswith(_NOT_GROWN_INSIDE) for line in log_tail)

    async def _begin_restart(self, row: lease.Lease, one: changes.SizeChange) -> lease.Lease:
        async with self._db.begin() as tx:
            moved = await moves.stop_to_change(tx, row)
            await size_change_rows.update(tx, one, resumes_to=row.wanted.value)
        return moved

    async def _finish(self, row: lease.Lease, one: changes.SizeChange) -> lease.Lease:
        async with self._db.begin() as tx:
            now = await self._db.time_in(tx)
            moved = await moves.end_size_change(tx, row, one, now)
            done = {"state": changes.State.DONE.value, "problem": None}
            await size_change_rows.update(tx, one, **done, **_NOW_OVER)
        log.info("size_changed", lease=row.lease_id, vmid=row.vmid)
        return moved

    async def _give_up(
        self, row: lease.Lease, one: changes.SizeChange, problem: str
    ) -> lease.Lease:
        """Pay back what was taken; the guest is seen to next."""
        async with self._db.begin() as tx:
            now = await self._db.time_in(tx)
            moved = await moves.undo_size_change(tx, row, one, now)
            undoing = changes.State.UNDOING.value
            await size_change_rows.update(tx, one, state=undoing, problem=problem)
        return moved

    async def _undo(self, row: lease.Lease, one: changes.SizeChange) -> lease.Lease:
        """Give the guest the options of before, if any were noted, and look that it has them."""
        if one.kept:
            if one.resumes_to is not None:
                await self._stop(row)
            await self._wait_for_late_calls(row, one)
            await self._restore(row, one)
        async with self._db.begin() as tx:
            moved = await moves.end_undoing(tx, row, one)
            failed = changes.State.FAILED.value
            await size_change_rows.update(tx, one, state=failed, **_NOW_OVER)
        log.warning("size_change_undone", lease=row.lease_id, problem=one.problem)
        return moved

    async def _wait_for_late_calls(self, row: lease.Lease, one: changes.SizeChange) -> None:
        if one.asked_at is not None:
            arrives = one.asked_at + timedelta(seconds=self._settings.late_create_seconds)
            now = await self._db.time()
            if now < arrives:
                raise workflow.retry_at(arrives, now, "a call without an answer may still arrive")
        for upid in await self._tasks.list_active(row.node, row.vmid):
            if upid.type == _RESIZE_TASK:
                raise workflow.RetryLater("the disk is just being grown")

    async def _restore(self, row: lease.Lease, one: changes.SizeChange) -> None:
        """Write the options of before where they differ, those that wait for a restart as well."""
        config = await self._calls.own_config(row)
        now = await self._calls.own_config(row, current=True)
        if _size_options(config) != one.kept or _size_options(now) != one.kept:
            dropped = sorted(_size_options(config).keys() - one.kept.keys())
            await self._guests.update_config(
                snapshot_calls.ref(row), one.kept, delete=dropped, digest=config.digest
            )
            config = await self._calls.own_config(row)
            now = await self._calls.own_config(row, current=True)
        if _size_options(config) != one.kept or _size_options(now) != one.kept:
            raise workflow.RetryLater("the guest has not got its options of before")
        if (config.disk_bytes or 0) > one.before.disk_gb * _GIB:
            log.error("disk_larger_than_paid", lease=row.lease_id, vmid=row.vmid)

    async def _is_hopeless(self, row: lease.Lease, error: pve.ProxmoxError) -> bool:
        """Whether a change was tried for long enough, and nothing that was asked is in doubt."""
        one = await self._unfinished(row)
        if one is None or one.state is not changes.State.CHANGING:
            return False
        if one.began_at is not None and not isinstance(error, pve.GuestLocked):
            return False
        return await self._db.time() > one.created_at + _GIVEN_UP_AFTER

    async def _note_asking(self, row: lease.Lease, one: changes.SizeChange) -> changes.SizeChange:
        """Note that Proxmox is asked now, and when it was first: from then on more is paid."""
        now = await self._db.time()
        return await self._note(row, one, asked_at=now, began_at=one.began_at or now, upid=None)

    async def _note(
        self, row: lease.Lease, one: changes.SizeChange, **values: Any
    ) -> changes.SizeChange:
        """Write something down, if the lease is still ours. Raises FenceLostError."""
        async with self._db.begin() as tx:
            await snapshot_rows.check_fence(tx, row)
            return await size_change_rows.update(tx, one, **values)


def _size_options(config: pve_guests.GuestConfig) -> dict[str, str]:
    return {name: text for name, text in config.values.items() if name in guest_specs.OF_SIZE}


def _differing(config: pve_guests.GuestConfig, wanted: Mapping[str, str]) -> dict[str, str]:
    """Return the options to write; Proxmox may write a number in another way."""
    found = config.values
    return {
        name: text
        for name, text in wanted.items()
        if name not in found or Decimal(found[name]) != Decimal(text)
    }


def _problem_of(error: pve.ProxmoxError) -> str:
    is_locked = isinstance(error, pve.GuestLocked)
    return snapshots.ContainerLocked.code if is_locked else changes.ChangeFailed.code
