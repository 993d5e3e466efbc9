"""Nodes refuse wide ranges of events in many ways on the wire; the settlement is found anyhow."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientSession, web
from tests.support import payments as make
from tests.support import stand_ins
from tests.support.chain import funded_account

from pve402.payments import chain as chains
from pve402.payments import rpc, settlement
from pve402.payments.facilitators import Outcome
from pve402_devnet.chain import SimulatedChain

TERMS = make.requirements()
Refuse = Callable[[Any], web.Response]


def in_json(status: int, error: Any) -> Refuse:
    def refuse(request_id: Any) -> web.Response:
        document = {"jsonrpc": "2.0", "id": request_id, "error": error}
        return web.json_response(document, status=status)

    return refuse


def in_text(status: int, text: str) -> Refuse:
    return lambda _request_id: web.Response(status=status, text=text, content_type="text/html")


REFUSALS = {
    "a code of its own": in_json(200, {"code": -32614, "message": "limited to a 10 range"}),
    "rate limit's code": in_json(200, {"code": -32005, "message": "more than 10000 results"}),
    "HTTP 400": in_json(400, {"code": -32600, "message": "up to a 10 block range"}),
    "a code as text": in_json(200, {"code": "-32602", "message": "range too wide"}),
    "no code": in_json(200, {"message": "block range is too large"}),
    "an error as text": in_json(400, "block range is too large"),
    "HTTP 413, no JSON": in_text(413, "<h1>Payload Too Large</h1>"),
    "HTTP 400, no JSON": in_text(400, "Bad Request"),
    "HTTP 422, no result": in_json(422, None),
}


@asynccontextmanager
async def capped(chain: SimulatedChain, refuse: Refuse, most_blocks: int) -> AsyncIterator[str]:
    """A node before the chain that answers for some blocks only."""

    async def handle(request: web.Request) -> web.Response:
        asked = await request.json()
        if asked["method"] == "eth_getLogs":
            lower, upper = (int(asked["params"][0][n], 16) for n in ("fromBlock", "toBlock"))
            if upper - lower >= most_blocks:
                return refuse(asked["id"])
        async with ClientSession() as session, session.post(chain.url, json=asked) as answer:
            return web.Response(body=await answer.read(), content_type="application/json")

    async with stand_ins.answering(handle) as url:
        yield url


@pytest.mark.parametrize("most_blocks", [1, 10])
@pytest.mark.parametrize("refusal", REFUSALS)
async def test_a_settlement_whose_answer_was_lost_is_found(
    chain: SimulatedChain, settler: settlement.Settler, refusal: str, most_blocks: int
) -> None:
    payer, started = funded_account(chain), int(time.time())
    paid = make.payment(key=payer, valid_before=started + 300)
    done = await settler.settle(paid, TERMS, since_seconds=started)
    for _ in range(30):
        chain.rpc("evm_mine")

    async with (
        capped(chain, REFUSALS[refusal], most_blocks) as url,
        rpc.Rpc(rpc.RpcOptions(url=url, retry_delay_seconds=0.001)) as endpoint,
    ):
        route = settlement.Route(
            facilitator=settler.facilitator_of(paid.network), chain=chains.Chain(endpoint)
        )
        seen = await settlement.Settler({paid.network: route}).look(paid, since_seconds=started)

    assert (seen.outcome, seen.transaction) == (Outcome.SETTLED, done.transaction)
