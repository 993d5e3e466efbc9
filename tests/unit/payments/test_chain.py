"""The on-chain rule, against a chain that is a few dictionaries."""

import dataclasses
from typing import Any

import pytest
from tests.support import payments as make

from pve402.payments import chain as chains
from pve402.payments import errors, rpc
from pve402.payments.schemes.base import Fate, Finding
from pve402.payments.schemes.exact import onchain

PAID = make.payment()
OTHER = make.payment()
TX = make.TRANSACTION


def _judged(*logs: dict[str, Any], status: int = 1) -> Fate | None:
    node = make.FakeNode()
    node.mine(TX, *logs, status=status)
    receipt = chains.parse_receipt(node.receipts[TX])
    assert receipt is not None
    finding = onchain.judge(receipt, PAID)
    return finding and finding.fate


@pytest.mark.parametrize(
    ("logs", "fate"),
    [
        ([make.used(PAID), make.transfer(PAID)], Fate.PAID),
        ([make.used(OTHER), make.transfer(OTHER), make.used(PAID), make.transfer(PAID)], Fate.PAID),
        ([make.used(PAID)], Fate.SPENT_ELSEWHERE),
        ([make.transfer(PAID)], None),
        ([], None),
        ([make.transfer(PAID), make.used(PAID)], Fate.SPENT_ELSEWHERE),
        ([make.used(PAID), make.transfer(PAID, to=make.SOMEBODY)], Fate.SPENT_ELSEWHERE),
        ([make.used(PAID), make.transfer(PAID, value=9_999)], Fate.SPENT_ELSEWHERE),
        ([make.used(PAID), make.transfer(PAID, value=10_001)], Fate.SPENT_ELSEWHERE),
        ([make.cancelled(PAID)], Fate.CANCELLED),
        ([make.cancelled(PAID), make.transfer(PAID)], Fate.CANCELLED),
        ([make.used(OTHER), make.transfer(OTHER)], None),
    ],
)
def test_used_and_transfer_together_make_a_payment(
    logs: list[dict[str, Any]], fate: Fate | None
) -> None:
    assert _judged(*logs) is fate


def test_one_transfer_cannot_be_counted_for_two_authorizations() -> None:
    """The bundle spends our nonce on somebody else and pays us under another nonce."""
    bundle = [
        make.used(PAID),
        make.transfer(PAID, to=make.SOMEBODY),
        make.used(OTHER),
        make.transfer(OTHER),
    ]

    assert _judged(*bundle) is Fate.SPENT_ELSEWHERE


def test_a_failed_transaction_proves_nothing() -> None:
    assert _judged(make.used(PAID), make.transfer(PAID), status=0) is None


def test_another_tokens_events_prove_nothing() -> None:
    fake = [log | {"address": make.SOMEBODY} for log in (make.used(PAID), make.transfer(PAID))]

    assert _judged(*fake) is None


def test_another_tokens_events_in_between_do_no_harm() -> None:
    foreign = make.transfer(PAID, to=make.SOMEBODY) | {"address": make.SOMEBODY}

    assert _judged(make.used(PAID), foreign, make.transfer(PAID)) is Fate.PAID


async def _find(node: make.FakeNode, **limits: int) -> Finding:
    reader = chains.Chain(node)
    return await onchain.find(
        reader,
        PAID,
        not_before_seconds=make.NOW - 600,
        newest=await reader.latest_block(),
        limits=onchain.SearchLimits(**limits),
    )


async def test_a_free_nonce_costs_two_calls() -> None:
    node = make.FakeNode()

    assert (await _find(node)).fate is Fate.UNSPENT
    assert node.calls == ["eth_getBlockByNumber", "eth_call"]


@pytest.mark.parametrize("block", [1000, 901, 900, 750])
async def test_a_settlement_is_found_by_its_events(block: int) -> None:
    node = make.FakeNode()
    node.mine(TX, make.used(PAID), make.transfer(PAID), block=block)

    found = await _find(node, blocks_per_query=100)

    assert (found.fate, found.transaction, found.block_number) == (Fate.PAID, TX, block)


