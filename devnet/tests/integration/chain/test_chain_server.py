"""The chain behind its HTTP port."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import aiohttp
import pytest

from pve402_devnet.chain import ChainOptions, SimulatedChain, jsonrpc

JSON_TYPE = {"Content-Type": "application/json"}


async def post(url: str, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=io.BytesIO(body), headers=headers) as response,
    ):
        return response.status, await response.text()


async def ask(url: str, body: Any) -> Any:
    status, text = await post(url, json.dumps(body).encode(), JSON_TYPE)
    assert status == 200
    return json.loads(text)


async def test_it_answers_over_http(chain: SimulatedChain) -> None:
    answer = await ask(chain.url, {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"})

    assert answer == {"jsonrpc": "2.0", "id": 1, "result": "0x14a34"}


async def test_a_batch_is_answered_in_one(chain: SimulatedChain) -> None:
    calls = [{"jsonrpc": "2.0", "id": n, "method": "eth_blockNumber"} for n in range(100)]

    answers = await ask(chain.url, calls)

    assert [answer["id"] for answer in answers] == list(range(100))


async def test_a_notification_is_answered_with_nothing(chain: SimulatedChain) -> None:
    body = b'{"jsonrpc":"2.0","method":"evm_mine"}'

    assert await post(chain.url, body, JSON_TYPE) == (204, "")
    assert chain.rpc("eth_blockNumber") == "0x1"


@pytest.mark.parametrize(
    ("headers", "size", "status"),
    [
        ({"Content-Type": "text/plain"}, 10, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 10, 415),
        (JSON_TYPE, jsonrpc.MAX_REQUEST_BYTES + 10, 413),
    ],
)
async def test_what_it_does_not_read(
    chain: SimulatedChain, headers: dict[str, str], size: int, status: int
) -> None:
    assert (await post(chain.url, b" " * size, headers))[0] == status


async def test_brackets_without_end_are_a_parse_error(chain: SimulatedChain) -> None:
    _, text = await post(chain.url, b"[" * 500_000, JSON_TYPE)

    assert json.loads(text)["error"]["code"] == jsonrpc.PARSE_ERROR


async def test_blocks_are_made_by_the_clock_without_transactions() -> None:
    options = ChainOptions(block_interval_seconds=0.01)
    async with SimulatedChain(options) as chain:
        async with asyncio.timeout(20):
            while int(chain.rpc("eth_blockNumber"), 16) < 3:  # noqa: ASYNC110 - blocks, no event
                await asyncio.sleep(0.01)

    height = chain.rpc("eth_blockNumber")
    await asyncio.sleep(0.05)
    assert chain.rpc("eth_blockNumber") == height


async def test_calls_from_many_threads_do_not_mix(chain: SimulatedChain) -> None:
    accounts = ["0x" + f"{number:040x}" for number in range(1000, 1040)]

    await asyncio.gather(
        *(asyncio.to_thread(chain.fund, account, usdc_atomic=7) for account in accounts)
    )

    assert {chain.usdc_balance(account) for account in accounts} == {7}
    assert chain.rpc("eth_blockNumber") == hex(len(accounts))


async def test_a_call_that_burns_its_gas_leaves_the_event_loop_free(chain: SimulatedChain) -> None:
    chain.rpc("anvil_setCode", "0x" + "ab" * 20, "0x5b5f56")  # a loop without end
    question = {"to": "0x" + "ab" * 20, "gas": hex(5_000_000)}
    call = {"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": [question]}

    asked = asyncio.create_task(ask(chain.url, call))
    turns = 0
    while not asked.done():
        await asyncio.sleep(0.001)
        turns += 1

    assert (await asked)["error"]["message"] == "out of gas"
    assert turns > 5
