"""Blocks, receipts and their logs, and their JSON form (execution-apis)."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import rlp  # type: ignore[import-untyped, unused-ignore]
from eth_utils.crypto import keccak

from pve402_devnet.chain import evm
from pve402_devnet.chain.transactions import DYNAMIC_FEE, LEGACY, SET_CODE, Transaction

EMPTY_UNCLES = bytes.fromhex("1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347")
EMPTY_TRIE = bytes.fromhex("56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421")
ZERO_HASH = bytes(32)
COINBASE = bytes(20)
EMPTY_BLOOM = bytes(256)

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """The effects of one transaction; `first_log` is the index of its first log in the block."""

    transaction: Transaction
    index: int
    succeeded: bool
    gas_used: int
    cumulative_gas_used: int
    effective_gas_price: int
    events: tuple[evm.Event, ...] = ()
    first_log: int = 0
    created: str | None = None


@dataclass(frozen=True, kw_only=True)
class Block:
    """One block. Its state, transaction and receipt roots are those of empty tries."""

    number: int
    parent_hash: bytes
    timestamp: int
    base_fee: int
    randomness: bytes
    receipts: tuple[Receipt, ...] = ()
    hash: bytes = field(init=False)
    bloom: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "bloom", bloom(self.receipts))
        object.__setattr__(self, "hash", keccak(rlp.encode(_header(self))))

    @property
    def gas_used(self) -> int:
        """Of all its transactions."""
        return self.receipts[-1].cumulative_gas_used if self.receipts else 0

    def context(self) -> evm.BlockContext:
        """What contracts see of this block."""
        return evm.BlockContext(
            number=self.number,
            timestamp=self.timestamp,
            base_fee=self.base_fee,
            randomness=self.randomness,
        )


def bloom(receipts: Iterable[Receipt]) -> bytes:
    """The 2048-bit filter over addresses and topics of the logs (yellow paper, 4.3.1)."""
    bits = 0
    for receipt in receipts:
        for event in receipt.events:
            bits |= _bloom_bits(bytes.fromhex(event.address[2:]))
            for topic in event.topics:
                bits |= _bloom_bits(topic)
    return bits.to_bytes(len(EMPTY_BLOOM), "big") if bits else EMPTY_BLOOM


@functools.lru_cache(maxsize=4096)
def _bloom_bits(item: bytes) -> int:
    digest = keccak(item)
    positions = (int.from_bytes(digest[at : at + 2], "big") & 2047 for at in (0, 2, 4))
    return functools.reduce(operator.or_, (1 << position for position in positions))


def block_json(block: Block, *, with_transactions: bool) -> Json:
    """The answer of eth_getBlockByNumber."""
    transactions = [
        transaction_json(receipt.transaction, block=block, receipt=receipt)
        if with_transactions
        else data(receipt.transaction.hash)
        for receipt in block.receipts
    ]
    return {
        "hash": data(block.hash),
        "parentHash": data(block.parent_hash),
        "sha3Uncles": data(EMPTY_UNCLES),
        "miner": data(COINBASE),
        "stateRoot": data(EMPTY_TRIE),
        "transactionsRoot": data(EMPTY_TRIE),
        "receiptsRoot": data(EMPTY_TRIE),
        "logsBloom": data(block.bloom),
        "difficulty": "0x0",
        "totalDifficulty": "0x0",
        "number": quantity(block.number),
        "gasLimit": quantity(evm.BLOCK_GAS_LIMIT),
        "gasUsed": quantity(block.gas_used),
        "timestamp": quantity(block.timestamp),
        "extraData": "0x",
        "mixHash": data(block.randomness),
        "nonce": data(bytes(8)),
        "baseFeePerGas": quantity(block.base_fee),
        "size": quantity(600 + 120 * len(block.receipts)),
        "uncles": [],
        "transactions": transactions,
    }


def transaction_json(
    transaction: Transaction, *, block: Block | None = None, receipt: Receipt | None = None
) -> Json:
    """The answer of eth_getTransactionByHash; without a block it is still pending."""
    price = receipt.effective_gas_price if receipt else transaction.max_fee_per_gas
    answer: Json = {
        "hash": data(transaction.hash),
        "type": quantity(transaction.kind),
        "nonce": quantity(transaction.nonce),
        "from": transaction.sender,
        "to": transaction.to,
        "value": quantity(transaction.value),
        "gas": quantity(transaction.gas_limit),
        "gasPrice": quantity(price),
        "input": data(transaction.data),
        "v": quantity(transaction.v),
        "r": quantity(transaction.r),
        "s": quantity(transaction.s),
        "blockHash": data(block.hash) if block else None,
        "blockNumber": quantity(block.number) if block else None,
        "transactionIndex": quantity(receipt.index) if receipt else None,
    }
    if transaction.chain_id is not None:
        answer["chainId"] = quantity(transaction.chain_id)
    if transaction.kind != LEGACY:
        answer["yParity"] = quantity(transaction.v)
        answer["accessList"] = [
            {"address": address, "storageKeys": [data(slot.to_bytes(32, "big")) for slot in slots]}
            for address, slots in transaction.access_list
        ]
    if transaction.kind in (DYNAMIC_FEE, SET_CODE):
        answer["maxFeePerGas"] = quantity(transaction.max_fee_per_gas)
        answer["maxPriorityFeePerGas"] = quantity(transaction.max_priority_fee_per_gas)
    if transaction.kind == SET_CODE:
        answer["authorizationList"] = [
            _authorization_json(wish) for wish in transaction.authorizations
        ]
    return answer


def receipt_json(block: Block, receipt: Receipt) -> Json:
    """The answer of eth_getTransactionReceipt."""
    transaction = receipt.transaction
    return {
        "type": quantity(transaction.kind),
        "status": quantity(int(receipt.succeeded)),
        "transactionHash": data(transaction.hash),
        "transactionIndex": quantity(receipt.index),
        "blockHash": data(block.hash),
        "blockNumber": quantity(block.number),
        "from": transaction.sender,
        "to": transaction.to,
        "contractAddress": receipt.created,
        "gasUsed": quantity(receipt.gas_used),
        "cumulativeGasUsed": quantity(receipt.cumulative_gas_used),
        "effectiveGasPrice": quantity(receipt.effective_gas_price),
        "logsBloom": data(bloom([receipt])),
        "logs": list(logs_json(block, receipt)),
    }


def logs_json(block: Block, receipt: Receipt) -> Iterable[Json]:
    """The logs of one transaction as eth_getLogs shows them."""
    for offset, event in enumerate(receipt.events):
        yield {
            "address": event.address,
            "topics": [data(topic) for topic in event.topics],
            "data": data(event.data),
            "blockHash": data(block.hash),
            "blockNumber": quantity(block.number),
            "blockTimestamp": quantity(block.timestamp),
            "transactionHash": data(receipt.transaction.hash),
            "transactionIndex": quantity(receipt.index),
            "logIndex": quantity(receipt.first_log + offset),
            "removed": False,
        }


def quantity(number: int) -> str:
    """A number as JSON-RPC writes it: hexadecimal without leading zeros."""
    return hex(number)


def data(content: bytes) -> str:
    """Bytes as JSON-RPC writes them."""
    return "0x" + content.hex()


def _authorization_json(wish: evm.Authorization) -> Json:
    return {
        "chainId": quantity(wish.chain_id),
        "address": wish.address,
        "nonce": quantity(wish.nonce),
        "yParity": quantity(wish.y_parity),
        "r": quantity(wish.r),
        "s": quantity(wish.s),
    }


def _header(block: Block) -> list[bytes]:
    numbers = [0, block.number, evm.BLOCK_GAS_LIMIT, block.gas_used, block.timestamp]
    encoded = [number.to_bytes((number.bit_length() + 7) // 8, "big") for number in numbers]
    roots = [EMPTY_TRIE, keccak(b"".join(r.transaction.hash for r in block.receipts)), EMPTY_TRIE]
    tail = [b"", block.randomness, bytes(8), block.base_fee.to_bytes(8, "big").lstrip(b"\0")]
    return [block.parent_hash, EMPTY_UNCLES, COINBASE, *roots, block.bloom, *encoded, *tail]
