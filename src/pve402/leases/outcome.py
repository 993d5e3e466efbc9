"""What became of an order: waits for its end, and puts it in words for the tenant."""

import asyncio
import contextlib
import dataclasses

from pve402.domain import errors, lease, order, owed
from pve402.leases import refusals, worker
from pve402.storage import database, lease_rows, order_rows, owed_rows

_POLL_SECONDS = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """The state of an order; includes the token only if the client may have it."""

    lease: lease.Lease
    order: order.Order
    access_token: str | None = dataclasses.field(default=None, repr=False)
    others: "tuple[Answer, ...]" = ()  # what else the same payment bought


class Outcomes:
    """Reads orders for the requests that wait for them."""

    def __init__(self, db: database.Database, lease_worker: worker.Worker) -> None:
        self._db = db
        self._worker = lease_worker

    async def closed(
        self, row: order.Order, limit_seconds: float, *, is_fresh: bool
    ) -> order.Order:
        """Wait as long as the client asked; return the order, which may still be open at 0 seconds.

        Raises the refusal of an order that bought nothing, and OrderPending or SettlementPending
        for one that is still open.
        """
        if limit_seconds > 0:
            row = await self._wait(row, limit_seconds, is_fresh=is_fresh)
        if row.status is order.OrderStatus.REFUSED:
            raise refusals.refusal_of(row)
        if row.status is order.OrderStatus.OWED:
            raise refusals.owed_for(await self._debt_of(row))
        if row.is_open and limit_seconds > 0:
            if row.is_paid:
                raise errors.DeliveryPending
            if row.status is order.OrderStatus.SETTLING:
                raise errors.SettlementPending
            raise errors.OrderPending
        return row

    async def until_closed(self, row: order.Order, limit_seconds: float) -> order.Order:
        """Wait for an order's end, and return it as it is then, whatever became of it."""
        return await self._wait(row, limit_seconds, is_fresh=False)

    async def read(self, order_id: str) -> order.Order:
        """Return an order that exists."""
        async with self._db.read() as tx:
            found = await order_rows.get(tx, order_id)
        if found is None:
            raise LookupError("an order vanished")
        return found

    async def lease_of(self, row: order.Order) -> lease.Lease:
        """Return the lease of an order."""
        async with self._db.read() as tx:
            found = await lease_rows.get(tx, row.lease_id or "")
        if found is None:
            raise LookupError("an order without its lease")
        return found

    async def _wait(self, row: order.Order, limit_seconds: float, *, is_fresh: bool) -> order.Order:
        """Wait until an order is closed; do not reread an order that was just written."""
        deadline = asyncio.get_running_loop().time() + limit_seconds
        with self._worker.changes_of(row.order_id) as changed:
            while row.is_open:
                if not is_fresh:
                    changed.clear()
                    row = await self.read(row.order_id)
                is_fresh = False
                left = deadline - asyncio.get_running_loop().time()
                if not row.is_open or left <= 0:
                    break
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(_POLL_SECONDS, left)):
                        await changed.wait()
        return row

    async def _debt_of(self, row: order.Order) -> owed.Owed | None:
        async with self._db.read() as tx:
            return await owed_rows.get_of_order(tx, row.order_id)
