"""A service that answers tenants' tools as a test says, and keeps what it was asked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from tests.support import sign_in_texts, wallets

from pve402 import client

KEY = "0x" + "a1" * 32
TOKEN = "t" * 20
LEASE_ID = "l" + "0" * 25
EXEC_ID = "e" + "0" * 24
LEASE: dict[str, Any] = {
    "leaseId": LEASE_ID,
    "status": "active",
    "ctid": "10000",
    "expiresAt": "2026-11-21T13:00:00Z",
    "message": "",
    "ownerWallet": wallets.ALICE.address,
    "accessToken": "lease-token",
    "sku": "standard-lxc",
    "hostname": "demo",
    "cores": 1,
    "memoryMB": 512,
    "diskGB": 8,
    "createdAt": "2026-11-21T12:00:00Z",
    "deletesAt": None,
    "network": "base-sepolia",
    "amount": "2000",
    "transaction": "0x" + "5e" * 32,
}
ITEM: dict[str, Any] = {
    **{name: value for name, value in LEASE.items() if name not in {"accessToken", "amount"}},
    "vmStatus": {"status": "running"},
    "endedAt": None,
    "endReason": None,
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request, without the wallet's sign-in."""

    method: str
    path: str
    headers: dict[str, str]

    @property
    def token(self) -> str:
        """The bearer token it carries."""
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    @property
    def pays(self) -> bool:
        """Whether it carries a payment."""
        return any(name.upper() in {"PAYMENT-SIGNATURE", "X-PAYMENT"} for name in self.headers)


@dataclass(kw_only=True)
class TenantService:
    """Signs wallets in with `wallet-1`, `wallet-2`, ...; asks `handler` for anything else."""

    handler: Handler
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    sign_ins: int = 0
    #: Tokens that are refused, as revoked ones are.
    revoked: set[str] = field(default_factory=set)
    #: What the challenge says instead of the service's own address.
    named: str | None = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/auth/challenge":
            return self._challenge(await request.json())
        if request.path == "/auth/token":
            return self._issue(await request.json())
        asked = Asked(method=request.method, path=request.path_qs, headers=dict(request.headers))
        self.asked.append(asked)
        if asked.token in self.revoked:
            return refusal(401, "token_revoked", "The token is revoked.")
        return await self.handler(request)

    def _challenge(self, wish: dict[str, Any]) -> web.Response:
        challenge = {
            "message": sign_in_texts.written(self.url, wish["address"], domain=self.named),
            "nonce": sign_in_texts.NONCE,
            "expiresAt": LEASE["expiresAt"],
        }
        return web.json_response(challenge)

    def _issue(self, proof: dict[str, Any]) -> web.Response:
        self.sign_ins += 1
        issued = {
            "accessToken": f"wallet-{self.sign_ins}",
            "expiresAt": None,
            "leaseId": proof.get("leaseId"),
            "owner": "eip155:84532:0x",
            "scope": ["*"],
        }
        return web.json_response(issued)


def refusal(status: int, code: str, detail: str, **headers: str) -> web.Response:
    """An answer that refuses."""
    return web.json_response({"code": code, "detail": detail}, status=status, headers=headers)


def answers(*given: web.StreamResponse | Handler) -> Handler:
    """Give these answers in order."""
    left = list(given)

    async def handle(request: web.Request) -> web.StreamResponse:
        answer = left.pop(0)
        return answer if isinstance(answer, web.StreamResponse) else await answer(request)

    return handle


def says(document: Any, status: int = 200) -> Handler:
    """Always answer with this JSON."""

    async def handle(_request: web.Request) -> web.StreamResponse:
        return web.Response(
            text=json.dumps(document), status=status, content_type="application/json"
        )

    return handle


def file(data: bytes, **headers: str) -> Handler:
    """Always answer with this file."""

    async def handle(_request: web.Request) -> web.StreamResponse:
        return web.Response(
            body=data, headers={"Content-Type": "application/octet-stream", **headers}
        )

    return handle


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[TenantService]:
    """Serve on a free port."""
    made = TenantService(handler=handler)
    application = web.Application(client_max_size=2**30)
    application.router.add_route("*", "/{path:.*}", made.handle)
    async with AsyncExitStack() as stack:
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield made


@asynccontextmanager
async def tenant_of(handler: Handler) -> AsyncIterator[client.Client]:
    """A client with a token, of a service that answers as the handler does."""
    async with serving(handler) as service, client.Client(service.url, token=TOKEN) as tenant:
        yield tenant
