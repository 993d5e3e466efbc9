"""Running one transaction within a block: effects, fee and receipt."""

from __future__ import annotations

from collections.abc import Sequence

from pve402_devnet.chain.blocks import Receipt
from pve402_devnet.chain.evm import BlockContext, Ending, Evm, Message
from pve402_devnet.chain.transactions import Transaction


def run(
    state: Evm, transaction: Transaction, context: BlockContext, earlier: Sequence[Receipt]
) -> Receipt:
    """Apply a transaction to the newest state; `earlier` are the receipts of its block so far."""
    price = transaction.effective_gas_price(context.base_fee)
    message = Message(
        sender=transaction.sender,
        to=transaction.to,
        data=transaction.data,
        value=transaction.value,
        gas_limit=transaction.gas_limit,
        gas_price=price,
        access_list=transaction.access_list,
        authorizations=transaction.authorizations,
    )
    outcome = state.execute(message, context)
    _charge(state, message.sender, outcome.gas_used * price)
    return Receipt(
        transaction=transaction,
        index=len(earlier),
        succeeded=outcome.ending is Ending.SUCCESS,
        gas_used=outcome.gas_used,
        cumulative_gas_used=sum(receipt.gas_used for receipt in earlier) + outcome.gas_used,
        effective_gas_price=price,
        events=outcome.events,
        first_log=sum(len(receipt.events) for receipt in earlier),
        created=outcome.created,
    )


def _charge(state: Evm, sender: str, fee: int) -> None:
    """The whole fee is burnt: nobody on a devnet needs tips."""
    if fee:
        state.set_balance(sender, max(0, state.balance(sender) - fee))
