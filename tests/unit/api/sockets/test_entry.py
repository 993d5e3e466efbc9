"""A websocket is let in as any other request of its wallet is."""

import dataclasses
from typing import Any

import pytest
from fastapi import WebSocket
from tests.support import fake_leases
from tests.support.api_fixtures import Api

from pve402.api.sockets import entry
from pve402.domain import errors
from pve402.leases import request_rates, service

TOKEN = "token-0123456789abcdef"
OWNER = f"eip155:84532:0x{'0a' * 20}"


async def test_a_websocket_counts_as_a_request_of_its_wallet(api: Api) -> None:
    made = api.leases.add(fake_leases.make_lease(OWNER))
    api.access.callers[TOKEN] = service.Caller(owner=OWNER, lease_id=made.lease_id)
    state = api.app.state
    no_database: Any = None
    rates = request_rates.RequestRates(no_database, of_wallet=1)
    state.context = dataclasses.replace(state.context, rates=rates)
    await rates.count_caller(OWNER, by_key=False)

    with pytest.raises(errors.RateLimited):
        async with entry.admitted(opened(api, made.ctid), TOKEN):
            pass


def opened(api: Api, ctid: str) -> WebSocket:
    """A websocket for a lease."""

    async def nothing(*_: Any) -> Any:
        raise AssertionError

    path = f"/management/exec/{ctid}"
    scope = {"type": "websocket", "app": api.app, "path": path, "headers": []}
    return WebSocket({**scope, "path_params": {"ctid": ctid}}, nothing, nothing)
