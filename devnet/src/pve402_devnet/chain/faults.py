"""Faults that the node behind the chain's URL can be told to have; in-process calls stay correct.

So a facilitator in the same process keeps working while clients of the HTTP node fail, as with two
nodes of one chain. The refusals of eth_getLogs are those of well-known providers.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from pve402_devnet.chain import logs
from pve402_devnet.chain.blocks import Block, Receipt, quantity
from pve402_devnet.chain.chain import Chain, UnknownBlock
from pve402_devnet.chain.evm import Evm, Message, Outcome
from pve402_devnet.chain.jsonrpc import RpcError
from pve402_devnet.chain.parameters import Parameters

MAX_FAULTS = 100
RANGE_TEXTS = {
    -32005: "query returned more than 10000 results. Try with this block range [{first}, {last}].",
    -32600: "Under the Free tier plan, you can make eth_getLogs requests with up to a {blocks}"
    " block range. Based on your parameters, this block range should work: [{first}, {last}].",
    -32602: "range is too large, max is {blocks} blocks",
}


class NodeFaultKind(enum.StrEnum):
    """One way in which a node fails its clients."""

    DOWN = "down"  # the connection closes without an answer
    UNAVAILABLE = "unavailable"  # 503
    RATE_LIMITED = "rate_limited"  # 429
    LOGS_CAPPED = "logs_capped"  # eth_getLogs over more than `blocks` blocks is refused
    WRONG_CHAIN = "wrong_chain"  # it claims to be on chain `chain_id`
    STALE = "stale"  # it has seen no block since


@dataclass(frozen=True, kw_only=True)
class NodeFault:
    """A fault for a number of requests (None: until cleared); a stale node stopped at `height`."""

    kind: NodeFaultKind
    times: int | None = None
    blocks: int = 10
    code: int = -32005
    chain_id: int = 1
    height: int = 0

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> NodeFault:
        """Parse a fault from the control endpoint.

        Raises:
            KeyError, ValueError, TypeError: an unknown kind, or a number out of bounds.
        """
        times = body.get("times")
        fault = cls(
            kind=NodeFaultKind(body["kind"]),
            times=None if times is None else int(times),
            blocks=int(body.get("blocks", 10)),
            code=int(body.get("code", -32005)),
            chain_id=int(body.get("chainId", 1)),
        )
        if fault.blocks < 1 or fault.chain_id < 1 or (fault.times is not None and fault.times < 1):
            raise ValueError("blocks, chainId and times are at least 1")
        if fault.code not in RANGE_TEXTS:
            raise ValueError(f"code is one of {', '.join(map(str, RANGE_TEXTS))}")
        return fault

    def as_json(self) -> dict[str, Any]:
        """As the control endpoint shows it."""
        shown: dict[str, Any] = {"kind": self.kind, "times": self.times}
        if self.kind is NodeFaultKind.LOGS_CAPPED:
            shown |= {"blocks": self.blocks, "code": self.code}
        if self.kind is NodeFaultKind.WRONG_CHAIN:
            shown["chainId"] = self.chain_id
        if self.kind is NodeFaultKind.STALE:
            shown["height"] = self.height
        return shown


class NodeFaults:
    """The active faults; there may be several at once."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._faults: list[NodeFault] = []

    def add(self, fault: NodeFault) -> NodeFault:
        """Start misbehaving; a stale node stops at the current head.

        Raises:
            ValueError: there are too many faults already.
        """
        if len(self._faults) >= MAX_FAULTS:
            raise ValueError(f"at most {MAX_FAULTS} faults at once")
        kept = replace(fault, height=self._chain.head.number)
        self._faults.append(kept)
        return kept

    def clear(self) -> None:
        """Stop misbehaving."""
        self._faults.clear()

    def planned(self) -> list[NodeFault]:
        """What holds now."""
        return list(self._faults)

    def take(self) -> dict[NodeFaultKind, NodeFault]:
        """The faults of one request, counted down; the first of each kind."""
        due: dict[NodeFaultKind, NodeFault] = {}
        left: list[NodeFault] = []
        for fault in self._faults:
            first = due.setdefault(fault.kind, fault) is fault
            left.append(_counted_down(fault) if first else fault)
        self._faults = [fault for fault in left if fault.times != 0]
        return due


def _counted_down(fault: NodeFault) -> NodeFault:
    return fault if fault.times is None else replace(fault, times=fault.times - 1)


def refuse(
    due: Mapping[NodeFaultKind, NodeFault], chain: Chain, method: str, params: Parameters
) -> str | None:
    """Return a method's faulty answer; None if no fault affects it.

    Raises:
        RpcError: the fault is a refusal.
    """
    if wrong := due.get(NodeFaultKind.WRONG_CHAIN):
        if method == "eth_chainId":
            return quantity(wrong.chain_id)
        if method == "net_version":
            return str(wrong.chain_id)
    if (capped := due.get(NodeFaultKind.LOGS_CAPPED)) and method == "eth_getLogs":
        _require_few_blocks(capped, chain, params)
    return None


def _require_few_blocks(capped: NodeFault, chain: Chain, params: Parameters) -> None:
    asked = logs.block_range(chain, params.mapping(0))
    if asked is None or asked[1] - asked[0] < capped.blocks:
        return
    first, last = quantity(asked[0]), quantity(asked[0] + capped.blocks - 1)
    text = RANGE_TEXTS[capped.code].format(blocks=capped.blocks, first=first, last=last)
    raise RpcError(code=capped.code, message=text)


def seen_by(due: Mapping[NodeFaultKind, NodeFault], chain: Chain) -> Chain:
    """The chain as the node sees it."""
    stale = due.get(NodeFaultKind.STALE)
    return cast("Chain", _StaleChain(chain, stale.height)) if stale else chain


class _StaleChain:
    """A chain as seen by a node that has stopped following it; transactions are passed on."""

    def __init__(self, chain: Chain, height: int) -> None:
        self._chain = chain
        self._height = min(height, chain.head.number)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chain, name)

    @property
    def head(self) -> Block:
        return self._chain.block(self._height)

    def block(self, number: int) -> Block:
        if number > self._height:
            raise UnknownBlock(f"block {number} is not on this chain")
        return self._chain.block(number)

    def block_by_hash(self, block_hash: bytes) -> Block:
        return self.block(self._chain.block_by_hash(block_hash).number)

    def receipt(self, transaction_hash: bytes) -> tuple[Block, Receipt] | None:
        found = self._chain.receipt(transaction_hash)
        return found if found and found[0].number <= self._height else None

    def state(self, number: int | None = None) -> Evm:
        return self._chain.state(self._height if number is None else number)

    def call(self, message: Message, number: int | None = None) -> Outcome:
        return self._chain.call(message, self._height if number is None else number)
