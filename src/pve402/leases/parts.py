"""One payment for several leases: the order that it claimed, and one order for each other lease.

    the order with the payment     the others, its parts
    makes its guest                make theirs
    waits until all are up         wait, SETTLING, for the money
    refused                        refused
    paid                           paid, in the same transaction: each is delivered by itself

A part that is SETTLING gives nothing up by itself. So once all are, the money may move: each gets
its share, and what cannot be delivered is owed like any other paid order.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from pve402.domain import forks, lease, order
from pve402.leases import deals, moves, workflow
from pve402.storage import order_rows, queue, transaction

REVERTED: Final = "payment_reverted"
"""Why an order is refused whose transfer is no longer on the chain."""

_PATIENCE_SECONDS = 20.0
_LOOK_SECONDS = 0.1
_AGAIN_SECONDS = 0.3
_WAITING = order.OrderStatus.SETTLING
_LOST = frozenset({order.OrderStatus.REFUSED, order.OrderStatus.OWED})


class Parts:
    """Lets the orders of one payment wait for each other."""

    def __init__(self, deal_writer: deals.Deals) -> None:
        self._deals = deal_writer

    async def await_others(self, row: order.Order) -> None:
        """Wait until all other leases of a payment could be handed over.

        Once it is paid, each is delivered by itself. Raises GiveUp if one never will be,
        RetryLater if it takes long, FenceLostError if another process has paid meanwhile.
        """
        if row.is_paid:
            return
        give_up_at = time.monotonic() + _PATIENCE_SECONDS
        while row.parts > 1 and not await self._are_up(row):
            if time.monotonic() > give_up_at:
                raise workflow.RetryLater("the other containers are still being made")
            await asyncio.sleep(_LOOK_SECONDS)

    async def _are_up(self, row: order.Order) -> bool:
        async with self._deals.db.read() as tx:
            others = await order_rows.list_parts(tx, row.order_id)
        if any(one.is_paid for one in others):  # by the process that took this order over
            raise queue.FenceLostError
        lost = next((one for one in others if one.status in _LOST), None)
        if lost is not None:
            reason = f"another container was not made: {lost.last_error}"
            raise workflow.GiveUp(lost.refusal or "create_failed", reason)
        return all(one.status is _WAITING for one in others)

    async def check_first(self, row: order.Order) -> None:
        """Raise GiveUp if the payment of a part will not be made."""
        if row.part_of is None or row.is_paid:
            return
        async with self._deals.db.read() as tx:
            first = await order_rows.get(tx, row.part_of)
        if first is None or first.status in _LOST:
            reason = "gone" if first is None else first.last_error
            raise workflow.GiveUp(forks.PART_REFUSED, f"its payment was refused: {reason}")

    async def await_money(self, deal: deals.Deal) -> deals.Deal:
        """Return a part as it is once it is paid. Raises RetryLater before, GiveUp as above.

        Raises FenceLostError if another process has it.
        """
        now = await self._deals.reopen(deal.order)
        if now.order.is_paid:
            return now
        await self.check_first(now.order)
        reason = "its payment is not made yet"  # once it is, the part is due
        raise workflow.look_again(reason, now.order.attempts, _AGAIN_SECONDS)

    async def take_back(self, deal: deals.Deal) -> list[deals.Deal]:
        """Return the other leases of a payment that was lost, delivered or not.

        Raises RetryLater while one is being delivered.
        """
        if deal.order.parts == 1:
            return []
        async with self._deals.db.read() as tx:
            others = await order_rows.list_parts(tx, deal.order.order_id)
        if any(one.is_open for one in others):
            raise workflow.RetryLater("another lease of the payment is being delivered")
        settled = [one for one in others if one.status is order.OrderStatus.SETTLED]
        return [await self._deals.open_deal(one) for one in settled]

    async def write_lost(
        self, tx: transaction.Transaction, others: Sequence[deals.Deal], reason: str
    ) -> None:
        """Refuse what else a lost payment bought.

        Raises RetryLater as `shorten`, and while another process has one of the orders.
        """
        for one in others:
            final = {"final": True, **deals.CLOSED}
            try:
                await self._deals.write_refusal(tx, one.order, REVERTED, reason, **final)
            except queue.FenceLostError:
                held = "another order of the payment is worked on"
                raise workflow.RetryLater(held, after_seconds=_AGAIN_SECONDS) from None
            await self.shorten(tx, one)

    async def shorten(self, tx: transaction.Transaction, deal: deals.Deal) -> None:
        """Take a lost payment's minutes back. Raises RetryLater while a renewal holds the lease."""
        if deal.lease.status is not lease.LeaseStatus.ACTIVE:
            return
        try:
            await moves.take_minutes_back(self._deals.db, tx, deal.lease, deal.order, REVERTED)
        except queue.FenceLostError:
            raise workflow.RetryLater("the lease is held by a renewal") from None

    async def payment_of(self, row: order.Order) -> order.Order:
        """Return the order whose payment pays for an order: itself, or the one it is a part of."""
        if row.part_of is None:
            return row
        async with self._deals.db.read() as tx:
            return await order_rows.get(tx, row.part_of) or row
