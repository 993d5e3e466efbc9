"""Money that reached us and bought nothing becomes a debt to its payer.

    how it came                                          when it is owed
    a paid container that cannot be delivered            after a day of trying
    a paid renewal whose container does not start        after a day of trying
    a transfer that lands after its order was refused    once it is deep enough on chain
    a renewal that settles after its lease has ended     once it is deep enough on chain

Anybody who has a signed authorization can submit it until `validBefore`. So the chain is looked at
for each refused order until no block can hold its transfer any more.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from pve402.domain import order, owed
from pve402.leases import deals, money, moves, options, parts, workflow
from pve402.payments.settlement import Recheck
from pve402.storage import owed_rows, transaction

log = structlog.get_logger(__name__)

_LEAST_PAUSE_SECONDS = 5.0
_MOST_PAUSE_SECONDS = 60.0


class Debts:
    """Writes debts."""

    def __init__(
        self, deal_writer: deals.Deals, funds: money.Money, settings: options.LeaseOptions
    ) -> None:
        self._deals = deal_writer
        self._parts = parts.Parts(deal_writer)
        self._money = funds
        self._settings = settings

    async def owe_if_overdue(self, deal: deals.Deal, error: str) -> bool:
        """Give a paid order up after a day of trying; return whether it was time.

        Raises RetryLater like `owe`.
        """
        if not await self._is_overdue(deal.order):
            return False
        await self.owe(deal, owed.OwedReason.UNDELIVERED, error)
        return True

    async def _is_overdue(self, row: order.Order) -> bool:
        if row.settled_at is None:
            return False
        limit = timedelta(seconds=self._settings.deliver_seconds)
        return await self._deals.db.time() > row.settled_at + limit

    async def owe(
        self, deal: deals.Deal, why: owed.OwedReason, error: str, *, holder: str | None = None
    ) -> None:
        """Close a paid order that bought nothing, and write what is owed for it.

        Raises RetryLater until its transfer is deep enough on chain. An order that redeems a debt
        gives back what it took. With a holder, the debt is not redeemable.
        """
        if deal.order.owed_id is not None:
            await self._give_back(deal, error, holder)
            return
        try:
            stands = await self._lasting(deal.order)
        except workflow.GiveUp as lost:
            await self._take_back_others(deal, lost.reason)
            await self._deals.refuse(deal, lost.refusal, lost.reason)
            return
        since = deal.order.settled_at or await self._deals.db.time()
        async with self._deals.db.begin() as tx:
            closed = await self._close(tx, deal.order, transaction=stands, settled_at=since)
            await self._insert(tx, closed, why, since=since, error=error, holder=holder)
            await self._let_go(tx, deal, why.value, error)

    async def _take_back_others(self, deal: deals.Deal, reason: str) -> None:
        """Take back what else a lost payment bought. Raises RetryLater while that is held."""
        others = await self._parts.take_back(deal)
        async with self._deals.db.begin() as tx:
            await self._parts.write_lost(tx, others, reason)

    async def watch(self, row: order.Order) -> None:
        """Look whether the transfer of a refused order has landed; it is then owed.

        Raises RetryLater while it may still land, ChainUnavailable.
        """
        if row.sealed_payment is None or not self._money.needs_recheck(row.network):
            await self._deals.finish(row)
            return
        late = await self._money.watch(row)
        if late.may_land:
            raise workflow.RetryLater(
                row.last_error or "may still be paid", after_seconds=await self._pause_seconds(row)
            )
        if late.transaction is None:
            await self._deals.finish(row)
            return
        since = datetime.fromtimestamp(late.landed_at_seconds, UTC)
        why = owed.OwedReason.PAID_LATE
        async with self._deals.db.begin() as tx:
            paid = {"transaction": late.transaction, "settled_at": since}
            closed = await self._close(tx, row, **paid)
            await self._insert(tx, closed, why, since=since, error=row.last_error or "")

    async def _pause_seconds(self, row: order.Order) -> float:
        """Return the pause before the next look; it grows with the order's age."""
        age = (await self._deals.db.time() - row.created_at).total_seconds()
        return min(max(age / 4, _LEAST_PAUSE_SECONDS), _MOST_PAUSE_SECONDS)

    async def _lasting(self, row: order.Order) -> str | None:
        """Return the transaction of a paid order once it is deep enough on chain.

        Raises GiveUp if there is none and never will be, RetryLater while that is open.
        """
        row = await self._parts.payment_of(row)
        if row.status is order.OrderStatus.REFUSED:
            raise workflow.GiveUp(parts.REVERTED, parts.REVERTED)
        if row.sealed_payment is None or not self._money.needs_recheck(row.network):
            return row.transaction
        found = await self._money.recheck(row)
        if found.standing is Recheck.LOST:
            raise workflow.GiveUp(parts.REVERTED, parts.REVERTED)
        if found.standing is not Recheck.FINAL:
            raise workflow.RetryLater("paid and not delivered; not deep enough on chain yet")
        return found.transaction

    async def _close(
        self, tx: transaction.Transaction, row: order.Order, **values: Any
    ) -> order.Order:
        status = order.OrderStatus.OWED.value
        return await self._deals.write_order(
            tx, row, status=status, refusal=None, final=True, **values, **deals.CLOSED
        )

    async def _insert(
        self,
        tx: transaction.Transaction,
        row: order.Order,
        why: owed.OwedReason,
        *,
        since: datetime,
        error: str,
        holder: str | None = None,
    ) -> None:
        """Write a debt; the other leases of a payment that was taken have got their shares."""
        is_late = why is owed.OwedReason.PAID_LATE  # nothing was delivered
        amount_atomic = row.amount_atomic if is_late else row.share_atomic
        debt = owed.Owed(
            owed_id=owed.new_owed_id(),
            order_id=row.order_id,
            reason=why,
            network=row.network,
            asset=row.asset,
            payer=row.payer,
            amount_atomic=amount_atomic,
            left_atomic=amount_atomic,
            transaction=row.transaction,
            since=since,
            created_at=since,  # the insert writes the database's own time
            tries=row.tries,
            last_error=error[:500] or None,
            holder_order_id=holder,
        )
        await owed_rows.insert(self._deals.db, tx, debt)
        log.error(
            "money_owed",
            owed=debt.owed_id,
            order=row.order_id,
            payer=row.payer,
            network=row.network,
            amount_atomic=amount_atomic,
            reason=why.value,
        )

    async def _give_back(self, deal: deals.Deal, error: str, holder: str | None) -> None:
        log.error("redemption_not_delivered", order=deal.order.order_id, owed=deal.order.owed_id)
        async with self._deals.db.begin() as tx:
            closed = await self._deals.write_refusal(
                tx, deal.order, "create_failed", error, last_error=error[:500], **deals.CLOSED
            )
            await owed_rows.give_back(tx, closed, holder)
            await self._let_go(tx, deal, "create_failed", error)

    async def _let_go(
        self, tx: transaction.Transaction, deal: deals.Deal, refusal: str, error: str
    ) -> None:
        """Unwind the lease of a creation; release that of a renewal."""
        if deal.order.kind is order.OrderKind.CREATION:
            await moves.unwind(self._deals.db, tx, deal.lease, refusal, error)
        else:
            await moves.release_hold(tx, deal.lease)
