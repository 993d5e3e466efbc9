"""Lets a tenant change the size of a lease: what it would cost, and the change itself.

No payment moves: what is left of the lease's time burns faster or slower. A wish is written with a
move of the lease, which takes what becomes more; the worker carries it out, and the caller waits
for a while. All is checked before a fee is charged, and again in the transaction that writes.
"""

import dataclasses
import math
from collections.abc import Sequence
from datetime import datetime, timedelta

from pve402.domain import errors, lease, meter, placement, quota
from pve402.domain import size_changes as changes
from pve402.leases import cluster, moves, on_sale, options, purchases, quotas, reservation, worker
from pve402.leases.alterations import power
from pve402.leases.moves import metering
from pve402.storage import (
    database,
    lease_rows,
    queue,
    size_change_rows,
    transaction,
    unfinished_rows,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What a change of size does to a lease, if it is made now."""

    row: lease.Lease  # as it is
    size: lease.Size
    rates: dict[str, str]
    before: meter.Meter
    after: meter.Meter

    @property
    def is_nothing(self) -> bool:
        """Whether the lease has this size already."""
        return self.size == self.row.size

    @property
    def more(self) -> lease.Size:
        """What the guest gets more of."""
        return changes.growth(self.row.size, self.size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """A lease and the latest change of its size, finished or not; None: there was none."""

    lease: lease.Lease
    change: changes.SizeChange | None


class SizeChanges:
    """Changes the sizes of leases."""

    def __init__(
        self,
        db: database.Database,
        view: cluster.ClusterView,
        selling: on_sale.OnSale,
        settings: options.LeaseOptions,
        *,
        quota_checks: quotas.QuotaChecks,
        lease_worker: worker.Worker,
    ) -> None:
        self._db = db
        self._view = view
        self._on_sale = selling
        self._settings = settings
        self._quotas = quota_checks
        self._worker = lease_worker

    async def quote(self, row: lease.Lease, wish: changes.Wish, *, by_key: bool) -> Plan:
        """Return what a change would do now; raise the error that `change` would get.

        Raises NoLongerSold, OutOfBounds, InvalidRequest, TooLittleTimeLeft, PaidTooFarAhead,
        NoCapacity, LimitReached, LeaseBusy, ProxmoxUnavailable, and the errors of
        `power.check_running_time`. `by_key` as in a purchase.
        """
        rooms = await self._view.rooms()
        async with self._db.read() as tx:
            now = await self._db.time_in(tx)
            current = await lease_rows.get(tx, row.lease_id)
            if current is None:
                raise errors.LeaseNotFound
            return await self._checked(tx, current, wish, now, rooms=rooms, by_key=by_key)

    async def check(self, row: lease.Lease, wish: changes.Wish, *, by_key: bool) -> None:
        """Raise the error that `change` would get now; none if just that is under way."""
        made = await self.latest(row)
        if made is None or not _is_same(made, wish):
            await self.quote(row, wish, by_key=by_key)

    async def show(self, row: lease.Lease) -> Outcome:
        """Return a lease with the latest change of its size. Raises LeaseNotFound."""
        async with self._db.read() as tx:
            now = await lease_rows.get(tx, row.lease_id)
            made = await size_change_rows.get(tx, row.lease_id)
        if now is None:
            raise errors.LeaseNotFound
        return Outcome(lease=now, change=made)

    async def latest(self, row: lease.Lease) -> changes.SizeChange | None:
        """Return the latest change of a lease's size, finished or not."""
        async with self._db.read() as tx:
            return await size_change_rows.get(tx, row.lease_id)

    async def change(self, row: lease.Lease, wish: changes.Wish, *, by_key: bool) -> Outcome:
        """Change the size; waits a few seconds for it. A size that the lease has costs nothing.

        A request that is repeated waits for the change that is under way. Raises like `quote`, and
        what kept Proxmox from it: NeedsRestart, ContainerLocked, ChangeFailed.
        """
        rooms = await self._view.rooms()
        moved = await self._begin(row, wish, rooms, by_key=by_key)
        if moved is None:
            now = await self.show(row)
            led_here = now.change is not None and now.change.after == now.lease.size
            return now if led_here else Outcome(lease=now.lease, change=None)
        applied = await power.applied(self._db, self._worker, moved)
        made = await self.latest(row)
        refusal = None if made is None or made.is_unfinished else changes.refusal(made.problem)
        if refusal is not None:
            raise refusal
        return Outcome(lease=applied, change=made)

    async def _begin(
        self,
        row: lease.Lease,
        wish: changes.Wish,
        rooms: Sequence[placement.NodeRoom],
        *,
        by_key: bool,
    ) -> lease.Lease | None:
        """Write the wish, in placement's turn; return the lease, None if nothing changes."""
        try:
            async with self._db.begin() as tx:
                await reservation.lock_placement(self._db, tx)
                latest = await metering.latest(tx, row)
                now = await self._db.time_in(tx)
                under_way = await size_change_rows.unfinished(tx, row.lease_id)
                if under_way is not None and _is_same(under_way, wish):
                    return latest
                plan = await self._checked(tx, latest, wish, now, rooms=rooms, by_key=by_key)
                if plan.is_nothing:
                    return None
                change = _new(plan, wish)
                moved = await moves.begin_size_change(self._db, tx, latest, change, now)
                await size_change_rows.put(self._db, tx, change)
                return moved
        except queue.FenceLostError:
            raise errors.LeaseBusy from None

    async def _checked(
        self,
        tx: transaction.Transaction,
        row: lease.Lease,
        wish: changes.Wish,
        now: datetime,
        *,
        rooms: Sequence[placement.NodeRoom],
        by_key: bool,
    ) -> Plan:
        power.check_changeable(row, now)
        await _check_idle(tx, row, wish, now)
        plan = self._plan(row, wish, now)
        self._check_end(plan, now)
        if any(dataclasses.astuple(plan.more)):
            await self._check_room(tx, plan, rooms)
            more = quota.Usage(**dataclasses.asdict(plan.more))
            await self._quotas.check_more(tx, _buyer(row, by_key=by_key), more)
        return plan

    def _plan(self, row: lease.Lease, wish: changes.Wish, now: datetime) -> Plan:
        selling = self._on_sale.now
        size = wish.size_for(row, selling)
        before = metering.rated(row, now).at(now)
        if size == row.size:
            return Plan(row=row, size=size, rates=dict(row.rates), before=before, after=before)
        today = selling.sku(row.sku).rates
        rates = changes.rates_after(row.rates, today, row.size, size)
        after = before.changed(meter.burn_of_lease(row.evolve(rates=rates, size=size)), now)
        return Plan(row=row, size=size, rates=rates, before=before, after=after)

    def _check_end(self, plan: Plan, now: datetime) -> None:
        """Hold the lease to the cap on time that is paid ahead, and to the least that is left."""
        before, after = plan.before.ends_at, plan.after.ends_at
        less = plan.row.snapshot_burn or 0  # the cap is reckoned without them
        was_ahead = plan.before.paid_ahead_ms(now, less=less)
        ahead = plan.after.paid_ahead_ms(now, less=less)
        if ahead > max(was_ahead, self._settings.paid_ahead_limit_seconds * 1000):
            days = self._settings.paid_ahead_limit_seconds / 86400
            raise errors.PaidTooFarAhead(
                f"at most {days:g} days may be paid ahead, and with this size the time that is left"
                " would last longer; nothing was changed"
            )
        if after < min(before, now + timedelta(minutes=changes.LEAST_MINUTES_LEFT)):
            raise changes.TooLittleTimeLeft

    async def _check_room(
        self, tx: transaction.Transaction, plan: Plan, rooms: Sequence[placement.NodeRoom]
    ) -> None:
        usable = await reservation.without_drained(tx, rooms)
        try:
            placement.check_growth(
                usable,
                await lease_rows.list_promises(tx),
                plan.more,
                cores=plan.size.cores,
                node=plan.row.node,
                storage=plan.row.storage,
                limits=self._settings.limits,
            )
        except errors.NoCapacity:
            raise errors.NoCapacity(
                "The node of this container has no room for this size right now, and a container"
                " does not move. Nothing was changed."
            ) from None


async def _check_idle(
    tx: transaction.Transaction, row: lease.Lease, wish: changes.Wish, now: datetime
) -> None:
    """Raise LeaseBusy while anything is under way about the guest, or soon after one failed."""
    latest = await size_change_rows.get(tx, row.lease_id)
    if latest is not None and latest.is_unfinished:
        raise errors.LeaseBusy
    until = None if latest is None else latest.rests_until(wish)
    if until is not None and now < until:
        seconds = math.ceil((until - now).total_seconds())
        raise errors.LeaseBusy(
            f"A change of size has just failed; try again in {math.ceil(seconds / 60)} minutes.",
            retry_after_seconds=seconds,
        )
    if await unfinished_rows.of_lease(tx, row.lease_id):
        raise errors.LeaseBusy


def _new(plan: Plan, wish: changes.Wish) -> changes.SizeChange:
    return changes.SizeChange(
        lease_id=plan.row.lease_id,
        state=changes.State.CHANGING,
        created_at=plan.after.metered_at,
        before=plan.row.size,
        after=plan.size,
        burn_before=plan.before.burn,
        burn_after=plan.after.burn,
        rates_after=plan.rates,
        since=plan.after.metered_at,
        may_restart=wish.may_restart,
    )


def _is_same(under_way: changes.SizeChange, wish: changes.Wish) -> bool:
    """Whether a change that is under way is what somebody wishes."""
    given = {name: getattr(wish, name) for name in changes.DIMENSIONS}
    wanted = {name: value for name, value in given.items() if value is not None}
    after = dataclasses.asdict(under_way.after)
    return under_way.state is changes.State.CHANGING and wanted.items() <= after.items()


def _buyer(row: lease.Lease, *, by_key: bool) -> purchases.Redeemer:
    return purchases.Redeemer(owner=row.owner, by_key=by_key, client_address=row.client_address)
