"""Lets a tenant take snapshots of a guest, list and delete them, and roll back to one.

A wish is written with a move of the lease, and the worker carries it out; the caller waits for a
while. What can be known is checked before anything is charged, and the limit and that only one
thing is under way again in the transaction that writes.
"""

import contextlib
import dataclasses
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from fractions import Fraction

from pve402.domain import errors, lease, meter, networks, price, snapshot_burns, snapshots
from pve402.leases import moves, on_sale, options, worker
from pve402.leases.alterations import power, snapshot_calls
from pve402.leases.moves import metering
from pve402.proxmox import errors as pve
from pve402.proxmox import guests as pve_guests
from pve402.proxmox import snapshots as pve_snapshots
from pve402.storage import database, queue, snapshot_rows, transaction, unfinished_rows

_STATES = snapshots.State


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listing:
    """The snapshots of a lease, how many it may have, and whether its storage takes any."""

    snapshots: Sequence[snapshots.Snapshot]
    at_most: int
    are_possible: bool | None  # None: Proxmox could not be asked
    next_usd: Fraction = Fraction(0)  # what another one would burn a minute


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Change:
    """A transaction on the snapshots of a lease, and the lease as it was moved in it."""

    tx: transaction.Transaction
    moved: lease.Lease
    found: Sequence[snapshots.Snapshot]


_Move = Callable[[database.Database, transaction.Transaction, lease.Lease], Awaitable[lease.Lease]]


