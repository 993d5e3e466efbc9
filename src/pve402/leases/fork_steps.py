"""The steps of a fork's order that are not those of every creation.

    the order          what is done about the guest that is copied
    RESERVED           wait for the snapshot of it and copy that; or copy the guest, which is down
    closed             delete the temporary snapshot, and let go of the lease

A fork's guest is always a copy, even if it is made anew once it is paid: nothing is unpacked.
"""

import contextlib

from pve402.domain import forks, lease, snapshots
from pve402.leases import clones, deals, failing, moves, options, origins, parts, workflow
from pve402.storage import (
    database,
    fork_rows,
    lease_rows,
    queue,
    snapshot_rows,
    transaction,
)

_STATES = snapshots.State
_LOOK_AGAIN_SECONDS = 0.2


class ForkSteps:
    """Finds what the guests of forks are copies of; holds no state between steps."""

    def __init__(
        self, deal_writer: deals.Deals, cloning: clones.Clones, failures: failing.Failures
    ) -> None:
        self._deals = deal_writer
        self._clones = cloning
        self._failures = failures
        self.parts = parts.Parts(deal_writer)

    async def origin_of(self, deal: deals.Deal) -> origins.Origin:
        """Return what a fork's guest is a copy of, once it is there. Raises RetryLater, GiveUp.

        A refusal of a paid one has it tried again, until it is owed.
        """
        await self.parts.check_first(deal.order)
        fork = await self._ready(deal)
        return self._clones.guest_of(
            fork.lease_id, snapshot=fork.pve_name, is_linked=fork.is_linked
        )

    async def _ready(self, deal: deals.Deal) -> forks.Fork:
        """Return what is copied, once it is there; give up if it never will be."""
        async with self._deals.db.read() as tx:
            fork = await fork_rows.get(tx, deal.order.part_of or deal.order.order_id)
            if fork is None:
                raise workflow.GiveUp("create_failed", "nobody knows what is copied")
            if fork.pve_name is None:
                return fork
            found = await snapshot_rows.get_by_pve_name(tx, fork.lease_id, fork.pve_name)
        if found is not None and found.state is _STATES.THERE:
            return fork
        if found is None or found.state is not _STATES.TAKING:
            problem = None if found is None else found.problem
            raise workflow.GiveUp("create_failed", f"there is no snapshot to copy ({problem})")
        await self._failures.check_time(deal)
        reason = "the snapshot is being taken"
        raise workflow.look_again(reason, deal.order.attempts, _LOOK_AGAIN_SECONDS)


class ForkEnds:
    """Lets go of leases whose copies are made, or will never be."""

    def __init__(self, db: database.Database, settings: options.LeaseOptions) -> None:
        self._db = db
        self._settings = settings

    async def after_order(self) -> bool:
        """Look at once where forks are sold; elsewhere the reconciler sees to what is left.

        A creation may be a fork's, and a renewal may have held the lease when its fork was over.
        """
        return self._settings.forks_at_once > 0 and await self.sweep()

    async def sweep(self) -> bool:
        """Let go of what can be let go of now; return whether a worker has something to do."""
        async with self._db.read() as tx:
            over = await fork_rows.list_over(tx)
        is_due = False
        for one in over:
            with contextlib.suppress(queue.FenceLostError):
                async with self._db.begin() as tx:
                    is_due |= await self._let_go(tx, one)
        return is_due

    async def _let_go(self, tx: transaction.Transaction, one: forks.Fork) -> bool:
        """Have the temporary snapshot deleted; what is being taken has to be there first.

        The lease of a guest that is gone has no snapshots any more. Raises FenceLostError while it
        is held or suspended, and has its snapshot for as long.
        """
        row = await lease_rows.get_locked(tx, one.lease_id)
        found = None
        if one.is_temporary and one.pve_name is not None:
            found = await snapshot_rows.get_by_pve_name(tx, one.lease_id, one.pve_name)
        if row is None or found is None or found.state is _STATES.DELETING:
            await fork_rows.remove(tx, one)
            return False
        if found.state is _STATES.FAILED:
            await snapshot_rows.remove(tx, found)
            await fork_rows.remove(tx, one)
            return False
        if row.status is not lease.LeaseStatus.ACTIVE or found.state is not _STATES.THERE:
            return False
        await moves.look_at_snapshots(self._db, tx, row)
        deleting = {"state": _STATES.DELETING.value, "problem": None}
        await snapshot_rows.update(tx, found, **deleting)
        await fork_rows.remove(tx, one)
        return True
