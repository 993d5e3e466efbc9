"""Looks at the chain: did this payment really reach us?

The on-chain rule: a payment is settled when a successful transaction holds, among the asset's own
events, `AuthorizationUsed(payer, nonce)` followed at once by `Transfer(payer, payTo, value)`.
The token emits these two together, so the pair, and not merely both somewhere in the transaction,
ties the nonce to the transfer: else one transfer to us inside a bundle could be counted for a
second authorization whose nonce the same bundle spent on somebody else.

`authorizationState` alone proves nothing: cancelling sets it, and so does paying somebody else
with the same nonce.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, NoReturn

from pve402.payments import errors, rpc
from pve402.payments.payment import Payment
from pve402.payments.schemes.exact import eip3009


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A block's place and time."""

    number: int
    timestamp_seconds: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """How a transaction ended, with the events it left."""

    transaction: str
    block_number: int
    succeeded: bool
    logs: Sequence["Log"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Log:
    """One event, in lower-case hex."""

    address: str
    topics: tuple[str, ...]
    data: str


class Fate(Enum):
    """What became of an authorization's nonce."""

    UNSPENT = "unspent"  # neither used nor cancelled
    PAID = "paid"  # the transfer to us happened
    SPENT_ELSEWHERE = "spent_elsewhere"  # used for another transfer
    CANCELLED = "cancelled"
    SPENT_BEFORE = "spent_before"  # spent earlier than the time of interest
    UNSEEN = "unseen"  # spent, but in no block that was searched


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A nonce's fate, and the transaction that decided it."""

    fate: Fate
    transaction: str | None = None
    block_number: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchLimits:
    """How far back events are searched. Public nodes cap one query's range of blocks."""

    blocks_per_query: int = 1000
    max_queries: int = 20


class Chain:
    """Reads one chain through one JSON-RPC endpoint."""

    def __init__(self, endpoint: rpc.Rpc, *, search: SearchLimits | None = None) -> None:
        self._rpc = endpoint
        self._search = search or SearchLimits()

    async def close(self) -> None:
        """Close the endpoint."""
        await self._rpc.close()

    async def latest_block(self) -> Block:
        """The newest block.

        Raises:
            ChainUnavailable: no usable answer. So do all methods here.
        """
        return await self._block("latest")

    async def block(self, number: int) -> Block:
        """The block of this number."""
        return await self._block(hex(number))

    async def receipt(self, transaction: str) -> Receipt | None:
        """The receipt of a transaction, or None if it is in no block of this node's chain."""
        return _parse_receipt(await self._read("eth_getTransactionReceipt", transaction))

    async def check_transaction(self, transaction: str, payment: Payment) -> Finding | None:
        """Say what this transaction did with the payment; None if nothing, or if not mined."""
        receipt = await self.receipt(transaction)
        return None if receipt is None else judge(receipt, payment)

    async def find_settlement(
        self, payment: Payment, *, not_before_seconds: int, newest: Block | None = None
    ) -> Finding:
        """Find out what became of the payment's nonce, with no transaction to go by.

        The state is that of `newest` (asked for when not given). Events are searched backwards
        from there, or from where `validBefore` passed, to `not_before_seconds` in block time.
        """
        newest = newest or await self.latest_block()
        if not await self.authorization_state(payment, at_block=newest.number):
            return Finding(fate=Fate.UNSPENT, block_number=newest.number)
        upper = newest.number
        if newest.timestamp_seconds > payment.valid_before:
            upper = await self._first_block_at(payment.valid_before, newest)
        for _query in range(self._search.max_queries):
            lower = max(0, upper - self._search.blocks_per_query + 1)
            found = await self._search_range(payment, lower, upper)
            if found is not None:
                return await self._not_older(found, not_before_seconds)
            if lower == 0 or (await self.block(lower)).timestamp_seconds < not_before_seconds:
                return Finding(fate=Fate.SPENT_BEFORE)
            upper = lower - 1
        return Finding(fate=Fate.UNSEEN)

    async def authorization_state(self, payment: Payment, *, at_block: int | None = None) -> bool:
        """Whether the nonce was used or cancelled. True proves no payment."""
        data = eip3009.authorization_state(payment.payer, payment.nonce)
        answer = await self._eth_call(payment.asset, data, at_block)
        return rpc.quantity("eth_call", answer) != 0

    async def balance_of(self, asset: str, holder: str) -> int:
        """Balance in atomic units."""
        return rpc.quantity(
            "eth_call", await self._eth_call(asset, eip3009.balance_of(holder), None)
        )

    async def is_final(self, transaction: str, *, confirmations: int) -> bool:
        """Whether a transaction is in a block that has this many blocks on and above it."""
        receipt = await self.receipt(transaction)
        if receipt is None:
            return False
        newest = await self.latest_block()
        return newest.number - receipt.block_number + 1 >= confirmations

    async def has_code(self, address: str) -> bool:
        """Whether an account is a contract, or delegates to one (EIP-7702)."""
        code = _text("eth_getCode", await self._read("eth_getCode", address, "latest"))
        return len(code) > 2

    async def stands_by(self, account: str, message_hash: bytes, signature: bytes) -> bool:
        """Whether a contract account accepts a signature as its own (EIP-1271)."""
        data = eip3009.is_valid_signature(message_hash, signature)
        answer = await self._try_call(account, data)
        return answer is not None and answer == eip3009.EIP1271_MAGIC + "00" * 28

    async def would_settle(self, payment: Payment) -> bool:
        """Whether the transfer would go through in the next block (simulated, moves nothing)."""
        data = eip3009.transfer_with_authorization(payment)
        return await self._try_call(payment.asset, data) is not None

    async def _first_block_at(self, timestamp_seconds: int, newest: Block) -> int:
        """Number of the first block that is not older than this time; `newest` is one."""
        low, high = 0, newest.number
        while low < high:
            middle = (low + high) // 2
            if (await self.block(middle)).timestamp_seconds < timestamp_seconds:
                low = middle + 1
            else:
                high = middle
        return low

    async def _not_older(self, found: Finding, not_before_seconds: int) -> Finding:
        """What was spent too early is no answer to this order, even if it was paid to us."""
        block = await self.block(found.block_number or 0)
        if block.timestamp_seconds < not_before_seconds:
            return replace(found, fate=Fate.SPENT_BEFORE)
        return found

    async def _search_range(self, payment: Payment, lower: int, upper: int) -> Finding | None:
        events = [eip3009.AUTHORIZATION_USED, eip3009.AUTHORIZATION_CANCELED]
        topics = [events, "0x" + eip3009.address_word(payment.payer), payment.nonce]
        query = {
            "address": payment.asset,
            "topics": topics,
            "fromBlock": hex(lower),
            "toBlock": hex(upper),
        }
        logs = await self._read("eth_getLogs", query)
        for transaction, log in _by_transaction(logs).items():
            try:
                finding = await self.check_transaction(transaction, payment)
            except errors.ChainUnavailable:
                finding = await self._judge_events(transaction, log, payment)
            if finding is not None:
                return finding
        return None

    async def _judge_events(self, transaction: str, spent: Any, payment: Payment) -> Finding:
        """Judge a transaction whose receipt cannot be had, by the events that concern us alone.

        Whoever sends the transfer chooses what else the transaction does, and can so make its
        receipt larger than is read here: that must not leave an order without an end.
        """
        method = "eth_getLogs"
        event = _parse_log(method, spent)
        block = rpc.quantity(method, spent.get("blockNumber"))
        found = functools.partial(Finding, transaction=transaction, block_number=block)
        if event.topics[0] == eip3009.AUTHORIZATION_CANCELED:
            return found(fate=Fate.CANCELLED)
        query = {
            "address": payment.asset,
            "topics": list(_transfer_topics(payment)),
            "fromBlock": hex(block),
            "toBlock": hex(block),
        }
        place = (transaction, rpc.quantity(method, spent.get("logIndex")) + 1)
        paid = any(
            (_text(method, log.get("transactionHash")), rpc.quantity(method, log.get("logIndex")))
            == place
            and _is_transfer([_parse_log(method, log)], payment)
            for log in _checked_logs(await self._read(method, query))
        )
        return found(fate=Fate.PAID if paid else Fate.SPENT_ELSEWHERE)

    async def _block(self, which: str) -> Block:
        answer = await self._read("eth_getBlockByNumber", which, False)
        if not isinstance(answer, dict):
            _unusable("eth_getBlockByNumber")
        return Block(
            number=rpc.quantity("eth_getBlockByNumber", answer.get("number")),
            timestamp_seconds=rpc.quantity("eth_getBlockByNumber", answer.get("timestamp")),
        )

    async def _eth_call(self, to: str, data: str, at_block: int | None) -> Any:
        at = "latest" if at_block is None else hex(at_block)
        return await self._read("eth_call", {"to": to, "data": data}, at)

    async def _try_call(self, to: str, data: str) -> str | None:
        """Call a contract; None when it reverts."""
        try:
            answer = await self._rpc.read("eth_call", {"to": to, "data": data}, "latest")
        except rpc.RpcError as error:
            if error.reverted:
                return None
            raise errors.ChainUnavailable("eth_call", f"error {error.code}") from error
        return _text("eth_call", answer)

    async def _read(self, method: str, *params: Any) -> Any:
        try:
            return await self._rpc.read(method, *params)
        except rpc.RpcError as error:
            raise errors.ChainUnavailable(method, f"error {error.code}") from error


def judge(receipt: Receipt, payment: Payment) -> Finding | None:
    """Say what a mined transaction did with the payment's nonce; None if it did nothing.

    A nonce is spent at most once on a chain, so the first event of it decides.
    """
    if not receipt.succeeded:
        return None
    events = [log for log in receipt.logs if log.address == payment.asset]
    spent = ("0x" + eip3009.address_word(payment.payer), payment.nonce)
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
        "0x" + eip3009.address_word(payment.payer),
        "0x" + eip3009.address_word(payment.pay_to),
    )


