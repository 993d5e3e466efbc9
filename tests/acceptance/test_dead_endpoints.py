"""While an endpoint cannot be read, nobody is asked for a signature, and what was paid goes on."""

import asyncio
import dataclasses
import functools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from tests.support import asgi, shop, stand_ins
from tests.support.api_fixtures import BODY
from tests.support.chain import chain, facilitator  # noqa: F401
from tests.support.shop import Shop

from pve402.payments import chain_watch

TROUBLES = [
    "502",
    "401",
    "HTML",
    "another chain",
    "an old block",
    "no JSON-RPC",
    "cut off",
    "rate limited",
]


@dataclasses.dataclass(kw_only=True)
class Endpoint:
    """A node before the chain that can be in trouble."""

    behind: str
    trouble: str = ""
    url: str = ""

    async def handle(self, request: web.Request) -> web.Response:
        asked = await request.json()
        answer = await self._honest(asked)
        match self.trouble:
            case "502" | "401":
                return web.Response(status=int(self.trouble), text="no")
            case "HTML":
                return web.Response(text="<h1>Sign in to the hotel's network</h1>")
            case "another chain" if asked["method"] == "eth_chainId":
                answer["result"] = "0x1"
            case "an old block" if asked["method"] == "eth_getBlockByNumber":
                answer["result"]["timestamp"] = "0x1"
            case "no JSON-RPC":
                return web.json_response({"status": "ok"})
            case "cut off":
                assert request.transport is not None
                request.transport.close()
            case "rate limited":
                answer = {"id": asked["id"], "error": {"code": -32005, "message": "slow down"}}
        return web.json_response(answer)

    async def _honest(self, asked: Any) -> Any:
        async with ClientSession() as session, session.post(self.behind, json=asked) as answer:
            return await answer.json()


@pytest.fixture
async def endpoint(chain: Any) -> AsyncIterator[Endpoint]:  # noqa: F811
    made = Endpoint(behind=chain.url)
    async with stand_ins.answering(made.handle) as made.url:
        yield made


@pytest.fixture
async def open_shop(
    chain: Any,  # noqa: F811
    facilitator: Any,  # noqa: F811
    tmp_path: Path,
    endpoint: Endpoint,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Shop]:
    """A service that looks at its endpoint often."""
    often = functools.partial(chain_watch.WatchOptions, interval_seconds=0.05)
    monkeypatch.setattr(chain_watch, "WatchOptions", often)
    changes = {"rpc_url": endpoint.url, "pve402_create_wait_seconds": 60}
    async with shop.running(tmp_path, chain, facilitator, **changes) as made:
        yield made


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_nobody_is_asked_to_sign_while_the_endpoint_is_in_trouble(
    open_shop: Shop, endpoint: Endpoint, trouble: str
):
    http = open_shop.http
    sold = (await open_shop.pay(await open_shop.sign())).json()
    signed_before = await open_shop.sign()
    bearer = {"Authorization": f"Bearer {sold['accessToken']}"}

    endpoint.trouble = trouble
    await becomes_ready(http, is_ready=False)
    lease = await http.post("/lease/container", BODY)
    renewal = await http.post(f"/lease/{sold['ctid']}/renew", {"runtimeMinutes": 5})
    fee = await http.get("/management/list")
    late = await open_shop.pay(signed_before)
    kept = await http.get("/management/list", headers=bearer)
    balance = await open_shop.balance()
    endpoint.trouble = ""
    await becomes_ready(http, is_ready=True)
    again = await open_shop.pay(signed_before)

    refused = [lease, renewal, fee, late]
    assert [(reply.status, reply.code) for reply in refused] == [(503, "chain_unavailable")] * 4
    assert all("payment-required" not in reply.headers for reply in refused)
    assert (kept.status, balance.paid) == (200, shop.PRICE_ATOMIC)
    assert again.status == 200, again.body


async def becomes_ready(http: asgi.Asgi, *, is_ready: bool) -> None:
    """Wait until `readyz` reports this state of the chain."""
    for _ in range(400):
        if (await http.get("/readyz")).json()["checks"]["chain"] is is_ready:
            return
        await asyncio.sleep(0.05)
    raise TimeoutError
