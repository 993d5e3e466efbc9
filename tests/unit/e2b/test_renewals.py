"""Time for sandboxes is bought once, whatever is repeated, interrupted or raced."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.support import e2b_gateway, tenant_service
from tests.support.e2b_gateway import SANDBOX_ID, Gateway
from tests.support.scripted_seller import DONE, UNSETTLED, Script, receipt
from tests.support.tenant_service import ITEM, KEY, LEASE

from pve402 import client
from pve402.client import ledger

TIMEOUT = f"/sandboxes/{SANDBOX_ID}/timeout"
FULL = (409, {"detail": "full", "code": "no_capacity"}, {})


def until(seconds_from_now: float) -> str:
    """A time as the service tells it."""
    return datetime.fromtimestamp(time.time() + seconds_from_now, UTC).isoformat()


RENEWED = (200, {**LEASE, "expiresAt": until(3600)}, receipt())


@dataclass(kw_only=True)
class Seller:
    """Sells renewals as the script says, each as soon as `sells` is set."""

    script: Script
    #: For how long the lease is paid, as the service says.
    paid_seconds: float = 60.0
    ended: int = 0
    url: str = ""
    sells: asyncio.Event = field(default_factory=asyncio.Event)
    is_asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/renew"):
            if "PAYMENT-SIGNATURE" in request.headers:
                self.is_asked.set()
                await self.sells.wait()
            return await self.script.handle(request)
        self.ended += request.method == "DELETE"
        return web.json_response({**ITEM, "expiresAt": until(self.paid_seconds)})

    @property
    def paid(self) -> set[str]:
        """The payments that came."""
        return {headers["PAYMENT-SIGNATURE"] for headers in self.script.paid}


@asynccontextmanager
async def selling(folder: Path, *answers: Any) -> AsyncIterator[tuple[Seller, Gateway]]:
    """A gateway with a wallet, at a service that answers so."""
    seller = Seller(script=Script(answers=list(answers)))
    seller.sells.set()
    async with tenant_service.serving(seller.handle) as service:
        seller.url = service.url
        async with gateway(folder, service.url) as made:
            made.kept.keep(e2b_gateway.noted(ends_at=time.time() + 60, paid_until=time.time() + 60))
            yield seller, made


@asynccontextmanager
async def gateway(folder: Path, url: str) -> AsyncIterator[Gateway]:
    book = ledger.Ledger(folder / "spending.sqlite3")
    async with (
        client.Client(url, key=KEY, book=book, patience_seconds=0.0) as service,
        e2b_gateway.running(folder, service) as made,
    ):
        yield made


async def test_a_renewal_whose_outcome_was_unknown_is_not_paid_again(tmp_path: Path) -> None:
    async with selling(tmp_path, UNSETTLED, RENEWED) as (seller, made):
        lost = await made.ask("POST", TIMEOUT, json={"timeout": 600})
        again = await made.ask("POST", TIMEOUT, json={"timeout": 700})

        assert lost[0] == 500
        assert "see `pve402 ls` before you try again" in lost[1]["message"]
        assert again[0] == 204
        assert (len(seller.script.paid), len(seller.paid)) == (2, 1)


async def test_a_gateway_that_was_ended_while_it_paid_does_not_pay_again(tmp_path: Path) -> None:
    async with selling(tmp_path, UNSETTLED, RENEWED) as (seller, made):
        await made.ask("POST", TIMEOUT, json={"timeout": 600})
        async with gateway(tmp_path, seller.url) as later:
            status, _, _ = await later.ask("POST", TIMEOUT, json={"timeout": 600})

        assert status == 204
        assert len(seller.paid) == 1


async def test_what_was_refused_is_paid_anew(tmp_path: Path) -> None:
    async with selling(tmp_path, FULL, RENEWED) as (seller, made):
        refused = await made.ask("POST", TIMEOUT, json={"timeout": 600})
        again = await made.ask("POST", TIMEOUT, json={"timeout": 600})

        assert (refused[0], again[0]) == (429, 204)
        assert len(seller.paid) == 2


async def test_time_that_somebody_else_bought_is_not_bought_again(tmp_path: Path) -> None:
    async with selling(tmp_path) as (seller, made):
        seller.paid_seconds = 3600

        status, _, _ = await made.ask("POST", TIMEOUT, json={"timeout": 600})

        assert status == 204
        assert seller.paid == set()


async def test_a_sandbox_is_not_ended_while_more_time_is_paid(tmp_path: Path) -> None:
    async with selling(tmp_path, RENEWED) as (seller, made):
        seller.sells.clear()
        asked = asyncio.create_task(made.ask("POST", TIMEOUT, json={"timeout": 600}))
        await seller.is_asked.wait()
        made.kept.extend(SANDBOX_ID, time.time(), time.time() + 60)
        await asyncio.sleep(1.5)  # the gateway looks every second
        seller.sells.set()

        assert (await asked)[0] == 204
        assert seller.ended == 0
        assert (await made.ask("GET", f"/sandboxes/{SANDBOX_ID}"))[0] == 200


@pytest.mark.parametrize("timeout", [0, 30])
async def test_what_is_paid_already_costs_nothing(tmp_path: Path, timeout: int) -> None:
    async with selling(tmp_path, DONE) as (seller, made):
        await made.ask("POST", TIMEOUT, json={"timeout": timeout})

        assert seller.paid == set()