async def test_a_payment_far_down_a_large_transaction_is_found() -> None:
    noise = [make.transfer(OTHER) | {"address": make.SOMEBODY}] * 2500
    node = make.FakeNode()
    node.mine(TX, *noise, make.used(PAID), make.transfer(PAID))

    assert (await _find(node)).fate is Fate.PAID


@pytest.mark.parametrize(
    ("logs", "fate"),
    [
        ([make.used(PAID), make.transfer(PAID)], Fate.PAID),
        ([make.used(PAID), make.transfer(PAID, value=1)], Fate.SPENT_ELSEWHERE),
        ([make.used(PAID), make.transfer(PAID, to=make.SOMEBODY)], Fate.SPENT_ELSEWHERE),
        ([make.used(PAID), make.used(OTHER), make.transfer(PAID)], Fate.SPENT_ELSEWHERE),
        ([make.cancelled(PAID), make.transfer(PAID)], Fate.CANCELLED),
    ],
)
async def test_a_receipt_too_large_to_be_read_hides_no_settlement(
    logs: list[dict[str, Any]], fate: Fate
) -> None:
    node = make.FakeNode()
    node.mine(TX, make.transfer(OTHER), *logs)
    node.too_large.add(TX)

    found = await _find(node)

    assert (found.fate, found.transaction, found.block_number) == (fate, TX, node.head)


async def test_the_search_ends_where_the_order_began() -> None:
    node = make.FakeNode()
    node.mine(TX, make.used(PAID), make.transfer(PAID), block=10)

    assert (await _find(node, blocks_per_query=100)).fate is Fate.SPENT_BEFORE
    assert node.calls.count("eth_getLogs") < 5


async def test_the_search_ends_at_its_limit() -> None:
    node = make.FakeNode()
    node.mine(TX, make.used(PAID), make.transfer(PAID), block=800)

    found = await _find(node, blocks_per_query=10, max_queries=3)

    assert found.fate is Fate.UNSEEN
    assert node.calls.count("eth_getLogs") == 3


async def test_long_after_the_window_the_search_starts_where_it_closed() -> None:
    node = make.FakeNode(head=1_000_000, newest_seconds=make.NOW + 1_000_000)
    node.mine(TX, make.used(PAID), make.transfer(PAID), block=500_050)

    assert (await _find(node, blocks_per_query=1000, max_queries=1)).fate is Fate.PAID


@pytest.mark.parametrize(("confirmations", "final"), [(1, True), (10, True), (11, False)])
async def test_a_transaction_is_final_below_enough_blocks(confirmations: int, final: bool) -> None:
    node = make.FakeNode()
    node.mine(TX, make.used(PAID), block=991)

    assert await chains.Chain(node).is_final(TX, confirmations=confirmations) is final


async def test_a_transaction_that_is_nowhere_is_not_final() -> None:
    assert not await chains.Chain(make.FakeNode()).is_final(TX, confirmations=1)


async def test_code_makes_a_contract() -> None:
    node = make.FakeNode()
    node.code.add(make.SOMEBODY)
    reader = chains.Chain(node)

    assert await reader.has_code(make.SOMEBODY)
    assert not await reader.has_code(make.OUR_ADDRESS)


@pytest.mark.parametrize(
    "answer",
    [
        1,
        [],
        {},
        {"blockNumber": "0x1"},
        {"blockNumber": 1, "logs": [], "status": "0x1", "transactionHash": TX},
        {"blockNumber": "0x1", "logs": [5], "status": "0x1", "transactionHash": TX},
        {"blockNumber": "0x1", "logs": [{"topics": [None]}], "status": "0x1"},
        {"blockNumber": "0x1", "logs": [], "status": "0x" + "f" * 100, "transactionHash": TX},
        {"blockNumber": "0x1", "logs": [], "status": "0xzz", "transactionHash": TX},
    ],
)
async def test_a_nodes_nonsense_is_no_answer(answer: Any) -> None:
    node = make.FakeNode()
    node.receipts[TX] = answer

    with pytest.raises(errors.ChainUnavailable):
        await chains.Chain(node).receipt(TX)


