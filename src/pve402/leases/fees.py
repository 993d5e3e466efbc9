"""The workflow of a management fee: claim, settle; the call itself follows in the request.

A fee that was settled after its request had been answered `settlement_pending` bought nothing but
the receipt; the tenant's client sees that in the answer and on chain. Its payment opens nothing
when it is sent again: by then its signature stands on chain, and whoever copies it from there is
not the payer.
"""

from pve402.domain import order
from pve402.leases import deals, money, workflow
from pve402.payments import facilitators


class Fees:
    """Settles fees, in the request and, where the outcome stayed open, afterwards."""

    def __init__(self, deal_writer: deals.Deals, funds: money.Money) -> None:
        self._deals = deal_writer
        self._money = funds

    async def settle(self, row: order.Order) -> order.Order:
        """Try to settle once and return the order as it then is; still open if unknown.

        Raises FenceLostError if that took longer than the row was ours.
        """
        settlement = await self._money.settle(row)
        if settlement.outcome is facilitators.Outcome.SETTLED:
            return await self._deals.settle_alone(row, settlement.transaction)
        if settlement.outcome is facilitators.Outcome.REFUSED:
            return await self._deals.refuse_fee(
                row, "settlement_refused", settlement.reason or "refused"
            )
        return await self._deals.leave_open(row, settlement.transaction)

    async def run(self, row: order.Order) -> None:
        """Resolve a fee whose outcome stayed open; raises RetryLater while it is."""
        try:
            settled = await self.settle(row)
        except workflow.GiveUp as end:
            await self._deals.refuse_fee(row, end.refusal, end.reason)
            return
        if settled.is_open:
            raise workflow.RetryLater("settlement unknown")