def _is_transfer(following: Sequence[Log], payment: Payment) -> bool:
    wanted = _transfer_topics(payment)
    value = f"0x{payment.amount_atomic:064x}"
    return any(log.topics == wanted and log.data == value for log in following)


def _parse_receipt(answer: Any) -> Receipt | None:
    method = "eth_getTransactionReceipt"
    if answer is None:
        return None
    if not isinstance(answer, dict) or not isinstance(answer.get("logs"), list):
        _unusable(method)
    if answer.get("blockNumber") is None:
        return None
    logs = [_parse_log(method, log) for log in answer["logs"]]  # as many as an answer may hold
    return Receipt(
        transaction=_text(method, answer.get("transactionHash")),
        block_number=rpc.quantity(method, answer["blockNumber"]),
        succeeded=rpc.quantity(method, answer.get("status")) == 1,
        logs=logs,
    )


def _parse_log(method: str, log: Any) -> Log:
    if not isinstance(log, dict) or not isinstance(log.get("topics"), list):
        _unusable(method)
    return Log(
        address=_text(method, log.get("address")),
        topics=tuple(_text(method, topic) for topic in log["topics"]) or ("",),
        data=_text(method, log.get("data")),
    )


def _by_transaction(logs: Any) -> dict[str, Any]:
    return {_text("eth_getLogs", log.get("transactionHash")): log for log in _checked_logs(logs)}


def _checked_logs(logs: Any) -> list[dict[str, Any]]:
    if not isinstance(logs, list) or not all(isinstance(log, dict) for log in logs):
        _unusable("eth_getLogs")
    return logs


def _text(method: str, value: Any) -> str:
    if not isinstance(value, str) or not value.startswith("0x"):
        _unusable(method)
    return value.lower()


def _unusable(method: str) -> NoReturn:
    raise errors.ChainUnavailable(method, "an answer of another shape") from None
