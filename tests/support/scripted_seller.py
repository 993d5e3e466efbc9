"""A service that sells to every tenant and answers as a test says, and what it was paid with."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from tests.support.api_fixtures import NETWORK, PAY_TO
from tests.support.tenant_service import LEASE

from pve402 import schemas
from pve402.payments import protocol

WISH = schemas.LeaseRequest(sku="standard-lxc", runtime_minutes=5, hostname="demo")


@dataclass(kw_only=True)
class Script:
    """A service that answers paid requests from a list, and keeps what it was sent."""

    answers: list[Any]
    url: str = ""
    amount_atomic: int = 2000
    paid: list[dict[str, str]] = field(default_factory=list)
    #: What every request is answered, where it is set, and with what.
    raw: bytes | None = None
    raw_status: int = 200
    raw_headers: dict[str, str] = field(default_factory=dict)
    #: What is changed in the terms of its demand.
    terms: dict[str, Any] = field(default_factory=dict)
    #: Whether its headers are written as HTTP/2 has them.
    lower: bool = False

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if self.raw is not None:
            return web.Response(status=self.raw_status, body=self.raw, headers=self.raw_headers)
        if "PAYMENT-SIGNATURE" not in request.headers:
            terms = protocol.Requirements(
                network=NETWORK,
                amount_atomic=self.amount_atomic,
                pay_to=PAY_TO,
                max_timeout_seconds=600,
                resource_url="http://test",
            )
            challenge = protocol.payment_required([terms])
            headers = dict(challenge.headers)
            if self.terms:
                told = json.loads(base64.b64decode(headers["payment-required"]))
                told["accepts"][0] |= self.terms
                headers["payment-required"] = base64.b64encode(json.dumps(told).encode()).decode()
            if self.lower:
                headers = {name.lower(): value for name, value in headers.items()}
            return web.Response(status=402, body=challenge.body, headers=headers)
        self.paid.append(dict(request.headers))
        answer = self.answers.pop(0)
        if answer is None:
            assert request.transport
            request.transport.close()
            return web.Response()
        status, document, headers = answer
        return web.json_response(document, status=status, headers=headers)


@pytest.fixture
async def script(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Script]:
    made = Script(answers=[])
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def no_wait(_seconds: float) -> None:
        return None

    monkeypatch.setattr(asyncio, "sleep", no_wait)
    yield made
    await runner.cleanup()


def receipt(**facts: Any) -> dict[str, str]:
    known = {"success": True, "transaction": "0x1", "network": NETWORK, "payer": "0x2", **facts}
    return {"PAYMENT-RESPONSE": base64.b64encode(json.dumps(known).encode()).decode()}


PENDING = (503, {"detail": "wait", "code": "order_pending"}, {"Retry-After": "1"})
UNSETTLED = (503, {"detail": "wait", "code": "settlement_pending"}, {})
ACCEPTED = (202, {**LEASE, "status": "provisioning", "accessToken": None, "ctid": ""}, {})
DONE = (200, LEASE, receipt())
