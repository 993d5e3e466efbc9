"""Lets a tenant pause a lease, and wake it again.

A paused lease's guest is down. It gives back its cores and memory and keeps its disk, and it burns
a low rate, which the operator set when the lease was sold. The pause begins when the guest was seen
down. It ends when the lease is woken, before its guest starts, and only if there is room for it.
"""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta

from pve402.domain import errors, idling, lease, meter, placement
from pve402.domain import power as wishes
from pve402.leases import cluster, moves, options, reservation, worker
from pve402.leases.alterations import power
from pve402.storage import (
    database,
    lease_rows,
    queue,
    transaction,
    unfinished_rows,
    user_data_rows,
)

_HOUR = timedelta(hours=1)


class Pauses:
    """Pauses and wakes leases."""

    def __init__(
        self,
        db: database.Database,
        switch: power.PowerSwitch,
        lease_worker: worker.Worker,
        view: cluster.ClusterView,
        settings: options.LeaseOptions,
    ) -> None:
        self._db = db
        self.switch = switch
        self._worker = lease_worker
        self._view = view
        self._settings = settings

    async def check_pause(self, row: lease.Lease) -> None:
        """Raise the error that `pause` would get now: PausingOff, and those of a stop."""
        if meter.paused_burn_of(row.rates) is None:
            raise wishes.PausingOff
        await self.switch.check(row)
        async with self._db.read() as tx:
            await _check_no_change(tx, row)

    async def pause(
        self, row: lease.Lease, by: wishes.WantedBy = wishes.WantedBy.TENANT
    ) -> lease.Lease:
        """Pause a lease; idempotent, and it does not begin a pause anew.

        Waits a few seconds until the guest is down, from when on the lease burns less. Raises
        PausingOff, and what a stop raises.
        """
        await self.check_pause(row)
        if row.is_paused and not row.is_to_run:
            return row
        try:
            async with self._db.begin() as tx:
                asked = await moves.ask_pause(self._db, tx, row, by)
                await power.check_not_kept_down(tx, row)
                await _check_no_change(tx, row)
        except queue.FenceLostError:
            raise errors.LeaseBusy from None
        return await power.applied(self._db, self._worker, asked)

    async def check_start(self, row: lease.Lease) -> None:
        """Raise the error that `start` or `reboot` would get now."""
        await self.switch.check(row)
        if row.paused_at is None:
            return
        self._check_wakes(row, await self._db.time())
        rooms = await self._view.rooms()
        async with self._db.read() as tx:
            await self._check_room(tx, row, rooms)

    async def start(
        self, row: lease.Lease, by: wishes.WantedBy = wishes.WantedBy.TENANT
    ) -> lease.Lease:
        """Start a lease's guest; wake the lease if it is paused.

        Raises what a start raises; of a paused lease also TooManyWakes, NoRoomToWake and
        ProxmoxUnavailable. It is paused as before then.
        """
        if row.paused_at is None:
            return await self.switch.start(row)
        power.check_running_time(row)
        now = await self._db.time()
        self._check_wakes(row, now)
        rooms = await self._view.rooms()
        first_of_hour = self._wakes_lately(row, now) == 0
        try:
            async with self._db.begin() as tx:
                await reservation.lock_placement(self._db, tx)
                await self._check_room(tx, row, rooms)
                woken = await moves.wake_paused(self._db, tx, row, by, first_of_hour=first_of_hour)
                await power.check_not_kept_down(tx, row)
        except queue.FenceLostError:
            raise errors.LeaseBusy from None
        return await power.applied(self._db, self._worker, woken)

    async def check_use(self, row: lease.Lease, use: wishes.Use) -> bool:
        """Return whether a use will wake a lease; raise the error that `wake_for` would get now."""
        if not row.is_woken_by(use):
            return False
        await self.check_start(row)
        return True

    async def wake_for(self, row: lease.Lease, use: wishes.Use) -> lease.Lease:
        """Wake a lease whose tenant chose that this use does, if it is paused. Raises like `start`.

        If others wake it at the same time, waits for that as well. Notes the use.
        """
        row = await self.note_use(row)
        if not row.is_woken_by(use):
            return row
        try:
            return await self.start(row)
        except errors.LeaseBusy:
            async with self._db.read() as tx:
                now = await lease_rows.get(tx, row.lease_id)
            if now is None or now.paused_at is not None or not now.is_to_run:
                raise
            return await power.applied(self._db, self._worker, now)

    async def note_use(self, row: lease.Lease) -> lease.Lease:
        """Return a lease that is about to be used, as it is now, so that it is not idle.

        Writes nothing if its tenant wants no idle pause, or if use was written shortly before.
        """
        if not row.idle_pause_minutes or idling.is_noted(row.active_at, await self._db.time()):
            return row
        async with self._db.single() as tx:
            return await moves.note_use(self._db, tx, row) or row

    async def pause_idle(self, row: lease.Lease) -> bool:
        """Ask for the pause of a lease that was idle when it was read; return whether it is paused.

        It is not if it was used since, or while something is done with it.
        """
        try:
            async with self._db.begin() as tx:
                await moves.pause_idle(self._db, tx, row)
                await power.check_not_kept_down(tx, row)
                await _check_no_change(tx, row)
                await _check_nothing_begun(tx, row)
        except (queue.FenceLostError, errors.LeaseBusy):
            return False
        self._worker.wake()
        return True

    async def reboot(self, row: lease.Lease) -> lease.Lease:
        """Reboot a lease's guest; wake the lease if it is paused. Raises like `start`."""
        if row.paused_at is None:
            return await self.switch.reboot(row)
        return await self.start(row)

    def _check_wakes(self, row: lease.Lease, now: datetime) -> None:
        if self._wakes_lately(row, now) < self._settings.wakes_an_hour or row.wakes_since is None:
            return
        left = row.wakes_since + _HOUR - now
        raise wishes.TooManyWakes(max(1, math.ceil(left.total_seconds())))

    async def _check_room(
        self, tx: transaction.Transaction, row: lease.Lease, rooms: Sequence[placement.NodeRoom]
    ) -> None:
        try:
            await reservation.check_return(tx, row, self._settings, rooms=rooms)
        except errors.NoCapacity:
            raise wishes.NoRoomToWake from None

    @staticmethod
    def _wakes_lately(row: lease.Lease, now: datetime) -> int:
        is_recent = row.wakes_since is not None and now - row.wakes_since < _HOUR
        return row.wakes if is_recent else 0


async def _check_no_change(tx: transaction.Transaction, row: lease.Lease) -> None:
    """Raise LeaseBusy during a change of size: what it gives back was burnt at the full rate."""
    if unfinished_rows.Kind.SIZE_CHANGE in await unfinished_rows.kinds(tx, row.lease_id):
        raise errors.LeaseBusy


async def _check_nothing_begun(tx: transaction.Transaction, row: lease.Lease) -> None:
    """Raise LeaseBusy while anything is begun about its guest, or its tenant's script may run."""
    begun = await unfinished_rows.of_lease(tx, row.lease_id)
    script = await user_data_rows.of_lease(tx, row.lease_id)
    runs = script is not None and script.ended_at is None
    if runs or begun:
        raise errors.LeaseBusy
