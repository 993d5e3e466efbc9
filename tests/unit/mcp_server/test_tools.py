"""Tools whose work takes longer than a call, or meets a limit of the service."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from mcp import Client
from tests.support import mcp_seller, tenant_service
from tests.support.scripted_seller import DONE
from tests.support.tenant_service import EXEC_ID, LEASE_ID

from pve402 import client
from pve402.mcp_server import orders, server
from pve402.mcp_server.desk import Desk, Options

OTHER_ID = "e" + "1" * 24
ENDED = 'event: exit\ndata: {"exitCode": 0, "timedOut": false, "truncated": false}\n\n'


@pytest.fixture(autouse=True)
def of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep ledger, tokens and orders of a test apart."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def holding(url: str) -> Desk:
    """A desk of a user who has a lease's token, and no wallet."""
    held = client.held.Held(lease_id=LEASE_ID, ctid="10000", hostname="demo", token="t" * 20)
    client.held.Leases().keep(url, held)
    return Desk(Options(url=url, key=None, limits=mcp_seller.LIMITS))


async def answer(asking: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool that succeeds."""
    result = await asking.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert result.structured_content
    return dict(result.structured_content)


async def test_an_order_that_takes_longer_than_a_call_is_come_back_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(orders, "WAIT_SECONDS", 0.1)
    ready = asyncio.Event()

    async with mcp_seller.selling(DONE) as seller:

        async def slow(request: web.Request) -> web.StreamResponse:
            if "PAYMENT-SIGNATURE" in request.headers:
                await ready.wait()
            return await seller.handle(request)

        seller.service.handler = slow
        async with Client(server.build(mcp_seller.desk(seller, patience_seconds=60.0))) as asking:
            placed = await answer(asking, "lease", name="box", minutes=5)
            listed = await answer(asking, "list_leases")
            again = await answer(asking, "lease", name="box", minutes=5)
            looked = await answer(asking, "check_order", order_id="lease:box", wait_seconds=0)
            ready.set()
            done = await answer(asking, "check_order", order_id="lease:box")

    assert (placed["state"], placed["order_id"]) == ("in_progress", "lease:box")
    assert (listed["open_orders"], "`check_order`" in listed["next"]) == (["lease:box"], True)
    assert again["state"] == looked["state"] == "in_progress"
    assert "Nothing was ordered" in again["note"]
    assert (done["state"], done["lease"]["lease_id"]) == ("done", LEASE_ID)
    assert len(set(seller.paid)) == 1


async def test_a_box_that_keeps_too_many_commands_forgets_those_that_ended() -> None:
    kept = {EXEC_ID: "running", OTHER_ID: "exited"}

    async def full(request: web.Request) -> web.StreamResponse:
        if request.method == "DELETE":
            del kept[request.path.rpartition("/")[2]]
            return web.json_response(mcp_seller.STARTED)
        if request.method == "POST":
            if len(kept) == 2:
                return tenant_service.refusal(429, "too_many_commands", "full")
            return web.json_response(mcp_seller.STARTED)
        if request.path.endswith(EXEC_ID):
            return web.Response(text=ENDED, content_type="text/event-stream")
        return web.json_response([_item(*one) for one in kept.items()])

    async with (
        tenant_service.serving(full) as service,
        Client(server.build(holding(service.url))) as asking,
    ):
        ran = await answer(asking, "run", lease="demo", command="true")

    assert (ran["state"], ran["exit_code"]) == ("exited", 0)
    assert OTHER_ID not in kept


@pytest.mark.parametrize(
    ("url", "is_told"),
    [
        ("https://8000-x.ports.example.com/", True),
        ("javascript:alert(1)", False),
        ("https://a b", False),
        ("https://a/\x1b[2J", False),
    ],
)
async def test_only_an_address_of_the_web_is_told(url: str, is_told: bool) -> None:
    item = {"port": 8000, "access": "public", "url": url, "createdAt": "2026-11-21T12:00:00Z"}
    publishing = tenant_service.says({**item, "expiresAt": None})

    async with (
        tenant_service.serving(publishing) as service,
        Client(server.build(holding(service.url))) as asking,
    ):
        told = await asking.call_tool("publish", {"lease": "demo", "port": 8000, "public": True})

    assert told.is_error is not is_told
    assert (url in str(told.structured_content)) == is_told


def _item(exec_id: str, state: str) -> dict[str, Any]:
    return {
        "execId": exec_id,
        "state": state,
        "detached": True,
        "exitCode": 0,
        "timedOut": False,
        "truncated": False,
        "stdoutBytes": 0,
        "stderrBytes": 0,
        "startedAt": "2026-11-21T12:00:00Z",
    }