class Snapshots:
    """Snapshots of all leases; an operator who allows none switches off that any are taken."""

    def __init__(
        self,
        db: database.Database,
        guests: pve_guests.Guests,
        on_proxmox: pve_snapshots.GuestSnapshots,
        lease_worker: worker.Worker,
        settings: options.LeaseOptions,
        selling: on_sale.OnSale,
    ) -> None:
        self._on_sale = selling
        self._db = db
        self._guests = guests
        self._on_proxmox = on_proxmox
        self._worker = lease_worker
        self._settings = settings

    async def of_lease(self, row: lease.Lease) -> Listing:
        """The snapshots of a lease, oldest first. Raises LeaseNotReady and ProxmoxErrors."""
        return await self._listing(row, possible=await self._can_be_taken(row))

    async def check_take(self, row: lease.Lease, name: str) -> None:
        """Raise the error that `take` would get now, before anything is charged.

        Raises SnapshotsOff, InvalidRequest, SnapshotExists, TooManySnapshots, SnapshotsNotPossible,
        ContainerLocked, LeaseBusy, TooLittleTimeLeft, and the errors of `power.check_running_time`.
        """
        if self._settings.snapshots_per_lease == 0:
            raise snapshots.SnapshotsOff
        snapshots.check_name(name)
        await self._check_usable(row)
        async with self._db.read() as tx:
            self._check_new(await snapshot_rows.of_lease(tx, row.lease_id), name)
            await self._check_time(tx, row)
        await self._check_unlocked(row)
        if not await self._are_possible(row):
            raise snapshots.SnapshotsNotPossible

    async def take(self, row: lease.Lease, name: str) -> snapshots.Snapshot:
        """Take a snapshot; waits a few seconds for it.

        Raises LeaseBusy, SnapshotExists, TooManySnapshots, TooLittleTimeLeft, and what kept Proxmox
        from it: ContainerLocked, SnapshotsNotPossible, SnapshotFailed.
        """
        today = self._rates(row)
        begin = functools.partial(moves.begin_snapshot, today=today)
        async with self._changing(row, begin) as change:
            self._check_new(change.found, name)
            burning = snapshot_burns.of_new(change.moved, today)
            await snapshot_rows.insert(self._db, change.tx, row.lease_id, name, **burning)
        return await self._done(change.moved, name)

    async def check_change(self, row: lease.Lease, name: str) -> None:
        """Raise the error that `delete` would get now.

        Raises SnapshotNotFound, LeaseBusy, ContainerLocked, and those of
        `power.check_running_time`.
        """
        await self._find(row, name)
        await self._check_unlocked(row)

    async def delete(self, row: lease.Lease, name: str) -> Listing:
        """Delete a snapshot, and return those left; waits a few seconds for it.

        Raises SnapshotNotFound, LeaseBusy; nothing once it is to be deleted.
        """
        async with self._changing(row, moves.look_at_snapshots) as change:
            one = _named(change.found, name)
            await snapshot_rows.update(change.tx, one, state=_STATES.DELETING.value, problem=None)
        await power.applied(self._db, self._worker, change.moved)
        possible: bool | None = None
        with contextlib.suppress(pve.ProxmoxError, errors.LeaseNotReady):
            possible = await self._can_be_taken(row)
        return await self._listing(row, possible=possible)

    async def check_roll_back(self, row: lease.Lease, name: str) -> None:
        """Raise the error that `roll_back` would get now, as `check_change` and LeaseNotReady."""
        if row.link is not networks.Link.READY:
            raise errors.LeaseNotReady("The container's network is not ready yet; try again later.")
        _check_there(await self._find(row, name))
        await self._check_unlocked(row)

    async def roll_back(self, row: lease.Lease, name: str) -> snapshots.Snapshot:
        """Roll the guest back to a snapshot: it stops, and starts again if it is to run.

        Waits a few seconds for it. Raises SnapshotNotFound, LeaseBusy, and what kept Proxmox from
        it: ContainerLocked, SnapshotFailed; the guest is then as it was before.
        """
        async with self._changing(row, moves.begin_rollback) as change:
            one = _named(change.found, name)
            _check_there(one)
            values = {"state": _STATES.ROLLING_BACK.value, "problem": None}
            await snapshot_rows.update(change.tx, one, resumes_to=row.wanted.value, **values)
        return await self._done(change.moved, name)

    @contextlib.asynccontextmanager
    async def _changing(self, row: lease.Lease, move: _Move) -> AsyncIterator[_Change]:
        """One transaction that nobody else changes the lease or its snapshots in.

        The move comes first: it locks the lease's row. Raises LeaseBusy, and the errors of
        `power.check_running_time`.
        """
        power.check_running_time(row)
        try:
            async with self._db.begin() as tx:
                moved = await move(self._db, tx, row)
                found = await snapshot_rows.of_lease(tx, row.lease_id)
                await _check_no_change(tx, row)
                yield _Change(tx=tx, moved=moved, found=found)
        except queue.FenceLostError:
            raise errors.LeaseBusy from None

    async def _listing(self, row: lease.Lease, *, possible: bool | None) -> Listing:
        async with self._db.read() as tx:
            found = await snapshot_rows.of_lease(tx, row.lease_id)
        found = [one for one in found if not one.is_temporary]
        return Listing(
            snapshots=found,
            at_most=self._settings.snapshots_per_lease,
            next_usd=meter.minute_usd(snapshot_burns.burn_of_next(row, self._rates(row))),
            are_possible=possible,
        )

    def _rates(self, row: lease.Lease) -> price.Rates | None:
        sku = self._on_sale.now.skus.get(row.sku)
        return None if sku is None else sku.rates

    async def _check_time(self, tx: transaction.Transaction, row: lease.Lease) -> None:
        """Raise TooLittleTimeLeft if a lease could not burn for another snapshot."""
        burn = snapshot_burns.burn_of_next(row, self._rates(row))
        if burn:
            now = await self._db.time_in(tx)
            snapshot_burns.taken(metering.whole(row, now), burn, now)

    async def _can_be_taken(self, row: lease.Lease) -> bool:
        is_made = row.status is lease.LeaseStatus.ACTIVE
        is_sold = self._settings.snapshots_per_lease > 0
        return is_sold and is_made and await self._are_possible(row)

    async def _done(self, row: lease.Lease, name: str) -> snapshots.Snapshot:
        """Return a snapshot once a worker has seen to it, or after a while."""
        await power.applied(self._db, self._worker, row)
        async with self._db.read() as tx:
            one = await snapshot_rows.get(tx, row.lease_id, name)
        if one is None:  # the lease has ended meanwhile
            raise errors.LeaseOver
        refusal = None if one.is_unfinished else snapshots.refusal(one.problem)
        if refusal is not None:
            raise refusal
        return one

    def _check_new(self, found: Sequence[snapshots.Snapshot], name: str) -> None:
        standing = [one for one in found if one.state is not _STATES.FAILED]
        if any(one.name == name for one in standing):
            raise snapshots.SnapshotExists
        _check_idle(standing)
        if sum(not one.is_temporary for one in standing) >= self._settings.snapshots_per_lease:
            raise snapshots.TooManySnapshots

    async def _find(self, row: lease.Lease, name: str) -> snapshots.Snapshot:
        await self._check_usable(row)
        async with self._db.read() as tx:
            return _named(await snapshot_rows.of_lease(tx, row.lease_id), name)

    async def _check_usable(self, row: lease.Lease) -> None:
        power.check_running_time(row)
        async with self._db.read() as tx:
            row.check_usable(await self._db.time_in(tx))
            await _check_no_change(tx, row)

    async def _check_unlocked(self, row: lease.Lease) -> None:
        try:
            status = await self._guests.status(snapshot_calls.ref(row))
        except pve.GuestMissing as error:
            raise errors.LeaseNotReady from error
        if status.lock:
            raise snapshots.ContainerLocked

    async def _are_possible(self, row: lease.Lease) -> bool:
        try:
            return await self._on_proxmox.are_possible(snapshot_calls.ref(row))
        except pve.GuestMissing as error:
            raise errors.LeaseNotReady from error


async def _check_no_change(tx: transaction.Transaction, row: lease.Lease) -> None:
    """Raise LeaseBusy during a change of size, a reinstallation or a fork."""
    if await unfinished_rows.kinds(tx, row.lease_id) - {unfinished_rows.Kind.SNAPSHOT}:
        raise errors.LeaseBusy


def _named(found: Sequence[snapshots.Snapshot], name: str) -> snapshots.Snapshot:
    one = next((one for one in found if one.name == name and not one.is_temporary), None)
    if one is None:
        raise snapshots.SnapshotNotFound
    _check_idle(found)
    return one


def _check_there(one: snapshots.Snapshot) -> None:
    if one.state is not _STATES.THERE:
        raise snapshots.SnapshotNotFound("This snapshot could not be taken; take another.")


def _check_idle(found: Sequence[snapshots.Snapshot]) -> None:
    if any(one.is_unfinished for one in found):
        raise errors.LeaseBusy
