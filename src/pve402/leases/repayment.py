"""Closes debts that the operator paid back, by transfers that are read from the chain.

A transfer closes one debt: it is mined and deep enough, of the debt's token, to its payer, of at
least what is owed, from anybody else, younger than the debt, and was never used before.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from pve402.domain import owed
from pve402.leases import reservation
from pve402.payments import chain, settlement
from pve402.payments.schemes.exact import eip3009
from pve402.storage import database, owed_rows

_AMOUNT_CHARACTERS = 66


class NotRepaid(Exception):
    """The transaction closes no debt; the text says why."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transfer:
    """A token's transfer event."""

    log: int
    """Its position among the transaction's events."""
    asset: str
    sender: str
    recipient: str
    amount_atomic: int


class Repayment:
    """Closes debts."""

    def __init__(
        self,
        db: database.Database,
        settler: settlement.Settler,
        networks: Sequence[str],
        *,
        confirmations: int,
    ) -> None:
        """`networks` are CAIP-2 ids with a chain that can be read."""
        self._db = db
        self._settler = settler
        self._networks = networks
        self._confirmations = confirmations

    async def close(self, transaction: str, owed_id: str | None = None) -> list[owed.Owed]:
        """Close the debts that a transaction pays back, and return them as they were.

        Raises NotRepaid, ChainUnavailable.
        """
        for network in self._networks:
            found = self._settler.chain_of(network)
            receipt = await found.receipt(transaction)
            if receipt is not None:
                return await self._close_by(network, found, receipt, owed_id)
        raise NotRepaid("no network that is accepted here has this transaction in a block")

    async def _close_by(
        self, network: str, where: chain.Chain, receipt: chain.Receipt, owed_id: str | None
    ) -> list[owed.Owed]:
        if not receipt.succeeded:
            raise NotRepaid("the transaction was reverted, so it moved nothing")
        if not await where.is_final(receipt.transaction, confirmations=self._confirmations):
            needed = self._confirmations
            raise NotRepaid(f"it has fewer than {needed} confirmations; try again soon")
        mined_at = (await where.block(receipt.block_number)).timestamp_seconds
        async with self._db.begin() as tx:
            await reservation.lock_placement(self._db, tx)  # of two at once, the second sees this
            used = await owed_rows.used_logs(tx, network, receipt.transaction)
            debts = [debt for debt in await owed_rows.list_open(tx) if debt.network == network]
            if owed_id is not None:
                debts = [debt for debt in debts if debt.owed_id == owed_id]
            closed: list[owed.Owed] = []
            reasons: list[str] = []
            for moved in transfers_in(receipt):
                if moved.log in used:
                    reasons.append("its transfer has closed a debt before")
                    continue
                left = [debt for debt in debts if debt not in closed]
                debt = _paid_by(moved, left, datetime.fromtimestamp(mined_at, UTC), reasons)
                if debt is not None and await owed_rows.close_paid(
                    self._db, tx, debt, transaction=receipt.transaction, log=moved.log
                ):
                    closed.append(debt)
        if not closed:
            raise NotRepaid(
                "; ".join(dict.fromkeys(reasons)) or "it moves nothing to a wallet that is owed"
            )
        return closed


def transfers_in(receipt: chain.Receipt) -> Iterator[Transfer]:
    """Return the token transfers of a mined transaction."""
    for position, event in enumerate(receipt.logs):
        is_transfer = event.topics[0] == eip3009.TRANSFER and len(event.topics) == 3
        if is_transfer and 2 < len(event.data) <= _AMOUNT_CHARACTERS:
            yield Transfer(
                log=position,
                asset=event.address,
                sender="0x" + event.topics[1][-40:],
                recipient="0x" + event.topics[2][-40:],
                amount_atomic=int(event.data, 16),
            )


def _paid_by(
    moved: Transfer, debts: Sequence[owed.Owed], mined_at: datetime, reasons: list[str]
) -> owed.Owed | None:
    """Return the largest debt that a transfer pays back; notes why others are not."""
    fitting: list[owed.Owed] = []
    for debt in debts:
        if debt.payer != moved.recipient:
            continue
        reason = _why_not(moved, debt, mined_at)
        if reason is None:
            fitting.append(debt)
        else:
            reasons.append(f"{debt.owed_id}: {reason}")
    return max(fitting, key=lambda debt: debt.left_atomic, default=None)


def _why_not(moved: Transfer, debt: owed.Owed, mined_at: datetime) -> str | None:
    if moved.asset != debt.asset:
        return "the transfer is of another token"
    if moved.sender == debt.payer:
        return "the wallet sent it to itself"
    if mined_at < debt.since.replace(microsecond=0):
        return "the transfer is older than the debt"
    if debt.holder_order_id is not None:
        return "it is being redeemed at this moment"
    if moved.amount_atomic < debt.left_atomic:
        return f"{moved.amount_atomic} atomic units are less than the {debt.left_atomic} owed"
    return None
