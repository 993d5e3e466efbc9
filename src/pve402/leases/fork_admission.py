"""Accepts forks: one transaction claims the payment, reserves a lease, and holds what is copied."""

import dataclasses
from collections.abc import Sequence
from datetime import datetime

from pve402.domain import (
    catalogue,
    errors,
    forks,
    lease,
    making,
    order,
    placement,
    request,
    snapshots,
)
from pve402.leases import admission, moves, options, purchases, reservation
from pve402.storage import (
    database,
    fork_rows,
    lease_rows,
    private_image_rows,
    queue,
    snapshot_rows,
    transaction,
    unfinished_rows,
)

FORK_ROUTE = "POST /lease/{ctid}/fork"


class ForkAdmission:
    """Writes the orders of forks."""

    def __init__(
        self,
        db: database.Database,
        settings: options.LeaseOptions,
        admissions: admission.Admission,
    ) -> None:
        self._db = db
        self._settings = settings
        self._admissions = admissions

    async def find(
        self, asked: request.CreationRequest, purchase: purchases.Purchase
    ) -> admission.Taken | None:
        """Return the order of this purchase, if there is one. Raises as `Admission.find`."""
        return await self._admissions.find(purchase, FORK_ROUTE, asked.canonical())

    async def take(
        self,
        source: lease.Lease,
        way: forks.Way,
        asked: request.CreationRequest,
        purchase: purchases.Purchase,
        *,
        sku: catalogue.Sku,
        how: making.Making,
        rooms: Sequence[placement.NodeRoom],
    ) -> admission.Taken:
        """Claim the payment, and reserve a lease beside the one that is copied.

        Nothing is done about the snapshots, the size and, if it is down, the power of that one
        until the order is closed. Raises LeaseBusy, NoCapacity, TooManyUnsettled, WalletMustWait,
        LimitReached, PaymentReused, IdempotencyKeyReused, and the errors of `check_source`.
        """
        new = self._admissions.new_creation(purchase, FORK_ROUTE, asked)
        new = dataclasses.replace(new, parts=asked.count)
        async with self._db.begin() as tx:
            await reservation.lock_placement(self._db, tx)
            found = await self._admissions.find_in(tx, purchase, FORK_ROUTE, new.request_hash)
            if found is not None:
                return found
            await self._admissions.free_riding.check_creation(tx, purchase, asked.count)
            await self._admissions.quotas.check(tx, purchase, asked.size, how.network, asked.count)
            now = await self._db.time_in(tx)
            fork = await self._hold(tx, source, way, new.order_id, now)
            await fork_rows.insert(self._db, tx, fork)

            async def insert(one: order.Order, number: int) -> admission.Taken:
                wanted = self._copy(source, asked, number, sku, purchase)
                row = await reservation.reserve(
                    self._db, tx, wanted, self._settings, rooms=rooms, how=how
                )
                is_first = number == 0
                return await self._admissions.insert_creation(tx, one, row, asked, at_once=is_first)

            taken = await insert(new, 0)
            for number in range(1, asked.count):
                await insert(self._part(new, asked, number), number)
            return taken

    def _copy(
        self,
        source: lease.Lease,
        asked: request.CreationRequest,
        number: int,
        sku: catalogue.Sku,
        buyer: purchases.Buyer,
    ) -> lease.Lease:
        """Return one of the leases that are to be, not placed yet."""
        named = dataclasses.replace(asked, hostname=asked.named(number) or None)
        row = self._admissions.new_lease(lease.new_lease_id(), named, sku, buyer)
        return row.evolve(template=source.template, forked_from=source.lease_id)

    def _part(self, first: order.Order, asked: request.CreationRequest, number: int) -> order.Order:
        """Return the order of another lease of a payment: it claims a nonce of its own."""
        order_id = order.new_order_id()
        return dataclasses.replace(
            first,
            order_id=order_id,
            nonce=f"{first.order_id}:{number:02}",
            pay_to="",
            amount_atomic=first.amount_atomic // first.parts,
            parts=1,
            part_of=first.order_id,
            idempotency_hash=None,
            sealed_payment=None,
            sealed_secrets=self._admissions.seal_secrets(order_id, asked),
        )

    async def _hold(
        self,
        tx: transaction.Transaction,
        source: lease.Lease,
        way: forks.Way,
        order_id: str,
        now: datetime,
    ) -> forks.Fork:
        """Order the temporary snapshot, if one is to be copied, and return the row to write."""
        current = await lease_rows.get_locked(tx, source.lease_id)
        if current is None:
            raise errors.LeaseNotFound
        check_source(current, now)
        if (current.node, current.size) != (source.node, source.size):
            raise errors.LeaseBusy  # the price is of another size
        await check_idle(tx, current)
        pve_name = way.snapshot
        if way.takes_snapshot:
            try:
                await moves.look_at_snapshots(self._db, tx, current)
            except queue.FenceLostError:
                raise errors.LeaseBusy from None
            name = snapshots.TEMPORARY
            pve_name = await snapshot_rows.insert(self._db, tx, current.lease_id, name)
        elif pve_name is None and current.is_to_run:
            raise forks.ForkNeedsStop
        return forks.Fork(
            order_id=order_id,
            lease_id=current.lease_id,
            created_at=now,
            pve_name=pve_name,
            is_temporary=way.takes_snapshot,
            is_linked=way.is_linked,
        )


def check_source(row: lease.Lease, now: datetime) -> None:
    """Check that a lease lasts until its guest is copied.

    Raises LeaseOver, LeaseNotReady, LeaseSuspended, LeaseBusy, ForkEndsTooSoon.
    """
    if row.status in lease.OVER or row.status is lease.LeaseStatus.DELETING:
        raise errors.LeaseOver
    row.check_usable(now)
    if row.hold_order_id is not None:
        raise errors.LeaseBusy
    if row.expires_at is None or row.expires_at < now + forks.LEAST_LEFT:
        raise forks.ForkEndsTooSoon


async def check_idle(tx: transaction.Transaction, row: lease.Lease) -> None:
    """Raise LeaseBusy while something else is done about a guest's disk."""
    await fork_rows.check_none(tx, row.lease_id)
    await private_image_rows.check_none(tx, row.lease_id)
    found = await snapshot_rows.of_lease(tx, row.lease_id)
    left = [one for one in found if one.is_temporary and one.state is not snapshots.State.FAILED]
    if left or await unfinished_rows.of_lease(tx, row.lease_id):
        raise errors.LeaseBusy
