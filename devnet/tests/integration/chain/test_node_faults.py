"""A node that fails whoever asks it over HTTP, while the chain itself goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from tests.support.chain import funded_account
from tests.support.transactions import raw

from pve402_devnet.chain import SimulatedChain
from pve402_devnet.chain.faults import NodeFault, NodeFaultKind

EVERYTHING = {"fromBlock": "0x0", "toBlock": "latest"}


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as made:
        yield made


async def ask(
    session: aiohttp.ClientSession, chain: SimulatedChain, method: str, *params: Any
) -> Any:
    """The result of a call, or its error."""
    call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    async with session.post(chain.url, json=call) as response:
        assert response.status == 200
        answer = await response.json()
    return answer.get("error", answer.get("result"))


async def test_a_node_that_is_down_closes_the_connection(
    chain: SimulatedChain, session: aiohttp.ClientSession
) -> None:
    chain.faults.add(NodeFault(kind=NodeFaultKind.DOWN, times=2))  # the client asks twice

    with pytest.raises(aiohttp.ClientError):
        await ask(session, chain, "eth_blockNumber")
    chain.faults.clear()

    assert await ask(session, chain, "eth_blockNumber") == "0x0"


@pytest.mark.parametrize(
    ("kind", "status"), [(NodeFaultKind.UNAVAILABLE, 503), (NodeFaultKind.RATE_LIMITED, 429)]
)
async def test_a_node_without_time_says_so_for_as_many_requests_as_ordered(
    chain: SimulatedChain, session: aiohttp.ClientSession, kind: NodeFaultKind, status: int
) -> None:
    chain.faults.add(NodeFault(kind=kind, times=1))
    call = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"}

    first = await session.post(chain.url, json=call)
    second = await session.post(chain.url, json=call)

    assert (first.status, second.status) == (status, 200)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-32005, "Try with this block range [0x0, 0x9]"),
        (-32600, "with up to a 10 block range"),
        (-32602, "range is too large, max is 10 blocks"),
    ],
)
async def test_a_long_range_of_logs_is_refused_in_the_words_of_providers(
    chain: SimulatedChain, session: aiohttp.ClientSession, code: int, words: str
) -> None:
    funded_account(chain)
    chain.rpc("anvil_mine", 30)
    chain.faults.add(NodeFault(kind=NodeFaultKind.LOGS_CAPPED, blocks=10, code=code))

    refused = await ask(session, chain, "eth_getLogs", EVERYTHING)
    ten = await ask(session, chain, "eth_getLogs", {"fromBlock": "0x0", "toBlock": "0x9"})
    eleven = await ask(session, chain, "eth_getLogs", {"fromBlock": "0x0", "toBlock": "0xa"})

    assert refused["code"] == eleven["code"] == code
    assert words in refused["message"]
    assert len(ten) == 2  # a mint is a Mint and a Transfer
    assert len(chain.rpc("eth_getLogs", EVERYTHING)) == 2


async def test_a_node_of_another_chain_says_so(
    chain: SimulatedChain, session: aiohttp.ClientSession
) -> None:
    chain.faults.add(NodeFault(kind=NodeFaultKind.WRONG_CHAIN, chain_id=8453))

    assert await ask(session, chain, "eth_chainId") == "0x2105"
    assert await ask(session, chain, "net_version") == "8453"
    assert chain.rpc("eth_chainId") == "0x14a34"


async def test_a_stale_node_sees_nothing_that_came_later(
    chain: SimulatedChain, session: aiohttp.ClientSession
) -> None:
    sender = funded_account(chain, usdc_atomic=700)
    chain.fund(sender.address, eth=1)
    chain.rpc("evm_mine")
    height = chain.rpc("eth_blockNumber")
    chain.faults.add(NodeFault(kind=NodeFaultKind.STALE))
    balance = ("eth_getBalance", sender.address, "latest")
    before = await ask(session, chain, *balance)

    sent = await ask(session, chain, "eth_sendRawTransaction", raw(sender))

    assert chain.rpc("eth_getTransactionReceipt", sent)["status"] == "0x1"
    assert await ask(session, chain, "eth_getTransactionReceipt", sent) is None
    assert await ask(session, chain, "eth_blockNumber") == height
    newest = await ask(session, chain, "eth_getBlockByNumber", "latest", False)
    assert newest["number"] == height
    assert await ask(session, chain, "eth_getBlockByNumber", chain.rpc("eth_blockNumber")) is None
    assert await ask(session, chain, *balance) == before != chain.rpc(*balance)


async def test_faults_are_ordered_shown_and_cleared_over_http(
    chain: SimulatedChain, session: aiohttp.ClientSession
) -> None:
    url = f"{chain.url}/devnet/faults"
    added = await session.post(url, json={"kind": "logs_capped", "blocks": 5, "code": -32602})
    await session.post(url, json={"kind": "wrong_chain"})

    shown = await (await session.get(url)).json()
    cleared = await session.delete(url)

    assert (added.status, cleared.status) == (201, 204)
    assert shown == [
        {"kind": "logs_capped", "times": None, "blocks": 5, "code": -32602},
        {"kind": "wrong_chain", "times": None, "chainId": 1},
    ]
    assert await ask(session, chain, "eth_chainId") == "0x14a34"


@pytest.mark.parametrize(
    "body",
    [
        '{"kind": "tired"}',
        '{"kind": "stale", "times": 0}',
        "[]",
        "{",
        '{"kind": "logs_capped", "code": 7}',
    ],
)
async def test_what_is_no_fault_is_refused(
    chain: SimulatedChain, session: aiohttp.ClientSession, body: str
) -> None:
    answer = await session.post(
        f"{chain.url}/devnet/faults", data=body, headers={"Content-Type": "application/json"}
    )

    assert answer.status == 400
    assert chain.faults.planned() == []
