"""What the workflows write: every change to an order and its lease, one transaction each.

Each write checks the order's fence. FenceLostError means that another process now has the order.
"""

import dataclasses
import json
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

from pve402.domain import happening, lease, meter, order
from pve402.leases import machine, metrics, moves, options, reservation, workflow
from pve402.payments import protocol
from pve402.storage import (
    database,
    happening_rows,
    lease_rows,
    order_rows,
    owed_rows,
    queue,
    tables,
    token_rows,
    transaction,
    user_data_rows,
    vault,
)

Move = Callable[[transaction.Transaction, lease.Lease], Awaitable[lease.Lease]]
"""One of `leases.moves`, with all arguments but the transaction and the lease bound."""

_orders = tables.orders


@dataclasses.dataclass(frozen=True, kw_only=True)
class Deal:
    """An order under work and its lease, as they were last read or written."""

    order: order.Order
    lease: lease.Lease

    @property
    def planned_expiry(self) -> datetime:
        """When a new lease ends if it is handed over at once; its guest's first description."""
        return self.order.created_at + timedelta(minutes=self.order.minutes)


class Deals:
    """Writes orders and leases together."""

    def __init__(
        self, db: database.Database, settings: options.LeaseOptions, secret_vault: vault.Vault
    ) -> None:
        self.db = db
        self._settings = settings
        self._vault = secret_vault

    async def open_deal(self, row: order.Order) -> Deal:
        """Read the lease of an order that a worker has taken; it may have been replaced."""
        async with self.db.read() as tx:
            found = await lease_rows.get_of_order(tx, row.order_id)
        if found is None:
            raise LookupError(f"order {row.order_id} names a lease that is not there")
        return Deal(order=row, lease=found)

    async def advance(
        self,
        deal: Deal,
        move: Move | None = None,
        *,
        order_status: order.OrderStatus | None = None,
    ) -> Deal:
        """Move the order, its lease, or both; resets the attempt count."""
        values: dict[str, Any] = {"attempts": 0, "last_error": None}
        if order_status is not None:
            values["status"] = order_status.value
        if order_status is order.OrderStatus.SETTLING:
            values["settling_at"] = self.db.now()
        async with self.db.begin() as tx:
            written = await self.write_order(tx, deal.order, **values)
            moved = await move(tx, deal.lease) if move is not None else deal.lease
        return Deal(order=written, lease=moved)

    async def write_order(
        self, tx: transaction.Transaction, row: order.Order, **values: Any
    ) -> order.Order:
        """Write values on an order that is still ours."""
        written = await queue.update_fenced(tx, _orders, row.order_id, row.fence, **values)
        return order.Order.from_row(written)

    async def activate(self, deal: Deal, transaction: str | None, *, recheck: bool) -> Deal:
        """Hand a new lease over: order settled, lease active from now, its token valid."""
        async with self.db.begin() as tx:
            now = await self.db.time_in(tx)  # one moment for all that is written
            active = await moves.activate(tx, deal.lease, deal.order.minutes, now)
            settled = await self._settle(tx, deal.order, transaction, active, now, recheck=recheck)
            token = token_rows.Token(
                token_hash=vault.token_hash(self._vault.lease_token(deal.order.order_id)),
                owner=active.account,
                lease_id=active.lease_id,
                scope="*",
                primary_of_lease=True,
                expires_at=None,
            )
            await token_rows.insert(self.db, tx, token)
            if active.metadata.get("userData"):
                await user_data_rows.wake(self.db, tx, settled.order_id)
            if settled.owed_id is not None:
                await owed_rows.deliver(self.db, tx, settled)
        metrics.count(settled)
        return Deal(order=settled, lease=active)

    async def start_paid(self, deal: Deal, transaction: str | None) -> Deal:
        """Record that a new lease is paid and its guest should start."""
        async with self.db.begin() as tx:
            written = await self.write_order(tx, deal.order, **self._paid_now(transaction))
            moved = await moves.start_paid(tx, deal.lease)
        return Deal(order=written, lease=moved)

    async def note_paid(self, deal: Deal, transaction: str | None) -> Deal:
        """Record that an order is paid and not delivered: a warm guest has to be re-keyed, or the
        guest of a renewed lease started. So are its parts.
        """
        paid = self._paid_now(transaction)
        async with self.db.begin() as tx:
            written = await self.write_order(tx, deal.order, **paid)
            if written.parts > 1:
                times = {name: paid[name] for name in ("settled_at", "tried_at", "transaction")}
                await order_rows.pay_parts(self.db, tx, written.order_id, times)
        return Deal(order=written, lease=deal.lease)

    async def begin_try(
        self, tx: transaction.Transaction, row: order.Order, **values: Any
    ) -> order.Order:
        """Record that an order's guest is made anew; only tries of paid orders count."""
        tries = row.tries + 1 if row.is_paid else 0
        fresh = {"tries": tries, "tried_at": self.db.now(), "last_error": None}
        return await self.write_order(tx, row, **fresh, **values)

    def _paid_now(self, transaction: str | None) -> dict[str, Any]:
        now = self.db.now()
        times = {"settled_at": now, "tried_at": now}
        return {**times, "transaction": transaction, "attempts": 0, "last_error": None}

    async def reopen(self, row: order.Order) -> Deal:
        """Read an order that a worker has taken, and its lease, again.

        Raises FenceLostError if another process has taken the order meanwhile: its fence is not
        ours to write under.
        """
        async with self.db.read() as tx:
            current = await order_rows.get(tx, row.order_id)
        if current is None or current.fence != row.fence:
            raise queue.FenceLostError
        return await self.open_deal(current)

    async def extend(self, deal: Deal, transaction: str | None, *, recheck: bool) -> Deal:
        """Add the minutes of a settled renewal, from the later of now and the lease's end."""
        async with self.db.begin() as tx:
            now = await self.db.time_in(tx)  # one moment for all that is written
            longer = await moves.extend(
                tx, deal.lease, deal.order.minutes, now, worth=deal.order.credit
            )
            settled = await self._settle(tx, deal.order, transaction, longer, now, recheck=recheck)
        metrics.count(settled)
        return Deal(order=settled, lease=longer)

    async def remember(self, row: order.Order, transaction: str | None) -> order.Order:
        """Keep the hash of a transaction that may still land; return the order as it is then."""
        if transaction is None or transaction == row.transaction:
            return row
        async with self.db.single() as tx:
            return await self.write_order(tx, row, transaction=transaction)

    async def finish(self, row: order.Order, transaction: str | None = None) -> None:
        """Close a settled order for good, record its final transaction and erase its payment.

        Without a transaction, the order keeps the one it has.
        """
        stands = transaction or row.transaction
        async with self.db.single() as tx:
            await self.write_order(tx, row, final=True, transaction=stands, **CLOSED)

    async def note_description(self, row: order.Order) -> None:
        """Record that the guest's description shows its paid time."""
        async with self.db.single() as tx:
            await self.write_order(tx, row, described_at=self.db.now())

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

    async def leave_open(self, row: order.Order, transaction: str | None) -> order.Order:
        """Record that the settlement was requested but its outcome is unknown."""
        async with self.db.single() as tx:
            return await self.write_order(
                tx,
                row,
                status=order.OrderStatus.SETTLING.value,
                transaction=transaction or row.transaction,
            )

    async def settle_fee(self, row: order.Order, transaction: str | None) -> order.Order:
        """Record that a management fee was paid; there is no lease to update."""
        async with self.db.single() as tx:
            settled = await self.write_order(
                tx,
                row,
                status=order.OrderStatus.SETTLED.value,
                transaction=transaction,
                settled_at=self.db.now(),
                final=True,
                **CLOSED,
            )
        metrics.count(settled)
        return settled

    async def refuse(self, deal: Deal, refusal: str, reason: str) -> Deal:
        """Close an order that will never settle: unwind a new lease, release an existing one."""
        async with self.db.begin() as tx:
            refused = await self._refuse(tx, deal.order, refusal, reason)
            if deal.order.kind is order.OrderKind.CREATION:
                back = await moves.unwind(self.db, tx, deal.lease, refusal, reason)
            else:
                back = await moves.release_hold(tx, deal.lease)
        metrics.count(refused)
        return Deal(order=refused, lease=back)

    async def abandon(
        self, tx: transaction.Transaction, deal: Deal, new: lease.Lease, reason: str
    ) -> None:
        """Give up a lease whose order has got another one, and write down which."""
        old = deal.lease
        await moves.abandon(self.db, tx, old, reason)
        places = f"{old.node}/{old.vmid}, {reason}; the order goes on with lease {new.lease_id}"
        await happening_rows.add(
            self.db,
            tx,
            happening.Kind.REPLACED,
            places,
            lease_id=old.lease_id,
            order_id=deal.order.order_id,
        )

    async def refuse_fee(self, row: order.Order, refusal: str, reason: str) -> order.Order:
        """Close the order for a management fee that was not paid."""
        async with self.db.begin() as tx:
            refused = await self._refuse(tx, row, refusal, reason)
        metrics.count(refused)
        return refused

    async def _refuse(
        self, tx: transaction.Transaction, row: order.Order, refusal: str, reason: str
    ) -> order.Order:
        """Record a refusal, and watch a signed payment: somebody else may still submit it."""
        closing = CLOSED if row.sealed_payment is None else self.watched()
        return await self.write_refusal(
            tx, row, refusal, reason, last_error=reason[:500], attempts=0, **closing
        )

    async def write_refusal(
        self,
        tx: transaction.Transaction,
        row: order.Order,
        refusal: str,
        reason: str,
        **values: Any,
    ) -> order.Order:
        """Write on an order that is still ours that it is refused, and when and why."""
        status = order.OrderStatus.REFUSED.value
        written = await self.write_order(tx, row, status=status, refusal=refusal, **values)
        why = refusal if reason in ("", refusal) else f"{refusal}: {reason}"
        kind = happening.Kind.REFUSED
        await happening_rows.add(
            self.db, tx, kind, why, lease_id=row.lease_id, order_id=row.order_id
        )
        return written

    def watched(self) -> dict[str, Any]:
        """Return the values of a refused order whose signed payment is watched."""
        due = {"due_at": self.db.now(WATCH_AFTER_SECONDS)}
        return {"sealed_secrets": None, "fence": None, **due}

    def secrets_of(self, row: order.Order) -> machine.Secrets:
        """Return what a tenant chose for access to its guest. Raises GiveUp if it was erased."""
        if row.sealed_secrets is None:
            raise workflow.GiveUp("secrets_erased", "the secrets of this order were erased")
        stored = json.loads(self._vault.unseal(row.sealed_secrets, row.order_id))
        return machine.Secrets(
            password=stored["password"], ssh_public_keys=tuple(stored["ssh_public_keys"])
        )

    async def reassign_vmid(self, deal: Deal, note: str) -> Deal:
        """Give a new lease another vmid, because a foreign guest has its own."""
        async with self.db.begin() as tx:
            await reservation.lock_placement(self.db, tx)
            written = await self.write_order(tx, deal.order, attempts=0)
            moved = await reservation.change_vmid(self.db, tx, deal.lease, self._settings, note)
        return Deal(order=written, lease=moved)

    async def _settle(
        self,
        tx: transaction.Transaction,
        row: order.Order,
        transaction: str | None,
        owner_of_time: lease.Lease,
        settled_at: datetime,
        *,
        recheck: bool,
    ) -> order.Order:
        """Record that an order is paid; keep the payment until the settlement is final."""
        due = self.db.now(self._settings.confirm_after_seconds)
        metered, credit = meter.of(owner_of_time), row.credit
        if credit is None and metered is not None:
            credit = metered.worth(row.minutes)
        return await self.write_order(
            tx,
            row,
            status=order.OrderStatus.SETTLED.value,
            transaction=transaction,
            settled_at=settled_at,
            expires_at=owner_of_time.expires_at,
            credit=credit,
            sealed_secrets=None,
            sealed_payment=row.sealed_payment if recheck else None,
            due_at=due,
            fence=None,
            attempts=0,
            last_error=None,
        )


WATCH_AFTER_SECONDS = 10.0
"""When the chain is first looked at for the transfer of a refused order."""
CLOSED = {"sealed_payment": None, "sealed_secrets": None, "due_at": None, "fence": None}


class Moving:
    """A deal, and the moves of its lease since."""

    def __init__(self, deal_writer: Deals, deal: Deal) -> None:
        self._deals = deal_writer
        self.deal = deal

    async def move(self, change: Move) -> lease.Lease:
        """Move the lease."""
        self.deal = await self._deals.advance(self.deal, change)
        return self.deal.lease
