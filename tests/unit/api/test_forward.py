"""A call for a guest whose terminal another replica holds, while that replica cannot be reached."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from pve402.api.peers import forward
from pve402.guests import holder, peers
from pve402.hub import errors


def call_of_a_tenant() -> Any:
    """A call whose client waits; peers are out of reach."""

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(*_: Any, **__: Any) -> Any:
        raise peers.PeerUnreachable

    scope = {"type": "http", "method": "GET", "path": "/x", "query_string": b"", "headers": []}
    return SimpleNamespace(
        request=Request(scope, receive),
        lease=SimpleNamespace(lease_id="lease"),
        work=SimpleNamespace(peers=SimpleNamespace(send=send), owners=None),
        exec_id="",
        body=b"",
        target="/x",
    )


async def test_a_holder_out_of_reach_is_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holder, "PAUSE_SECONDS", 0.0)
    tries = 0

    async def act() -> Response:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise errors.Moved(owner_address="http://127.0.0.1:1")
        return Response("here")

    answer = await forward.at_owner(call_of_a_tenant(), act)

    assert (answer.body, tries) == (b"here", 3)


async def test_a_holder_that_stays_out_of_reach_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(holder, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(holder, "FIND_SECONDS", 0.05)

    async def act() -> Response:
        raise errors.Moved(owner_address="http://127.0.0.1:1")

    with pytest.raises(errors.Moved):
        await asyncio.wait_for(forward.at_owner(call_of_a_tenant(), act), 10)
