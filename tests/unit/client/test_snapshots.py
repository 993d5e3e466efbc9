"""Snapshots from the command line and from Python: what is asked for, and what is shown."""

import json
from typing import Any

import pytest
from aiohttp import web
from tests.support import tenant_service
from tests.unit.client.test_owed import command

from pve402 import client, sdk

ITEM = {"name": "before", "state": "there", "createdAt": "2026-11-29T12:00:00Z"}
SEEN: list[tuple[str, str, Any]] = []


def serving(**listing: Any) -> Any:
    answer = {"snapshots": [ITEM], "atMost": 3, "possible": True, "rollbackStops": True}

    async def serve(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        SEEN.append((request.method, request.path_qs, json.loads(body) if body else None))
        return web.json_response(ITEM if request.method == "POST" else {**answer, **listing})

    SEEN.clear()
    return tenant_service.serving(serve)


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (("snapshots", "10000"), ("GET", "", None)),
        (("snapshots", "10000", "--delete", "a/b"), ("DELETE", "/a%2Fb", None)),
        (("snapshot", "10000", "before"), ("POST", "", {"name": "before"})),
        (("rollback", "10000", "before", "--yes"), ("POST", "/before/rollback", None)),
    ],
)
async def test_the_commands_ask_for_what_was_typed(words: tuple[str, ...], asked: Any):
    async with serving() as service:
        code, printed = await command(service, *words)

    method, rest, sent = asked
    assert code == 0, printed
    assert SEEN[-1] == (method, f"/lease/10000/snapshots{rest}", sent)
    assert "before" in printed


@pytest.mark.parametrize(
    ("listing", "said"),
    [
        ({}, "1 of 3 snapshots"),
        ({"nextMinuteUsd": "0.00002"}, "snapshots; another one burns 0.00002 USD per minute"),
        ({"snapshots": [{**ITEM, "state": "failed"}]}, "0 of 3 snapshots"),
        ({"snapshots": [{**ITEM, "problem": "container_locked"}]}, "  container_locked"),
        ({"snapshots": [], "atMost": 0}, "this service takes no snapshots"),
        ({"snapshots": [], "possible": False}, "takes no snapshots"),
        ({"possible": None}, "1 of 3 snapshots"),
    ],
)
async def test_the_list_says_whether_more_can_be_taken(listing: dict[str, Any], said: str):
    async with serving(**listing) as service:
        code, printed = await command(service, "snapshots", "10000")

    assert (code, said in printed) == (0, True)


async def test_nobody_rolls_back_by_accident():
    async with serving() as service:
        code, printed = await command(service, "rollback", "10000", "before")

    assert (code, SEEN, "--yes" in printed) == (2, [], True)


async def test_a_box_comes_back_to_an_earlier_state():
    async with serving() as service, client.Client(service.url, token="t") as used:
        own = sdk.AsyncSnapshots(used, tenant_service.LEASE_ID)
        taken = await own.take("before")
        room = await own.show()
        back = await own.roll_back("before")
        await own.delete("before")

    path = f"/lease/{tenant_service.LEASE_ID}/snapshots"
    assert (taken.state, back.name, room.possible) == ("there", "before", True)
    assert [(method, asked) for method, asked, _ in SEEN] == [
        *(("POST", path), ("GET", path)),
        *(("POST", f"{path}/before/rollback"), ("DELETE", f"{path}/before")),
    ]
