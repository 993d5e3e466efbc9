"""Takes money out of delivery and redemption, so that the operator can pay it back.

Without this, a transfer by the operator and a container could cross, and both would be for the same
money. Afterwards nothing but a repayment closes the debt, until the operator releases it.
"""

from pve402.domain import order, owed
from pve402.leases import deals, debts, workflow
from pve402.payments import errors as payment_errors
from pve402.storage import order_rows, owed_rows, queue

_HOLD_SECONDS = 60.0
_LOOKS = 5
_ERROR = "the operator pays it back"


class NotWithdrawn(Exception):
    """The money stays as it is; the text says why."""


class Withdrawal:
    """Reserves debts for the operator, and releases them."""

    def __init__(self, deal_writer: deals.Deals, debt_writer: debts.Debts) -> None:
        self._deals = deal_writer
        self._debts = debt_writer

    async def reserve(self, name: str) -> owed.Owed:
        """Reserve a debt, given by its owedId or by the order of a container still being tried.

        That order, or a redemption of the debt, is taken from its worker and closed in the
        transaction that reserves the debt. Reserving twice is harmless. Raises NotWithdrawn,
        ChainUnavailable.
        """
        for _ in range(_LOOKS):
            try:
                trying = await self._free_or_trying(name)
                if trying is not None:
                    await self._stop_trying(trying)
            except queue.FenceLostError:  # its worker was quicker
                continue
            return await self._reserved(name)
        raise NotWithdrawn("it changes all the time; try again")

    async def release(self, owed_id: str) -> owed.Owed:
        """Make a reserved debt redeemable again. Raises NotWithdrawn."""
        async with self._deals.db.begin() as tx:
            debt = await owed_rows.get(tx, owed_id)
            if debt is None or debt.closed_at is not None or debt.holder_order_id != owed.OPERATOR:
                raise NotWithdrawn("no debt with this owedId is reserved")
            await owed_rows.set_holder(tx, debt, None)
        return debt

    async def _free_or_trying(self, name: str) -> order.Order | None:
        """Reserve a debt that nobody holds; else return the order that tries to serve it, ours."""
        async with self._deals.db.begin() as tx:
            debt = await owed_rows.get(tx, name)
            if debt is not None and debt.closed_at is not None:
                raise NotWithdrawn("it is redeemed or paid back")
            if debt is not None and debt.status is not owed.OwedStatus.REDEEMING:
                if not await owed_rows.set_holder(tx, debt, owed.OPERATOR):
                    raise queue.FenceLostError
                return None
            row = await order_rows.get(tx, name if debt is None else debt.holder_order_id or "")
            if row is None or not (row.is_open and row.is_paid):
                raise NotWithdrawn("no money is owed or being delivered under this name")
            return await order_rows.take_over(self._deals.db, tx, row, _HOLD_SECONDS)

    async def _stop_trying(self, row: order.Order) -> None:
        """Turn an order that we took over into a debt of ours; give it back if that fails."""
        why = owed.OwedReason.UNDELIVERED
        try:
            deal = await self._deals.open_deal(row)
            await self._debts.owe(deal, why, _ERROR, holder=owed.OPERATOR)
        except (workflow.RetryLater, payment_errors.ChainUnavailable) as error:
            async with self._deals.db.single() as tx:
                held = (row.order_id, row.fence or "")
                await order_rows.DUE.give_back(self._deals.db, tx, held)
            if isinstance(error, workflow.RetryLater):
                raise NotWithdrawn(error.reason) from None
            raise

    async def _reserved(self, name: str) -> owed.Owed:
        async with self._deals.db.read() as tx:
            debt = await owed_rows.get(tx, name) or await owed_rows.get_of_order(tx, name)
        if debt is None:
            raise NotWithdrawn("its payment was reverted, so nothing is owed")
        return debt
