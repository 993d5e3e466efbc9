"""What a lease's worker does about its reinstallation; each step may run twice.

    state of the row   step                                                  then
    STOPPING           end what is open in the guest, stop it, look whether  EMPTYING, or FAILED
                       a new one can be had; note its card
    EMPTYING           destroy it, after comparing its tags; see it gone     MAKING
    MAKING             write its rules, make the new guest, read it back     DONE

The lease wants its guest stopped until it is DONE, so nothing starts it: not the reconciler, not a
renewal, not a process that knows no reinstallations. Nothing is given up once the guest is: what
fails then is tried again, and meanwhile the lease is held and its time stands still. A tenant may
then ask for another image. The end of the lease and a suspension take the fence; while it is
suspended, its reinstallation waits.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, Final

import structlog

from pve402.domain import lease, placement, power, reinstalls, snapshots
from pve402.leases import cluster, machine, moves, workflow
from pve402.leases.alterations import reinstall_calls, snapshot_calls
from pve402.proxmox import errors as pve
from pve402.proxmox import guests as pve_guests
from pve402.proxmox import storage as pve_storage
from pve402.storage import database, reinstall_rows, snapshot_rows, vault

log = structlog.get_logger(__name__)

State = reinstalls.State
_GIVEN_UP_AFTER: Final = timedelta(seconds=120)
_LONGEST_PAUSE_SECONDS: Final = 60.0
_OF_OTHERS: Final = re.compile(r"(mp|unused|dev)\d+|net[1-9]\d*")
"""Options that an operator added; what they name would go with the guest."""


class _CannotBeError(Exception):
    """The old guest stays; `problem` is the code that tells its tenant."""

    def __init__(self, problem: str, reason: str) -> None:
        super().__init__(reason)
        self.problem = problem


class ReinstallSteps:
    """Brings unfinished reinstallations to their ends."""

    def __init__(
        self,
        db: database.Database,
        calls: reinstall_calls.ReinstallCalls,
        own: snapshot_calls.SnapshotCalls,
        machines: machine.Machines,
        *,
        view: cluster.ClusterView,
        storages: pve_storage.Storages,
        on_end: Callable[[lease.Lease, str], Awaitable[None]],
    ) -> None:
        """Keep the parts; `on_end(lease, reason)` closes what is open in a guest."""
        self._db = db
        self._calls = calls
        self._own = own
        self._machines = machines
        self._view = view
        self._storages = storages
        self._on_end = on_end

    async def advance(self, row: lease.Lease) -> lease.Lease:
        """Take an unfinished reinstallation as far as it goes; return the row.

        Raises FenceLostError, RetryLater and ProxmoxErrors: nothing else may be done about the
        guest before that is over.
        """
        async with self._db.read() as tx:
            one = await reinstall_rows.unfinished(tx, row.lease_id)
        if row.suspension is not None:
            return row
        if one is None:
            return await self._end_lone_hold(row) if row.is_emptied else row
        if one.state is State.STOPPING:
            try:
                row, one = await self._empty(row, one)
            except (_CannotBeError, workflow.RetryLater, pve.ProxmoxError) as error:
                return await self._cancel_if_hopeless(row, one, error)
        try:
            return await self._refill(row, one)
        except reinstall_calls.NumberTakenError as taken:
            raise await self._held(row, reinstalls.NUMBER_TAKEN, str(taken)) from taken
        except (pve.ProxmoxError, vault.SealBrokenError) as error:
            problem = _problem_of(error, reinstalls.NOT_MADE)
            raise await self._held(row, problem, workflow.reason_of(error)) from error

    async def abandon(self, row: lease.Lease) -> lease.Lease | None:
        """Give up a reinstallation of a lease whose time is over, if its old guest is still there.

        Otherwise a renewal would find the guest kept down, and lose its files after that. Returns
        the lease, or None if there was none to give up.
        """
        async with self._db.read() as tx:
            one = await reinstall_rows.unfinished(tx, row.lease_id)
        if one is None or one.state is not State.STOPPING:
            return None
        return await self._cancel(row, one, reinstalls.ReinstallFailed.code, "its time is over")

    async def wait_out(self, row: lease.Lease) -> bool:
        """Return whether a lease that ends had given its guest up.

        Raises RetryLater while a new one may still appear.
        """
        async with self._db.read() as tx:
            one = await reinstall_rows.unfinished(tx, row.lease_id)
        if one is None or one.state is State.STOPPING:
            return False
        await self._calls.wait_out(row, one)
        return True

    async def _empty(
        self, row: lease.Lease, one: reinstalls.Reinstall
    ) -> tuple[lease.Lease, reinstalls.Reinstall]:
        """Stop the guest, and give it up if another can be made in its place."""
        await self._on_end(row, "reinstalled")
        sight = await self._machines.ensure_stopped(row, at_once=True)
        if sight is machine.Sight.RUNNING:
            raise workflow.RetryLater("the guest still runs after it was stopped")
        if sight is not machine.Sight.STOPPED:
            raise pve.GuestMissing(f"guest {row.vmid} is {sight.value}")
        config = await self._own.own_config(row)
        address = self._checked(row, config)
        await self._check_template(row, one)
        one = await self._calls.note(row, one, hardware_address=address)
        try:
            self._calls.spec(row, one)
        except (pve.InvalidParameters, vault.SealBrokenError) as error:
            raise _CannotBeError(
                reinstalls.ReinstallFailed.code, workflow.reason_of(error)
            ) from error
        async with self._db.begin() as tx:
            now = await self._db.time_in(tx)
            moved = await moves.give_guest_up(tx, row, now)
            await snapshot_rows.remove_of_lease(tx, row.lease_id)
            moved = await moves.end_burning(self._db, tx, moved)
            emptying = {"state": State.EMPTYING.value, "problem": None}
            if row.wanted is not power.Wanted.STOPPED:  # by a process that knows no reinstallations
                emptying["resumes_to"] = row.wanted.value
            return moved, await reinstall_rows.update(tx, one, **emptying)

    def _checked(self, row: lease.Lease, config: pve_guests.GuestConfig) -> str:
        """Return the hardware address of a guest that may be destroyed; see that it may be."""
        if config.lock:
            raise pve.GuestLocked(f"guest {row.vmid} is locked ({config.lock})")
        strange = [name for name in config.values if _OF_OTHERS.fullmatch(name)]
        if strange or config.values.get("protection") == "1":
            why = f"it has {', '.join(sorted(strange))[:200]}" if strange else "it is protected"
            raise _CannotBeError(reinstalls.ReinstallFailed.code, why)
        address = reinstall_calls.hardware_address(config)
        if address is None:
            raise _CannotBeError(reinstalls.ReinstallFailed.code, "it has no hardware address")
        return address

    async def _check_template(self, row: lease.Lease, one: reinstalls.Reinstall) -> None:
        is_seen = await self._may_be_there(row, one.template)
        if not is_seen or not is_room_for(await self._view.rooms_for(one.template), row):
            why = f"node {row.node} cannot make guests of {one.template} now"
            raise _CannotBeError(reinstalls.ReinstallFailed.code, why)

    async def _may_be_there(self, row: lease.Lease, template: str) -> bool:
        """Whether the node shows a template now; or none at all, which may be our rights."""
        try:
            shown = await self._storages.templates(row.node, template.partition(":")[0])
        except pve.StorageMissing:
            return False
        except pve.PermissionDenied:
            return True
        return not shown or any(one.volid == template for one in shown)

    async def _refill(self, row: lease.Lease, one: reinstalls.Reinstall) -> lease.Lease:
        if one.state is State.EMPTYING:
            one = await self._calls.destroy(row, one)
        one = await self._calls.make(row, one)
        return await self._finish(row, one)

    async def _finish(self, row: lease.Lease, one: reinstalls.Reinstall) -> lease.Lease:
        async with self._db.begin() as tx:
            now = await self._db.time_in(tx)
            moved = await moves.end_reinstall(tx, row, one, now, one.kept)
            await reinstall_rows.hand_over(self._db, tx, one)
            done: dict[str, Any] = {"state": State.DONE.value, "problem": None, "ended_at": now}
            done |= {"asked_at": None, "upid": None}
            await reinstall_rows.update(tx, one, **done, **reinstall_rows.FORGOTTEN)
        log.info("reinstalled", lease=row.lease_id, vmid=row.vmid, template=one.template)
        return moved

    async def _held(self, row: lease.Lease, problem: str, reason: str) -> workflow.RetryLater:
        """Note what the lease waits for, and that its time stood still; return when to go on."""
        log.error("not_reinstalled", lease=row.lease_id, vmid=row.vmid, error=reason)
        async with self._db.begin() as tx:
            now = await self._db.time_in(tx)
            await moves.hold_emptied_time(tx, row, now)
            one = await reinstall_rows.unfinished(tx, row.lease_id)
            if one is not None:
                await reinstall_rows.update(tx, one, problem=problem)
        return workflow.RetryLater(reason, at_most_seconds=_LONGEST_PAUSE_SECONDS)

    async def _cancel_if_hopeless(
        self, row: lease.Lease, one: reinstalls.Reinstall, error: Exception
    ) -> lease.Lease:
        """Leave the old guest as it was, if it was tried for long enough. Raises the error else."""
        if isinstance(error, pve.GuestMissing):
            await self._machines.look(row)  # it may be on another node
        is_over = await self._db.time() > one.created_at + _GIVEN_UP_AFTER
        if not isinstance(error, _CannotBeError) and not is_over:
            raise error
        problem = getattr(error, "problem", None) or _problem_of(
            error, reinstalls.ReinstallFailed.code
        )
        return await self._cancel(row, one, problem, workflow.reason_of(error))

    async def _cancel(
        self, row: lease.Lease, one: reinstalls.Reinstall, problem: str, reason: str
    ) -> lease.Lease:
        async with self._db.begin() as tx:
            moved = await moves.cancel_reinstall(tx, row, one)
            failed: dict[str, Any] = {"state": State.FAILED.value, "problem": problem}
            failed |= {"ended_at": await self._db.time_in(tx), **reinstall_rows.FORGOTTEN}
            await reinstall_rows.update(tx, one, **failed)
        log.warning("reinstall_cancelled", lease=row.lease_id, error=reason)
        return moved

    async def _end_lone_hold(self, row: lease.Lease) -> lease.Lease:
        """Let a held lease go whose reinstallation is not known: it was lost with its table.

        Whether there is a guest is then for the reconciler to see.
        """
        log.error("hold_without_reinstallation", lease=row.lease_id, vmid=row.vmid)
        async with self._db.begin() as tx:
            return await moves.end_lone_hold(tx, row, await self._db.time_in(tx))


def is_room_for(rooms: Sequence[placement.NodeRoom], row: lease.Lease) -> bool:
    """Whether the lease's own node and storage are among those that can make a guest."""
    return any(
        room.online and room.node == row.node and row.storage in {None, room.storage}
        for room in rooms
    )


def _problem_of(error: Exception, otherwise: str) -> str:
    return snapshots.ContainerLocked.code if isinstance(error, pve.GuestLocked) else otherwise
