"""What the workflows write: every change of an order and its lease, one transaction each.

Each names the order's fence. FenceLostError means that another process has the order now.
"""

import dataclasses
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from pve402.domain import lease, order
from pve402.leases import metrics, options
from pve402.payments import protocol
from pve402.storage import (
    database,
    lease_rows,
    order_rows,
    queue,
    tables,
    token_rows,
    transaction,
    vault,
    vmid_rows,
)

_leases = tables.leases
_orders = tables.orders
MINUTE_MS = 60_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Deal:
    """An order under work and its lease, as they were last read or written."""

    order: order.Order
    lease: lease.Lease


class Books:
    """Writes orders and leases together."""

    def __init__(
        self, db: database.Database, settings: options.LeaseOptions, keys: vault.Vault
    ) -> None:
        self.db = db
        self._settings = settings
        self._keys = keys

    async def open_deal(self, row: order.Order) -> Deal:
        """Read the lease of an order that a worker has taken, which may be another by now."""
        async with self.db.read() as tx:
            found = await lease_rows.get_of_order(tx, row.order_id)
        if found is None:
            raise LookupError(f"order {row.order_id} names a lease that is not there")
        return Deal(order=row, lease=found)

    async def advance(
        self,
        deal: Deal,
        *,
        order_status: order.OrderStatus | None = None,
        lease_status: lease.LeaseStatus | None = None,
        order_values: dict[str, Any] | None = None,
        lease_values: dict[str, Any] | None = None,
    ) -> Deal:
        """Take order and lease to their next states; attempts start anew."""
        values = {"attempts": 0, "last_error": None, **(order_values or {})}
        if order_status is not None:
            values["status"] = order_status.value
        async with self.db.begin() as tx:
            written = await self.write_order(tx, deal.order, **values)
            moved = deal.lease
            if lease_status is not None or lease_values:
                moved = await self.move_lease(
                    tx, deal.lease, lease_status or deal.lease.status, **(lease_values or {})
                )
        return Deal(order=written, lease=moved)

    async def write_order(
        self, tx: transaction.Transaction, of: order.Order, **values: Any
    ) -> order.Order:
        """Write values on an order that is still ours."""
        row = await queue.update_fenced(tx, _orders, of.order_id, of.fence, **values)
        return order.Order.from_row(row)

    async def move_lease(
        self, tx: transaction.Transaction, of: lease.Lease, to: lease.LeaseStatus, **values: Any
    ) -> lease.Lease:
        """Move the lease of an order that is still ours."""
        moved = await lease_rows.move(tx, of, to, **values)
        if moved is None:
            raise queue.FenceLostError
        return moved

    async def activate(self, deal: Deal, transaction: str | None, *, recheck: bool) -> Deal:
        """Hand a new lease over: order settled, lease active from now, its token valid."""
        bought = timedelta(milliseconds=deal.order.minutes * MINUTE_MS)
        async with self.db.begin() as tx:
            now = await self.db.time_in(tx)  # one moment for all that is written
            ends = now + bought
            active = await self.move_lease(
                tx, deal.lease, lease.LeaseStatus.ACTIVE, expires_at=ends, due_at=ends, upid=None
            )
            settled = await self._settle(tx, deal.order, transaction, active, now, recheck=recheck)
            token = token_rows.Token(
                token_hash=vault.token_hash(self._keys.lease_token(deal.order.order_id)),
                owner=active.owner,
                lease_id=active.lease_id,
                scope="*",
                primary_of_lease=True,
                expires_at=None,
            )
            await token_rows.insert(self.db, tx, token)
        metrics.count(settled)
        return Deal(order=settled, lease=active)

    async def extend(self, deal: Deal, transaction: str | None, *, recheck: bool) -> Deal:
        """Add the minutes of a settled renewal, from the later of now and the lease's end."""
        async with self.db.begin() as tx:
            now = await self.db.time_in(tx)  # one moment for all that is written
            end = sa.type_coerce(_leases.c.expires_at, sa.BigInteger)
            moment = sa.literal(tables.to_milliseconds(now), sa.BigInteger)
            ends = sa.case((end > moment, end), else_=moment) + deal.order.minutes * MINUTE_MS
            longer = await self.move_lease(
                tx,
                deal.lease,
                lease.LeaseStatus.ACTIVE,
                expires_at=ends,
                due_at=ends,
                deletes_at=None,
                end_reason=None,
                fence=None,
                attempts=0,
                last_error=None,
                **_NO_HOLD,
            )
            settled = await self._settle(tx, deal.order, transaction, longer, now, recheck=recheck)
        metrics.count(settled)
        return Deal(order=settled, lease=longer)

    async def remember(self, of: order.Order, transaction: str | None) -> None:
        """Keep the hash of a transaction that may still land."""
        if transaction is not None and transaction != of.transaction:
            async with self.db.single() as tx:
                await self.write_order(tx, of, transaction=transaction)

    async def finish(self, of: order.Order, transaction: str | None = None) -> None:
        """Close a settled order for good, with the transaction that stands, and erase its payment.

        Without a transaction the one that was seen before stands.
        """
        stands = transaction or of.transaction
        async with self.db.single() as tx:
            await self.write_order(tx, of, final=True, transaction=stands, **CLOSED)

    async def note_description(self, of: order.Order) -> None:
        """Write that the guest has been told until when it is paid."""
        async with self.db.single() as tx:
            await self.write_order(tx, of, described_at=self.db.now())

    async def record_transaction(self, payment: protocol.PaymentKey, transaction: str) -> None:
        """Keep the hash of a transaction of our own before it is broadcast."""
        async with self.db.single() as tx:
            await order_rows.record_transaction(
                tx,
                network=payment.network,
                asset=payment.asset,
                payer=payment.payer,
                nonce=payment.nonce,
                transaction=transaction,
            )

    async def leave_open(self, of: order.Order, transaction: str | None) -> order.Order:
        """Write that the settlement of an order was asked for and its outcome is not known."""
        async with self.db.single() as tx:
            return await self.write_order(
                tx,
                of,
                status=order.OrderStatus.SETTLING.value,
                transaction=transaction or of.transaction,
            )

    async def settle_alone(self, of: order.Order, transaction: str | None) -> order.Order:
        """Record that an order was paid on which nothing else hangs: a management fee."""
        async with self.db.single() as tx:
            settled = await self.write_order(
                tx,
                of,
                status=order.OrderStatus.SETTLED.value,
                transaction=transaction,
                settled_at=self.db.now(),
                final=True,
                **CLOSED,
            )
        metrics.count(settled)
        return settled

    async def refuse(self, deal: Deal, refusal: str, reason: str) -> Deal:
        """Close an order that will never be settled: a new lease unwinds, an old one is let go."""
        async with self.db.begin() as tx:
            refused = await self._refuse(tx, deal.order, refusal, reason)
            if deal.order.kind is order.OrderKind.CREATION:
                back = await self._unwind(tx, deal.lease, refusal)
            else:
                back = await self._let_go(tx, deal.lease)
        metrics.count(refused)
        return Deal(order=refused, lease=back)

    async def refuse_fee(self, of: order.Order, refusal: str, reason: str) -> order.Order:
        """Close the order of a management fee that was not paid."""
        async with self.db.single() as tx:
            refused = await self._refuse(tx, of, refusal, reason)
        metrics.count(refused)
        return refused

    async def _refuse(
        self, tx: transaction.Transaction, of: order.Order, refusal: str, reason: str
    ) -> order.Order:
        return await self.write_order(
            tx,
            of,
            status=order.OrderStatus.REFUSED.value,
            refusal=refusal,
            last_error=reason[:500],
            **CLOSED,
        )

    async def reassign_vmid(self, deal: Deal, note: str) -> Deal:
        """Give a new lease another vmid, because something foreign stands on its own."""
        settings = self._settings
        async with self.db.begin() as tx:
            await lock_placement(self.db, tx)
            written = await self.write_order(tx, deal.order, attempts=0)
            old = deal.lease
            await vmid_rows.release(self.db, tx, old.vmid, old.lease_id, note)
            vmid = await vmid_rows.reserve(
                self.db, tx, old.lease_id, least=settings.vmid_min, most=settings.vmid_max
            )
            moved = await self.move_lease(tx, old, old.status, vmid=vmid, upid=None)
        return Deal(order=written, lease=moved)

    async def _settle(
        self,
        tx: transaction.Transaction,
        of: order.Order,
        transaction: str | None,
        owner_of_time: lease.Lease,
        settled_at: datetime,
        *,
        recheck: bool,
    ) -> order.Order:
        """Write that an order is paid; the payment is kept until the settlement is final."""
        due = self.db.now(self._settings.confirm_after_seconds)
        return await self.write_order(
            tx,
            of,
            status=order.OrderStatus.SETTLED.value,
            transaction=transaction,
            settled_at=settled_at,
            expires_at=owner_of_time.expires_at,
            sealed_secrets=None,
            sealed_payment=of.sealed_payment if recheck else None,
            due_at=due,
            fence=None,
            attempts=0,
            last_error=None,
        )

    async def _unwind(
        self, tx: transaction.Transaction, of: lease.Lease, refusal: str
    ) -> lease.Lease:
        return await self.move_lease(
            tx, of, lease.LeaseStatus.UNWINDING, due_at=self.db.now(), end_reason=refusal
        )

    async def _let_go(self, tx: transaction.Transaction, of: lease.Lease) -> lease.Lease:
        """End a renewal's hold; a guest that it started out of grace is stopped again."""
        to, due = of.status, of.deletes_at or of.expires_at
        if to is lease.LeaseStatus.STARTING:
            to, due = lease.LeaseStatus.STOPPING, of.expires_at
        if to in lease.OVER:  # it ended when the hold had run out
            due = None
        return await self.move_lease(tx, of, to, due_at=due, fence=None, **_NO_HOLD)


_NO_HOLD = {"hold_order_id": None, "hold_until": None}
CLOSED = {"sealed_payment": None, "sealed_secrets": None, "due_at": None, "fence": None}


async def lock_placement(db: database.Database, tx: transaction.Transaction) -> None:
    """Let one transaction at a time, over all replicas, choose a node and a vmid.

    SQLite has one writer, which is the same.
    """
    if not db.is_sqlite:
        await tx.execute(sa.select(sa.func.pg_advisory_xact_lock(_PLACEMENT_LOCK)))


_PLACEMENT_LOCK = 402_402_403
