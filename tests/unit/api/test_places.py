"""When a call takes its place, and what becomes of it if there is none."""

import asyncio
import inspect
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request
from tests.support import fake_leases, wallets
from tests.support.api_fixtures import NETWORK, make_api
from tests.support.asgi import Asgi

from pve402.api import caller, gate, visit
from pve402.api.peers import listener
from pve402.api.transport import address, guard
from pve402.domain import errors
from pve402.leases import service

ALICE = f"{NETWORK}:{wallets.ALICE.address.lower()}"
TOKEN = "token-0123456789abcdef"
BEARER = {"authorization": f"Bearer {TOKEN}"}
LIMITS = guard.GuardLimits(
    requests=9, paid_requests=1, request_seconds=5.0, paid_request_seconds=5.0
)


def overloaded(*_: Any) -> Any:
    """Find no place."""
    raise errors.Overloaded


async def test_a_call_that_finds_no_place_is_not_charged(monkeypatch: pytest.MonkeyPatch):
    charged: list[bool] = []

    async def charge() -> None:
        charged.append(True)

    async def admitted(*_: Any, **_named: Any) -> caller.Call:
        payer = service.Caller(owner=ALICE)
        return caller.Call(caller=payer, lease=fake_leases.make_lease(ALICE), charge=charge)

    monkeypatch.setattr(caller, "admit", admitted)
    monkeypatch.setattr(guard, "hold", overloaded)
    work = SimpleNamespace(is_closing=False)
    context = SimpleNamespace(work=work, leases=fake_leases.FakeLeases())
    app = SimpleNamespace(state=SimpleNamespace(context=context))
    request = Request({"type": "http", "app": app, "headers": []})
    door = visit.streaming("exec", "A call")

    with pytest.raises(errors.Overloaded):
        await visit.enter(request, door, lambda *_: None, overloaded)

    assert charged == []


async def test_paying_leaves_a_long_call_its_place():
    seen: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        guard.hold(Request(scope), 60, "lease")
        guard.allow_time_for_payment(Request(scope), "wallet")
        seen.append(made.long.under_way)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    made = guard.Guard(app, limits=LIMITS)

    assert (await Asgi(made).get("/")).status == 200
    assert (seen, made.long.under_way, made.known.under_way) == ([1], 0, 0)


async def test_the_unfinished_body_of_a_token_holder_takes_nobodys_place():
    api = make_api(paid_requests=1)
    made = api.leases.add(fake_leases.make_lease(ALICE))
    api.access.callers[TOKEN] = service.Caller(owner=ALICE, lease_id=made.lease_id)
    waits = asyncio.Event()

    async def receive() -> Any:
        waits.set()
        await asyncio.Event().wait()

    async def send(_message: Any) -> None:
        return

    headers = [*BEARER.items(), ("content-type", "application/json")]
    scope = api.client._scope("POST", "/management/console/10000", headers, 100)
    silent = asyncio.create_task(api.app(scope, receive, send))
    await asyncio.wait_for(waits.wait(), 5)

    assert (await api.client.get("/lease/10000", headers=BEARER)).status == 200
    silent.cancel()
    await asyncio.gather(silent, return_exceptions=True)


async def test_a_purchase_that_finds_no_place_is_closed_unstarted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(guard, "allow_time_for_payment", overloaded)
    options: Any = SimpleNamespace(public_url="https://x.example.com", min_remaining_seconds=30)
    made = gate.Gate(options, address.ClientAddresses(()))
    anything: Any = SimpleNamespace(payment=SimpleNamespace(payer="0x12"), by_key=True)

    async def action() -> None:
        pytest.fail("it was started")

    unstarted = action()
    with pytest.raises(errors.Overloaded):
        await made.buy(anything, anything, anything, unstarted)

    assert inspect.getcoroutinestate(unstarted) == inspect.CORO_CLOSED


async def test_too_many_calls_of_peers_are_told_to_come_back():
    signer: Any = SimpleNamespace(check=overloaded)
    app: Any = None

    reply = await Asgi(listener._Signed(app, "10.0.0.1:1", signer)).get("/")

    assert (reply.status, reply.code) == (503, "overloaded")
