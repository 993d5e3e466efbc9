"""eth_getLogs: finding events by address, topics and block range."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pve402_devnet.chain import blocks, evm, jsonrpc, parameters
from pve402_devnet.chain.blocks import Block
from pve402_devnet.chain.chain import Chain
from pve402_devnet.chain.parameters import NEWEST, Parameters

MAX_RESULTS = 10_000
MAX_CHOICES = 1000
MAX_TOPICS = 4


@dataclass(frozen=True, kw_only=True)
class Filter:
    """What to search for; an empty set matches everything."""

    addresses: frozenset[str]
    topics: tuple[frozenset[bytes], ...]

    def matches(self, event: evm.Event) -> bool:
        """Return whether the address and every given topic match."""
        if self.addresses and event.address not in self.addresses:
            return False
        if len(event.topics) < len(self.topics):
            return False
        pairs = zip(self.topics, event.topics, strict=False)
        return all(not wanted or topic in wanted for wanted, topic in pairs)


def find(chain: Chain, params: Parameters) -> list[Any]:
    """The answer of eth_getLogs.

    Raises: jsonrpc.RpcError: a bad filter, an unknown block, or more results than a node returns.
    """
    query = params.mapping(0)
    wanted = _filter(query)
    found: list[Any] = []
    for block in _blocks(chain, params, query):
        for receipt in block.receipts:
            if not any(wanted.matches(event) for event in receipt.events):
                continue
            entries = zip(receipt.events, blocks.logs_json(block, receipt), strict=True)
            found.extend(entry for event, entry in entries if wanted.matches(event))
        if len(found) > MAX_RESULTS:
            text = f"query returned more than {MAX_RESULTS} results"
            raise jsonrpc.RpcError(code=jsonrpc.LIMIT_EXCEEDED, message=text)
    return found


def block_range(chain: Chain, query: dict[str, Any]) -> tuple[int, int] | None:
    """Return a query's first and last block; None if it names a block hash.

    Raises: jsonrpc.RpcError: the first is after the last.
    """
    if query.get("blockHash") is not None:
        return None
    first = _number(chain, query.get("fromBlock"))
    last = _number(chain, query.get("toBlock"))
    if first > last:
        raise jsonrpc.invalid_params("invalid block range params")
    return first, last


def _blocks(chain: Chain, params: Parameters, query: dict[str, Any]) -> Iterator[Block]:
    asked = block_range(chain, query)
    if asked is None:
        yield params.block({"blockHash": query["blockHash"]})
        return
    for number in range(asked[0], min(asked[1], chain.head.number) + 1):
        yield chain.block(number)


def _number(chain: Chain, value: Any) -> int:
    if value is None or value in NEWEST:
        return chain.head.number
    return 0 if value == "earliest" else parameters.quantity(value)


def _filter(query: dict[str, Any]) -> Filter:
    addresses = _choices(query.get("address"))
    topics = query.get("topics", [])
    topics = [] if topics is None else topics
    if not isinstance(topics, list) or len(topics) > MAX_TOPICS:
        raise jsonrpc.invalid_params(f"topics must be a list of at most {MAX_TOPICS}")
    return Filter(
        addresses=frozenset(parameters.address(address) for address in addresses),
        topics=tuple(
            frozenset(parameters.data(topic) for topic in _choices(choice)) for choice in topics
        ),
    )


def _choices(value: Any) -> list[Any]:
    if value is None:
        return []
    choices = value if isinstance(value, list) else [value]
    if len(choices) > MAX_CHOICES:
        raise jsonrpc.invalid_params(f"at most {MAX_CHOICES} choices")
    return choices
