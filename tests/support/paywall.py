"""A tiny shop with one paid page, and payments made by the official x402 client.

The shop asks any facilitator over HTTP, first to verify and then to settle, and speaks x402 v2
(headers) or v1 (body). It stands in for a resource server that is not ours.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web
from eth_abi.abi import encode
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from tests.support import chain as eip3009
from tests.support.token import ContractCaller, call_data
from x402 import x402ClientSync
from x402.http.clients.requests import x402_requests
from x402.mechanisms.evm.exact import register_exact_evm_client
from x402.schemas import PaymentRequired, PaymentRequirements
from x402.schemas.v1 import PaymentRequiredV1, PaymentRequirementsV1

from pve402_devnet.chain import SimulatedChain, contracts

TIMEOUT = aiohttp.ClientTimeout(total=20)
ERC6492 = bytes.fromhex("6492" * 16)
EXTRA = {"name": "USDC", "version": "2"}


def requirements(pay_to: str, amount_atomic: int, *, version: int = 2) -> Any:
    """What a page costs, in the types of one x402 version."""
    if version == 2:
        return PaymentRequirements(
            scheme="exact",
            network="eip155:84532",
            asset=contracts.USDC_ADDRESS,
            amount=str(amount_atomic),
            pay_to=pay_to,
            max_timeout_seconds=300,
            extra=EXTRA,
        )
    return PaymentRequirementsV1(
        scheme="exact",
        network="base-sepolia",
        max_amount_required=str(amount_atomic),
        resource="http://127.0.0.1/page",
        description="a page",
        mime_type="text/plain",
        pay_to=pay_to,
        max_timeout_seconds=300,
        asset=contracts.USDC_ADDRESS,
        extra=EXTRA,
    )


@dataclass(frozen=True, kw_only=True)
class Payment:
    """One signed payment with the requirements it was made for, as facilitators are asked."""

    body: dict[str, Any]

    @property
    def nonce(self) -> bytes:
        """Of its authorization."""
        return bytes.fromhex(self.body["paymentPayload"]["payload"]["authorization"]["nonce"][2:])

    @property
    def payer(self) -> str:
        """Of its authorization."""
        return str(self.body["paymentPayload"]["payload"]["authorization"]["from"])


def sign_payment(
    account: LocalAccount, pay_to: str, amount_atomic: int, *, version: int = 2
) -> Payment:
    """Let the official client sign what the page costs."""
    wanted = requirements(pay_to, amount_atomic, version=version)
    required = PaymentRequired if version == 2 else PaymentRequiredV1
    client = register_exact_evm_client(x402ClientSync(), account)
    payload = client.create_payment_payload(required(accepts=[wanted]))
    return Payment(
        body={
            "x402Version": version,
            "paymentPayload": payload.model_dump(by_alias=True, exclude_none=True),
            "paymentRequirements": wanted.model_dump(by_alias=True, exclude_none=True),
        }
    )


def sign_as_contract_wallet(
    chain: SimulatedChain, owner: LocalAccount, pay_to: str, amount_atomic: int
) -> tuple[Payment, str]:
    """A payment by a wallet that need not exist yet (ERC-6492), and the wallet's address."""
    factory = ContractCaller(chain=chain, address=contracts.WALLET_FACTORY_ADDRESS)
    salt = secrets.token_bytes(32)
    where = "walletAddress(address,bytes32)"
    wallet = to_checksum_address(factory.read(where, owner.address, salt, returns="address"))
    payment = sign_payment(owner, pay_to, amount_atomic)
    payload = payment.body["paymentPayload"]["payload"]
    payload["authorization"]["from"] = wallet
    message = eip3009.authorization(
        wallet,
        pay_to,
        amount_atomic,
        valid_after=int(payload["authorization"]["validAfter"]),
        valid_before=int(payload["authorization"]["validBefore"]),
        nonce=payment.nonce,
    )
    create = call_data("createWallet(address,bytes32)", (owner.address, salt))
    parts = [contracts.WALLET_FACTORY_ADDRESS, create, eip3009.sign(owner, message)]
    payload["signature"] = "0x" + (encode(["address", "bytes", "bytes"], parts) + ERC6492).hex()
    return payment, wallet


async def get_json(url: str) -> Any:
    """GET something that must answer 200 with JSON."""
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session, session.get(url) as response:
        assert response.status == 200
        return await response.json()


async def ask(url: str, endpoint: str, payment: Payment) -> dict[str, Any]:
    """Call a facilitator and insist on 200."""
    async with (
        aiohttp.ClientSession(timeout=TIMEOUT) as session,
        session.post(f"{url}/{endpoint}", json=payment.body) as response,
    ):
        assert response.status == 200, await response.text()
        answer: dict[str, Any] = await response.json()
        return answer


@asynccontextmanager
async def shop(
    facilitator_url: str, pay_to: str, amount_atomic: int, *, version: int
) -> AsyncIterator[str]:
    """Serve the paid page; yields its URL."""
    wanted = requirements(pay_to, amount_atomic, version=version)

    async def page(request: web.Request) -> web.Response:
        sent = request.headers.get("PAYMENT-SIGNATURE" if version == 2 else "X-PAYMENT")
        if sent is None:
            return _unpaid(wanted, version)
        body = {
            "x402Version": version,
            "paymentPayload": json.loads(base64.b64decode(sent)),
            "paymentRequirements": wanted.model_dump(by_alias=True, exclude_none=True),
        }
        payment = Payment(body=body)
        assert (await ask(facilitator_url, "verify", payment))["isValid"]
        settled = await ask(facilitator_url, "settle", payment)
        name = "PAYMENT-RESPONSE" if version == 2 else "X-PAYMENT-RESPONSE"
        receipt = base64.b64encode(json.dumps(settled).encode()).decode()
        return web.Response(text="paid content", headers={name: receipt})

    app = web.Application()
    app.router.add_get("/page", page)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/page"
    finally:
        await runner.cleanup()


async def buy(url: str, account: LocalAccount) -> tuple[int, str, dict[str, Any]]:
    """Get the page with the official client on requests: status, text, receipt."""
    return await asyncio.to_thread(_buy, url, account)


def _buy(url: str, account: LocalAccount) -> tuple[int, str, dict[str, Any]]:
    client = register_exact_evm_client(x402ClientSync(), account)
    with x402_requests(client) as session:
        answer = session.get(url, timeout=20)
    headers = answer.headers
    receipt = headers.get("PAYMENT-RESPONSE") or headers.get("X-PAYMENT-RESPONSE") or "e30="
    return answer.status_code, answer.text, json.loads(base64.b64decode(receipt))


def _unpaid(wanted: Any, version: int) -> web.Response:
    if version == 1:
        body = PaymentRequiredV1(accepts=[wanted], error="payment required")
        return web.json_response(body.model_dump(by_alias=True, exclude_none=True), status=402)
    required = PaymentRequired(accepts=[wanted])
    shown = json.dumps(required.model_dump(by_alias=True, exclude_none=True)).encode()
    return web.Response(status=402, headers={"PAYMENT-REQUIRED": base64.b64encode(shown).decode()})
