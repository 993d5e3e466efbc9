"""A facilitator that refuses plainly: the order ends within seconds and delays little else."""

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from tests.support import asgi, shop, stand_ins, wallets
from tests.support.api_fixtures import BODY
from tests.support.chain import chain, facilitator  # noqa: F401
from tests.support.shop import Shop

from pve402.domain import lease, order

REFUSALS = [
    (200, "insufficient_funds"),
    (400, "invalid_exact_evm_payload_signature"),
    (402, "invalid_exact_evm_insufficient_balance"),
    (409, "invalid_transaction_state"),
    (412, "unsupported_scheme"),
    (422, "invalid_payment_requirements"),
    (200, "a text that is <b>no</b> code"),
]


@dataclasses.dataclass(kw_only=True)
class Refusing:
    """A facilitator that verifies through another one, and refuses to settle."""

    behind: str
    url: str = ""
    says: tuple[int, str] | None = None
    settles: int = 0

    async def handle(self, request: web.Request) -> web.Response:
        if request.path == "/settle":
            self.settles += 1
            if self.says is not None:
                status, reason = self.says
                answer = {"success": False, "errorReason": reason, "transaction": "", "network": ""}
                return web.json_response(answer, status=status)
        raw = await request.read()
        headers = {"content-type": "application/json"}
        url = self.behind + request.path
        async with (
            ClientSession() as session,
            session.request(request.method, url, data=raw, headers=headers) as answer,
        ):
            body, kind = await answer.read(), answer.content_type
            return web.Response(status=answer.status, body=body, content_type=kind)


@pytest.fixture
async def refusing(facilitator: Any) -> AsyncIterator[Refusing]:  # noqa: F811
    made = Refusing(behind=facilitator.url)
    async with stand_ins.answering(made.handle) as made.url:
        yield made


@pytest.fixture
async def open_shop(
    chain: Any,  # noqa: F811
    facilitator: Any,  # noqa: F811
    tmp_path: Path,
    refusing: Refusing,
) -> AsyncIterator[Shop]:
    """A service that settles through it, and waits half a minute for a lease."""
    changes = {"facilitator_url": refusing.url, "pve402_create_wait_seconds": 30}
    async with shop.running(tmp_path, chain, facilitator, **changes) as made:
        yield made


@pytest.mark.parametrize("says", REFUSALS)
async def test_a_plain_no_ends_the_order_at_once(
    open_shop: Shop, refusing: Refusing, says: tuple[int, str]
):
    refusing.says = says

    refused = await open_shop.pay(await open_shop.sign())
    await open_shop.inside.settled_down()
    balance = await open_shop.balance()

    assert refused.status == 402, refused.body
    assert "nothing was charged" in refused.body.decode().lower() or says[1] in refused.code
    assert (balance.order, balance.nobody_lost) == (order.OrderStatus.REFUSED, True), balance
    assert refusing.settles == 2


@pytest.mark.parametrize("says", REFUSALS[:5])
async def test_it_holds_up_new_containers_and_nothing_that_is_held(
    open_shop: Shop, refusing: Refusing, says: tuple[int, str]
):
    sold = (await open_shop.pay(await open_shop.sign())).json()
    renew, wish = f"/lease/{sold['ctid']}/renew", {"runtimeMinutes": 5}

    refusing.says = says
    renewal = await paid(open_shop, renew, wish)
    fee = await paid(open_shop, "/management/list", None)
    refusing.says = None
    listed = await paid(open_shop, "/management/list", None)
    renewed = await paid(open_shop, renew, wish)
    another = await paid(open_shop, "/lease/container", BODY)
    (row,) = await open_shop.inside.leases_now()

    assert (renewal.status, fee.status) == (402, 402)
    assert (listed.status, renewed.status) == (200, 200), renewed.body
    assert (another.status, another.code) == (429, "wallet_must_wait")
    assert row.status is lease.LeaseStatus.ACTIVE


async def paid(made: Shop, path: str, body: Any) -> asgi.Reply:
    """Ask, sign, pay."""
    method = "GET" if body is None else "POST"
    content = b"" if body is None else body
    asked = await made.http.request(method, path, content)
    signed = wallets.payment_headers(made.tenant, asked)
    return await made.http.request(method, path, content, headers=signed)
