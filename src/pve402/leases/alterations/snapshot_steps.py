"""What a lease's worker does about its snapshots: one at a time, between two other steps.

    state of the snapshot   step                                     then
    TAKING                  take it, read the list                   THERE, FAILED,
                                                                     or DELETING if it is half made
    DELETING                delete it, read the list                 its row goes, or FAILED if
                                                                     it was half made
    ROLLING_BACK            see `rollback`                           THERE

Taking and deleting delay nothing else: what fails for now is tried again later, and the guest is
started and stopped meanwhile. A guest that is to be rolled back is down until that is done. While a
lease is suspended, or once it ends, nothing of this goes on.
"""

from datetime import datetime, timedelta

import structlog

from pve402.domain import lease, snapshot_burns, snapshots
from pve402.leases import workflow
from pve402.leases.alterations import rollback, snapshot_calls
from pve402.proxmox import errors as pve
from pve402.storage import database, snapshot_rows

log = structlog.get_logger(__name__)

_AGAIN_SECONDS = 10.0
_DESCRIPTION = "Taken by a tenant of pve402; it goes with the container."
_NOW_DONE = {"asked_at": None, "upid": None}


class SnapshotSteps:
    """Brings unfinished snapshots of a lease to their ends."""

    def __init__(
        self,
        db: database.Database,
        calls: snapshot_calls.SnapshotCalls,
        rolling: rollback.Rollback,
    ) -> None:
        self._db = db
        self._calls = calls
        self._rollback = rolling

    async def advance(self, row: lease.Lease) -> tuple[lease.Lease, datetime | None]:
        """Take what is unfinished as far as it goes; return the row, and when to look again.

        Raises FenceLostError, and for a rollback RetryLater and ProxmoxErrors: nothing else may be
        done about the guest before that is over.
        """
        async with self._db.read() as tx:
            found = await snapshot_rows.of_lease(tx, row.lease_id)
        if row.snapshot_burn != snapshot_burns.facts(found)["snapshot_burn"]:
            return await self._calls.correct(row), None
        one = next((one for one in found if one.is_unfinished), None)
        if one is None or row.suspension is not None:
            return row, None
        if one.state is snapshots.State.ROLLING_BACK:
            return await self._rollback.run(row, one), None
        try:
            return await self._take_or_delete(row, one), None
        except workflow.RetryLater as later:
            return row, await self._later(later.after_seconds or _AGAIN_SECONDS)
        except pve.ProxmoxError as error:
            reason = workflow.reason_of(error)
            log.warning("snapshot_unfinished", lease=row.lease_id, vmid=row.vmid, error=reason)
            return row, await self._later(_AGAIN_SECONDS)

    async def abandon(self, row: lease.Lease) -> lease.Lease | None:
        """Give up a snapshot in the making of a lease whose time is over; pay its time back first.

        Returns the lease, or None if nothing burns that may still fail. What Proxmox VE makes of it
        goes like a snapshot that is half made. Raises FenceLostError.
        """
        async with self._db.read() as tx:
            found = await snapshot_rows.of_lease(tx, row.lease_id)
        taking = (one for one in found if one.state is snapshots.State.TAKING and one.burn)
        one = next(taking, None)
        return None if one is None else await self._calls.note_given_up(row, one)

    async def _take_or_delete(self, row: lease.Lease, one: snapshots.Snapshot) -> lease.Lease:
        """Return the lease, which may burn less then."""
        if one.state is snapshots.State.TAKING:
            row, one = await self._take(row, one)
        return await self._delete(row, one) if one.state is snapshots.State.DELETING else row

    async def _take(
        self, row: lease.Lease, one: snapshots.Snapshot
    ) -> tuple[lease.Lease, snapshots.Snapshot]:
        """Take a snapshot, unless it is there; a call whose answer was lost is not sent again."""
        there, error = {"state": snapshots.State.THERE.value, **_NOW_DONE}, None
        if one.asked_at is None:
            pve_name, on_proxmox = one.pve_name, self._calls.on_proxmox
            ref = snapshot_calls.ref(row)
            one, error = await self._calls.ask(
                row, one, lambda: on_proxmox.take(ref, pve_name, _DESCRIPTION)
            )
        else:
            found = await self._calls.seen(row, one)
            if found is not None and found.is_whole:
                return row, await self._calls.note(row, one, **there)
            error = await self._calls.settle(row, one)
        found = await self._calls.seen(row, one)
        if found is not None and found.is_whole:
            return row, await self._calls.note(row, one, **there)
        problem = snapshot_calls.problem_of(error)
        log.warning("snapshot_not_taken", lease=row.lease_id, vmid=row.vmid, problem=problem)
        if found is None:
            return await self._calls.note_failed(row, one, problem=problem, **_NOW_DONE), one
        half_made = {"state": snapshots.State.DELETING.value, "problem": problem}
        return row, await self._calls.note(row, one, **half_made, **_NOW_DONE)

    async def _delete(self, row: lease.Lease, one: snapshots.Snapshot) -> lease.Lease:
        """Delete a snapshot unless it is gone. Its name is never used again, so twice is harmless.

        A guest that is locked, by a backup perhaps, keeps it for now.
        """
        may_appear = one.problem == snapshots.SnapshotFailed.code  # it was given up in the making
        is_to_settle = one.upid is not None or may_appear
        pve_name, error = one.pve_name, await self._calls.settle(row, one) if is_to_settle else None
        if await self._calls.seen(row, one) is not None:
            one, error = await self._calls.ask(
                row, one, lambda: self._calls.on_proxmox.delete(snapshot_calls.ref(row), pve_name)
            )
            if await self._calls.seen(row, one) is not None:
                if one.problem is None:
                    await self._calls.note(row, one, problem=snapshots.NOT_DELETED)
                raise workflow.RetryLater(workflow.reason_of(error or pve.ProxmoxFault()))
        if one.problem in {None, snapshots.NOT_DELETED}:
            return await self._calls.remove(row, one)
        # half made: its tenant is told why it could not be taken
        return await self._calls.note_failed(row, one, **_NOW_DONE)

    async def _later(self, seconds: float) -> datetime:
        return await self._db.time() + timedelta(seconds=seconds)
