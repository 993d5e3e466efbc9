"""The official Python client pays what this package asks, by header (v2) and by body (v1)."""

import asyncio
from typing import Any

import pytest
import requests
from tests.support import payable
from tests.support import payments as make
from tests.support.chain import funded_account
from x402 import x402ClientSync
from x402.http.clients.requests import x402HTTPAdapter
from x402.http.utils import decode_payment_response_header
from x402.mechanisms.evm.exact import register_exact_evm_client

from pve402.payments import settlement


class _WithoutV2Header(x402HTTPAdapter):
    """Hides the v2 header, so that the client finds the v1 body."""

    def build_response(self, req: Any, resp: Any) -> requests.Response:
        response = super().build_response(req, resp)
        response.headers.pop("payment-required", None)
        return response


def _buy(url: str, key: Any, *, version: int) -> requests.Response:
    client = x402ClientSync()
    register_exact_evm_client(client, key)
    adapter = _WithoutV2Header(client) if version == 1 else x402HTTPAdapter(client)
    with requests.Session() as session:
        session.mount("http://", adapter)
        return session.post(url, json={"a": 1}, timeout=20)


@pytest.mark.parametrize("version", [1, 2])
async def test_the_official_client_pays(
    settler: settlement.Settler, chain: Any, version: int
) -> None:
    tenant = funded_account(chain)
    offers = [make.requirements(network="base-sepolia"), make.requirements(network="polygon")]

    async with payable.running(settler, offers) as shop:
        answer = await asyncio.to_thread(_buy, shop.url, tenant, version=version)

    name = "X-PAYMENT-RESPONSE" if version == 1 else "PAYMENT-RESPONSE"
    receipt = decode_payment_response_header(answer.headers[name])
    assert (answer.status_code, answer.json()) == (200, {"sold": True})
    assert (receipt.success, (receipt.payer or "").lower()) == (True, tenant.address.lower())
    assert [paid.version for paid in shop.sold] == [version]
    assert chain.usdc_balance(make.OUR_ADDRESS) == make.requirements().amount_atomic
