"""The workflow of a management fee: claim, settle; the request then makes the call itself.

If a fee settles after its request was answered with `settlement_pending`, it buys only the receipt;
the tenant's client sees that in the answer and on chain. Sending the same payment again gives no
access: its signature is public on chain by then, so the sender may have copied it.
"""

from pve402.domain import order
from pve402.leases import deals, money, workflow


class Fees:
    """Settles fees, in the request or, if the outcome was unknown, afterwards."""

    def __init__(self, deal_writer: deals.Deals, funds: money.Money) -> None:
        self._deals = deal_writer
        self._money = funds

    async def settle(self, row: order.Order) -> order.Order:
        """Try once to settle and return the updated order; it stays open if unknown.

        Raises FenceLostError if that took so long that another process took the row.
        """
        try:
            transaction = money.transaction_of(await self._money.settle(row))
        except workflow.GiveUp as end:
            return await self._deals.refuse_fee(row, end.refusal, end.reason)
        except money.SettlementUnknown as unknown:
            return await self._deals.leave_open(row, unknown.transaction)
        return await self._deals.settle_fee(row, transaction)

    async def run(self, row: order.Order) -> None:
        """Resolve a fee with an unknown outcome; raises RetryLater while it stays unknown."""
        if (await self.settle(row)).is_open:
            raise workflow.RetryLater("settlement unknown")
