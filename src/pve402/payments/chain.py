"""Reads an EVM chain: blocks, receipts, events, code, and simulated calls.

This module knows nothing about tokens and payments; the scheme decides what a transaction means
for a payment.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from pve402.payments import abi, errors, log_ranges, rpc

_LOGS: Final = "eth_getLogs"
_KNOWN_SECONDS: Final = 30.0
_MOST_KNOWN: Final = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A block's number and time."""

    number: int
    timestamp_seconds: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """The result of a transaction, with its events."""

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


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundLog:
    """An event and its position on the chain."""

    log: Log
    transaction: str
    block_number: int
    index: int


class Chain:
    """Reads one chain through one JSON-RPC endpoint."""

    def __init__(self, endpoint: rpc.Rpc) -> None:
        self._rpc = endpoint
        self._log_range = log_ranges.LogRange()
        self._has_code: dict[str, tuple[bool, float]] = {}  # and when the entry expires

    async def close(self) -> None:
        """Close the endpoint."""
        await self._rpc.close()

    async def chain_id(self) -> int:
        """Return the chain's id (EIP-155)."""
        return rpc.quantity("eth_chainId", await self._read("eth_chainId"))

    async def latest_block(self) -> Block:
        """Return the newest block.

        Raises:
            ChainUnavailable: no usable answer. All methods here raise it.
        """
        return await self._block("latest")

    async def block(self, number: int) -> Block:
        """Return the block with this number."""
        return await self._block(hex(number))

    async def receipt(self, transaction: str) -> Receipt | None:
        """Return a transaction's receipt, or None if no block of this node's chain has it."""
        return parse_receipt(await self._read("eth_getTransactionReceipt", transaction))

    async def is_final(self, transaction: str, *, confirmations: int) -> bool:
        """Return whether a transaction has this many confirmations, counting its own block."""
        receipt = await self.receipt(transaction)
        if receipt is None:
            return False
        newest = await self.latest_block()
        return newest.number - receipt.block_number + 1 >= confirmations

    async def has_code(self, address: str) -> bool:
        """Return whether an account is a contract or delegates to one (EIP-7702); cached."""
        now = time.monotonic()
        has_code, until = self._has_code.get(address, (False, 0.0))
        if now < until:
            return has_code
        code = _text("eth_getCode", await self._read("eth_getCode", address, "latest"))
        while len(self._has_code) >= _MOST_KNOWN:
            del self._has_code[next(iter(self._has_code))]
        self._has_code[address] = len(code) > 2, now + _KNOWN_SECONDS
        return len(code) > 2

    async def balance_wei(self, address: str) -> int:
        """Return how much of the chain's own coin an account has."""
        return rpc.quantity("eth_getBalance", await self._read("eth_getBalance", address, "latest"))

    async def gas_price_wei(self) -> int:
        """Return what gas costs now."""
        return rpc.quantity("eth_gasPrice", await self._read("eth_gasPrice"))

    async def stands_by(self, account: str, message_hash: bytes, signature: bytes) -> bool:
        """Return whether a contract account accepts a signature as its own (EIP-1271)."""
        data = abi.is_valid_signature(message_hash, signature)
        answer = await self.try_call(account, data)
        return answer is not None and answer == abi.EIP1271_MAGIC + "00" * 28

    async def first_block_at(self, timestamp_seconds: int, newest: Block) -> int:
        """Return the number of the first block that is not older than this time.

        `newest` must not be older either.
        """
        low, high = 0, newest.number
        while low < high:
            middle = (low + high) // 2
            if (await self.block(middle)).timestamp_seconds < timestamp_seconds:
                low = middle + 1
            else:
                high = middle
        return low

    async def _block(self, which: str) -> Block:
        answer = await self._read("eth_getBlockByNumber", which, False)
        if not isinstance(answer, dict):
            _unusable("eth_getBlockByNumber")
        return Block(
            number=rpc.quantity("eth_getBlockByNumber", answer.get("number")),
            timestamp_seconds=rpc.quantity("eth_getBlockByNumber", answer.get("timestamp")),
        )

    async def call(self, to: str, data: str, *, at_block: int | None = None) -> str:
        """Call a contract function that never reverts."""
        at = "latest" if at_block is None else hex(at_block)
        return _text("eth_call", await self._read("eth_call", {"to": to, "data": data}, at))

    async def logs(self, query: dict[str, Any], *, lower: int, upper: int) -> list["FoundLog"]:
        """Return the events in a range of blocks that match a query, newest first."""
        found, _least = await self.some_logs(query, lower=lower, upper=upper)
        return found

    async def some_logs(
        self, query: dict[str, Any], *, lower: int, upper: int, most_calls: int | None = None
    ) -> tuple[list["FoundLog"], int]:
        """Return the events that match a query, newest first, and the oldest block that was read.

        A refused range is halved, down to one block. With `most_calls` we stop after so many,
        wherever that is; one call reads at least a block.
        """
        found: list[FoundLog] = []
        calls = 0
        while upper >= lower and (most_calls is None or calls < most_calls):
            calls += 1
            start = max(lower, upper - self._log_range.blocks + 1)
            ranged = {**query, "fromBlock": hex(start), "toBlock": hex(upper)}
            try:
                answer = await self._rpc.read(_LOGS, ranged)
            except rpc.RpcError as error:
                if start == upper:
                    raise errors.ChainUnavailable(_LOGS, f"error {error.code}") from error
                self._log_range.refused(upper - start + 1)
                continue
            self._log_range.answered(upper - start + 1)
            if not isinstance(answer, list):
                _unusable(_LOGS)
            found += [_parse_found(log) for log in answer]
            upper = start - 1
        return found, upper + 1

    async def try_call(self, to: str, data: str) -> str | None:
        """Call a contract; None when it reverts."""
        try:
            answer = await self._rpc.read("eth_call", {"to": to, "data": data}, "latest")
        except rpc.RpcError as error:
            if error.reverted:
                return None
            raise errors.ChainUnavailable("eth_call", f"error {error.code}") from error
        return _text("eth_call", answer)

    async def would_succeed(self, to: str, data: str, *, sender: str, gas: int) -> bool:
        """Return whether a transaction with this call would succeed now.

        It is simulated as a real one is sent: by an account, with limited gas, at a price. Without
        these, a contract could recognise the question and answer differently. Nodes that cannot
        give the sender a balance for it are asked without a price.
        """
        call = {"from": sender, "to": to, "data": data, "gas": hex(gas)}
        priced = {**call, "gasPrice": await self._read("eth_gasPrice")}
        rich = {sender: {"balance": hex(10**24)}}
        for question in ((priced, "latest", rich), (priced, "latest"), (call, "latest")):
            try:
                await self._rpc.read("eth_call", *question)
            except rpc.RpcError as error:
                if error.reverted or error.out_of_gas:
                    return False
                continue
            return True
        raise errors.ChainUnavailable("eth_call", "no simulation is answered")

    async def _read(self, method: str, *params: Any) -> Any:
        try:
            return await self._rpc.read(method, *params)
        except rpc.RpcError as error:
            raise errors.ChainUnavailable(method, f"error {error.code}") from error


def parse_receipt(answer: Any) -> Receipt | None:
    """Parse the answer of `eth_getTransactionReceipt`; None for a transaction in no block."""
    method = "eth_getTransactionReceipt"
    if answer is None:
        return None
    if not isinstance(answer, dict) or not isinstance(answer.get("logs"), list):
        _unusable(method)
    if answer.get("blockNumber") is None:
        return None
    logs = [_parse_log(method, log) for log in answer["logs"]]  # bounded by the size of an answer
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


def _parse_found(log: Any) -> FoundLog:
    event = _parse_log(_LOGS, log)
    return FoundLog(
        log=event,
        transaction=_text(_LOGS, log.get("transactionHash")),
        block_number=rpc.quantity(_LOGS, log.get("blockNumber")),
        index=rpc.quantity(_LOGS, log.get("logIndex")),
    )


def _text(method: str, value: Any) -> str:
    if not isinstance(value, str) or not value.startswith("0x"):
        _unusable(method)
    return value.lower()


def _unusable(method: str) -> NoReturn:
    raise errors.ChainUnavailable(method, "an answer of another shape") from None
