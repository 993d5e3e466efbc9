"""Checks on chain whether a payment really reached us.

A payment is settled if a successful transaction contains, among the asset's own events,
`AuthorizationUsed(payer, nonce)` immediately followed by `Transfer(payer, payTo, value)`. The token
emits the two together, so only the adjacent pair ties the nonce to the transfer. If we accepted
both events anywhere in the transaction, one transfer to us inside a bundle could also count for a
second authorization, whose nonce the bundle spent on somebody else.

`authorizationState` alone proves nothing: cancelling sets it, and so does a payment to somebody
else with the same nonce.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from pve402.payments import abi, errors, rpc, signatures
from pve402.payments.chain import Block, Chain, FoundLog, Log, Receipt
from pve402.payments.payment import Payment
from pve402.payments.schemes.base import Fate, Finding
from pve402.payments.schemes.exact import eip3009

_MOST_GAS: Final = 500_000
"""What a facilitator spends on one transfer; a plain one takes 60,000 to 90,000."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchLimits:
    """Limits on how far back we search for events."""

    blocks_per_query: int = 1000
    max_queries: int = 20


async def find(
    chain: Chain,
    payment: Payment,
    *,
    not_before_seconds: int,
    newest: Block,
    limits: SearchLimits | None = None,
) -> Finding:
    """Find out what happened to the payment's nonce, without knowing the transaction.

    Reads the nonce's state at block `newest`. Searches events backwards from there, or from the
    block where `validBefore` passed, to `not_before_seconds` in block time.
    """
    if not await authorization_state(chain, payment, at_block=newest.number):
        return Finding(fate=Fate.UNSPENT, block_number=newest.number)
    limits = limits or SearchLimits()
    upper = newest.number
    if newest.timestamp_seconds > payment.valid_before:
        upper = await chain.first_block_at(payment.valid_before, newest)
    for _query in range(limits.max_queries):
        lower = max(0, upper - limits.blocks_per_query + 1)
        found = await _search(chain, payment, lower, upper)
        if found is not None:
            return await _not_older(chain, found, not_before_seconds)
        if lower == 0 or (await chain.block(lower)).timestamp_seconds < not_before_seconds:
            return Finding(fate=Fate.SPENT_BEFORE)
        upper = lower - 1
    return Finding(fate=Fate.UNSEEN)


async def authorization_state(
    chain: Chain, payment: Payment, *, at_block: int | None = None
) -> bool:
    """Return whether the nonce was used or cancelled. True does not prove a payment."""
    data = eip3009.authorization_state(payment.payer, payment.nonce)
    answer = await chain.call(payment.asset, data, at_block=at_block)
    return rpc.quantity("eth_call", answer) != 0


async def could_land(chain: Chain, payment: Payment) -> bool:
    """Return whether the token would take the transfer now, or soon. See `Scheme`."""
    balance = await chain.call(payment.asset, eip3009.balance_of(payment.payer))
    if rpc.quantity("eth_call", balance) < payment.amount_atomic:
        return False
    shape = signatures.unwrap(payment.signature_bytes)
    if shape is not None and shape.deploys:
        return True  # whoever submits it may deploy the wallet first
    if (await chain.latest_block()).timestamp_seconds <= payment.valid_after:
        return True
    data = eip3009.transfer_with_authorization(payment)
    gas = _MOST_GAS
    return await chain.would_succeed(payment.asset, data, sender=payment.pay_to, gas=gas)


def judge(receipt: Receipt, payment: Payment) -> Finding | None:
    """Return what a mined transaction did with the payment's nonce; None if nothing.

    A nonce can be spent only once on a chain, so its first event decides.
    """
    if not receipt.succeeded:
        return None
    events = [log for log in receipt.logs if log.address == payment.asset]
    spent = ("0x" + abi.address_word(payment.payer), payment.nonce)
    finding = functools.partial(
        Finding, transaction=receipt.transaction, block_number=receipt.block_number
    )
    for index, log in enumerate(events):
        if log.topics[1:] != spent:
            continue
        if log.topics[0] == eip3009.AUTHORIZATION_CANCELED:
            return finding(fate=Fate.CANCELLED)
        if log.topics[0] == eip3009.AUTHORIZATION_USED:
            paid = _is_transfer(events[index + 1 : index + 2], payment)
            return finding(fate=Fate.PAID if paid else Fate.SPENT_ELSEWHERE)
    return None


def _transfer_topics(payment: Payment) -> tuple[str, ...]:
    return (
        eip3009.TRANSFER,
        "0x" + abi.address_word(payment.payer),
        "0x" + abi.address_word(payment.pay_to),
    )


def _is_transfer(following: Sequence[Log], payment: Payment) -> bool:
    wanted = _transfer_topics(payment)
    value = f"0x{payment.amount_atomic:064x}"
    return any(log.topics == wanted and log.data == value for log in following)


async def _not_older(chain: Chain, found: Finding, not_before_seconds: int) -> Finding:
    """Replace a finding from before this order: it does not pay the order, even if paid to us."""
    block = await chain.block(found.block_number or 0)
    if block.timestamp_seconds < not_before_seconds:
        return replace(found, fate=Fate.SPENT_BEFORE)
    return found


async def _search(chain: Chain, payment: Payment, lower: int, upper: int) -> Finding | None:
    events = [eip3009.AUTHORIZATION_USED, eip3009.AUTHORIZATION_CANCELED]
    topics = [events, "0x" + abi.address_word(payment.payer), payment.nonce]
    query = {"address": payment.asset, "topics": topics}
    for spent in await chain.logs(query, lower=lower, upper=upper):
        try:
            receipt = await chain.receipt(spent.transaction)
        except errors.ChainUnavailable:
            return await _judge_events(chain, spent, payment)
        finding = judge(receipt, payment) if receipt is not None else None
        if finding is not None:
            return finding
    return None


async def _judge_events(chain: Chain, spent: FoundLog, payment: Payment) -> Finding:
    """Judge a transaction by our own events only, if its receipt cannot be read.

    The sender of the transfer can add other calls to the transaction and so make its receipt larger
    than we read. That must not keep an order open forever.
    """
    block = spent.block_number
    found = functools.partial(Finding, transaction=spent.transaction, block_number=block)
    if spent.log.topics[0] == eip3009.AUTHORIZATION_CANCELED:
        return found(fate=Fate.CANCELLED)
    query = {"address": payment.asset, "topics": list(_transfer_topics(payment))}
    place = (spent.transaction, spent.index + 1)
    paid = any(
        (moved.transaction, moved.index) == place and _is_transfer([moved.log], payment)
        for moved in await chain.logs(query, lower=block, upper=block)
    )
    return found(fate=Fate.PAID if paid else Fate.SPENT_ELSEWHERE)