async def test_a_pending_transaction_is_in_no_block() -> None:
    node = make.FakeNode()
    node.mine(TX)
    node.receipts[TX]["blockNumber"] = None

    assert await chains.Chain(node).receipt(TX) is None


def test_addresses_are_compared_in_one_form() -> None:
    node = make.FakeNode()
    node.mine(TX, make.used(PAID), make.transfer(PAID))
    for log in node.receipts[TX]["logs"]:
        log["address"] = "0x" + log["address"][2:].upper()
    receipt = chains.parse_receipt(node.receipts[TX])
    assert receipt is not None

    finding = onchain.judge(dataclasses.replace(receipt), PAID)

    assert finding is not None
    assert finding.fate is Fate.PAID


QUERY = {"address": make.requirements().asset, "topics": ["0x" + "0" * 64]}


class CappedNode(make.FakeNode):
    """Answers eth_getLogs for a few blocks only, and says so in some provider's words."""

    def __init__(self, most_blocks: int, code: int, message: str) -> None:
        super().__init__(head=4000)
        self.most_blocks = most_blocks
        self.code = code
        self.message = message
        self.refused = 0

    def _eth_getLogs(self, query: dict[str, Any]) -> Any:  # noqa: N802
        if int(query["toBlock"], 16) - int(query["fromBlock"], 16) >= self.most_blocks:
            self.refused += 1
            raise rpc._fault("eth_getLogs", {"code": self.code, "message": self.message})
        return super()._eth_getLogs(query)


@pytest.mark.parametrize("block", [3999, 3900])
@pytest.mark.parametrize(
    ("most_blocks", "code", "message"),
    [
        (10, -32600, "You can make eth_getLogs requests with up to a 10 block range."),
        (10, -32005, "query returned more than 10000 results"),
        (1, -32602, "ranges over 1 blocks are not supported on freetier"),
        (500, -32000, "block range greater than 500 max"),
        (3, -32614, "eth_getLogs is limited to a 3 range"),
        (100, -32701, "exceed maximum block range: 100"),
        (2, -32016, "rate limit"),
    ],
)
async def test_a_settlement_is_found_through_a_node_that_caps_the_range(
    block: int, most_blocks: int, code: int, message: str
) -> None:
    node = CappedNode(most_blocks, code, message)
    node.mine(TX, make.used(PAID), make.transfer(PAID), block=block)

    found = await _find(node)

    assert (found.fate, found.transaction) == (Fate.PAID, TX)
    assert node.refused <= 10 + 3  # halved at first, and seldom tried again


async def test_a_node_that_refused_for_a_while_is_asked_for_wide_ranges_again() -> None:
    node = CappedNode(1, -32005, "rate limit")
    reader = chains.Chain(node)
    await reader.logs(QUERY, lower=3990, upper=4000)
    node.most_blocks = 10**6
    refused = node.refused
    node.calls.clear()

    await reader.logs(QUERY, lower=0, upper=4000)

    assert (refused, node.refused - refused) == (3, 0)
    assert node.calls.count("eth_getLogs") < 4000 // 40


async def test_a_node_that_caps_the_range_is_seldom_asked_for_more() -> None:
    node = CappedNode(1, -32600, "up to a 1 block range")
    reader = chains.Chain(node)
    await reader.logs(QUERY, lower=3990, upper=4000)
    refused = node.refused

    await reader.logs(QUERY, lower=0, upper=4000)

    assert 0 < node.refused - refused < 8


async def test_a_node_that_answers_for_no_block_is_unavailable() -> None:
    node = CappedNode(0, -32601, "the method does not exist")
    node.mine(TX, make.used(PAID), make.transfer(PAID))

    with pytest.raises(errors.ChainUnavailable):
        await _find(node)
