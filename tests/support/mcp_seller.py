"""A service in this process that an agent buys from; it answers paid requests from a list."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from tests.support import tenant_service
from tests.support.scripted_seller import Script
from tests.support.tenant_service import EXEC_ID, KEY, TenantService

from pve402.client import spending
from pve402.mcp_server.desk import Desk, Options

LIMITS = spending.Limits(per_call_micro_usd=1_000_000, per_hour_micro_usd=5_000_000)
STARTED: dict[str, Any] = {
    "ctid": "10000",
    "upid": EXEC_ID,
    "execId": EXEC_ID,
    "output": "",
    "stdout": "",
    "stderr": "",
    "encoding": "base64",
    "exitCode": None,
    "timedOut": False,
    "truncated": False,
    "durationMs": None,
    "detached": True,
    "state": "running",
}
"""The answer for a detached command that has started."""
BOUNDS = {"min": 1, "max": 1024}
CATALOGUE: dict[str, Any] = {
    "skus": [
        {
            "sku": "standard-lxc",
            "description": "a box",
            **dict.fromkeys(("baseUsd", "coreMinuteUsd", "memoryGBMinuteUsd"), "0.001"),
            "diskGBMinuteUsd": "0.001",
            **dict.fromkeys(("cores", "memoryMB", "diskGB", "runtimeMinutes"), BOUNDS),
            "templates": [],
        }
    ],
    "managementFeeUsd": "0.001",
    "networks": [],
}


@dataclass(kw_only=True)
class Seller:
    """What the service answers, and what it was paid with."""

    script: Script
    price_atomic: int = 2000
    leases: list[Any] = field(default_factory=list)
    #: What it answers to a GET, by path.
    shown: dict[str, Any] = field(default_factory=dict)
    service: TenantService = field(init=False)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        if request.method == "GET" and request.path in self.shown:
            return web.json_response(self.shown[request.path])
        if request.path.startswith(("/lease/", "/images/")) and request.path != "/lease/quote":
            return await self.script.handle(request)
        documents = {
            "/management/list": self.leases,
            "/catalogue": CATALOGUE,
            "/lease/quote": self._quote(),
        }
        return web.json_response(documents[request.path])

    @property
    def paid(self) -> list[str]:
        """The payments that were sent, each as often as it came."""
        return [headers["PAYMENT-SIGNATURE"] for headers in self.script.paid]

    def _quote(self) -> dict[str, Any]:
        offer = {
            "network": "base-sepolia",
            "networkId": "eip155:84532",
            "asset": "0x",
            "symbol": "USDC",
            "decimals": 6,
            "amount": str(self.price_atomic),
            "payTo": "0x",
        }
        sizes = {"runtimeMinutes": 5, "cores": 1, "memoryMB": 512, "diskGB": 8}
        return {"sku": "s", **sizes, "priceUsd": "0.002", "accepts": [offer], "available": True}


@contextlib.asynccontextmanager
async def selling(*answers: Any) -> AsyncIterator[Seller]:
    """Run such a service for the block."""
    seller = Seller(script=Script(answers=list(answers)))
    async with tenant_service.serving(seller.handle) as service:
        seller.service = service
        yield seller


def desk(seller: Seller, **options: Any) -> Desk:
    """A desk at this service, as a new process has it."""
    chosen = {"key": KEY, "limits": LIMITS, "patience_seconds": 0.0, **options}
    return Desk(Options(url=seller.service.url, **chosen))
