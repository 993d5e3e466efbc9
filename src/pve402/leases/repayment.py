"""Closes debts that the operator paid back, by transfers that are read from the chain.

A transfer closes one debt: it is mined and deep enough, of the debt's token, to its payer, of at
least what is owed, from anybody else, younger than the debt, and was never used before.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from pve402.domain import owed
from pve402.leases import reservation, withdrawal
from pve402.payments import chain, settlement
from pve402.payments.schemes.exact import eip3009
from pve402.storage import database, order_rows, owed_rows
from pve402.storage import transaction as transactions

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Closed:
    """A debt as it was, and how much its payer got."""

    debt: owed.Owed
    paid_atomic: int


class Repayment:
    """Closes debts."""

    def __init__(
        self,
        db: database.Database,
        settler: settlement.Settler,
        networks: Sequence[str],
        stopping: withdrawal.Withdrawal,
        *,
        confirmations: int,
    ) -> None:
        """`networks` are CAIP-2 ids with a chain that can be read."""
        self._db = db
        self._settler = settler
        self._networks = networks
        self._stopping = stopping
        self._confirmations = confirmations

    async def close(self, transaction: str, owed_id: str | None = None) -> list[Closed]:
        """Close the debts that a transaction pays back; with an id, that one at most.

        A redemption that is still going on is stopped: its wallet has the money. Raises NotRepaid,
        ChainUnavailable.
        """
        for network in self._networks:
            found = self._settler.chain_of(network)
            receipt = await found.receipt(transaction)
            if receipt is not None:
                return await self._close_by(network, found, receipt, owed_id)
        raise NotRepaid("no network that is accepted here has this transaction in a block")

    async def _close_by(
        self, network: str, where: chain.Chain, receipt: chain.Receipt, owed_id: str | None
    ) -> list[Closed]:
        if not receipt.succeeded:
            raise NotRepaid("the transaction was reverted, so it moved nothing")
        if not await where.is_final(receipt.transaction, confirmations=self._confirmations):
            needed = self._confirmations
            raise NotRepaid(f"it has fewer than {needed} confirmations; try again soon")
        mined = (await where.block(receipt.block_number)).timestamp_seconds
        found = _Found(
            network=network,
            transaction=receipt.transaction,
            transfers=list(transfers_in(receipt)),
            mined_at=datetime.fromtimestamp(mined, UTC),
            owed_id=owed_id,
        )
        reasons: list[str] = []
        closed = await self._try(found, reasons) or await self._stop_and_try(found, reasons)
        if not closed:
            raise NotRepaid(
                "; ".join(dict.fromkeys(reasons)) or "it moves nothing to a wallet that is owed"
            )
        return closed

    async def _try(self, found: "_Found", reasons: list[str]) -> list[Closed]:
        """Close what can be closed as it is; notes why other debts are not."""
        closed: list[Closed] = []
        async with self._db.begin() as tx:
            await reservation.lock_placement(self._db, tx)  # of two at once, the second sees this
            unused = await _unused(tx, found, reasons)
            debts = await _owed_to(tx, found, unused)
            for moved in unused:
                done = [one.debt for one in closed]
                left = [debt for debt in debts if debt not in done]
                debt = _paid_by(moved, left, found.mined_at, reasons)
                if debt is not None and await owed_rows.close_paid(
                    self._db, tx, debt, transaction=found.transaction, log=moved.log
                ):
                    closed.append(Closed(debt=debt, paid_atomic=moved.amount_atomic))
            if not closed:
                reasons += await _why_over(tx, found, unused)
        return closed

    async def _stop_and_try(self, found: "_Found", reasons: list[str]) -> list[Closed]:
        """Stop the redemption of the largest debt that is paid back, and close it."""
        async with self._db.read() as tx:
            unused = await _unused(tx, found, [])
            debts = await _owed_to(tx, found, unused)
            crossing = [debt for debt in debts if await _is_paid_in_all(tx, found, unused, debt)]
        if not crossing:
            return []
        debt = max(crossing, key=lambda debt: debt.amount_atomic)
        try:
            await self._stopping.reserve(debt.owed_id)
        except withdrawal.NotWithdrawn as error:
            reasons.append(f"{debt.owed_id}: {error}")
            return []
        closed = await self._try(found, reasons)
        if debt.owed_id not in {one.debt.owed_id for one in closed}:
            await self._stopping.release(debt.owed_id)
        return closed


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Found:
    """What a transaction moved, and which debt alone it may close."""

    network: str
    transaction: str
    transfers: Sequence[Transfer]
    mined_at: datetime
    owed_id: str | None


async def _unused(
    tx: transactions.Transaction, found: _Found, reasons: list[str]
) -> list[Transfer]:
    """Return the transfers that have closed no debt yet; notes that others have."""
    used = await owed_rows.used_logs(tx, found.network, found.transaction)
    if any(moved.log in used for moved in found.transfers):
        reasons.append("its transfer has closed a debt before")
    return [moved for moved in found.transfers if moved.log not in used]


async def _owed_to(
    tx: transactions.Transaction, found: _Found, moved: Sequence[Transfer]
) -> list[owed.Owed]:
    """Return what is owed to those who got something."""
    return [
        debt
        for recipient in {one.recipient for one in moved}
        for debt in await owed_rows.list_open(tx, recipient)
        if debt.network == found.network and found.owed_id in {None, debt.owed_id}
    ]


async def _is_paid_in_all(
    tx: transactions.Transaction, found: _Found, moved: Sequence[Transfer], debt: owed.Owed
) -> bool:
    """Whether a debt is being redeemed, and a transfer pays it with what that takes from it."""
    if debt.status is not owed.OwedStatus.REDEEMING:
        return False
    taking = await order_rows.get(tx, debt.holder_order_id or "")
    taken = 0 if taking is None else taking.amount_atomic
    whole = dataclasses.replace(
        debt, left_atomic=debt.left_atomic + taken, holder_order_id=owed.OPERATOR
    )
    return any(_paid_by(one, [whole], found.mined_at, []) is not None for one in moved)


async def _why_over(
    tx: transactions.Transaction, found: _Found, moved: Sequence[Transfer]
) -> list[str]:
    """Say which debts of those who got something are over, because they leased containers."""
    return [
        f"{debt.owed_id}: containers were leased for all of it"
        for recipient in {one.recipient for one in moved}
        for debt in await owed_rows.list_redeemed(tx, recipient)
        if debt.network == found.network and debt.since <= found.mined_at
    ]


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
    if debt.status is owed.OwedStatus.REDEEMING:
        return "it is being redeemed at this moment"
    if moved.amount_atomic < debt.left_atomic:
        return f"{moved.amount_atomic} atomic units are less than the {debt.left_atomic} owed"
    return None
