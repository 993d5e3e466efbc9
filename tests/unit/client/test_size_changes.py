"""Another size from the command line and from Python: what is asked for, and what is shown."""

import json
from typing import Any

import pytest
from aiohttp import web
from tests.support import tenant_service
from tests.unit.client.test_owed import command

from pve402 import client

BEFORE = {"cores": 1, "memoryMB": 512, "diskGB": 8, "minuteUsd": "0.0003"}
ANSWER: dict[str, Any] = {
    "leaseId": tenant_service.LEASE_ID,
    "ctid": "10000",
    "state": "done",
    "problem": None,
    "before": BEFORE,
    "after": {**BEFORE, "cores": 4, "minuteUsd": "0.0009"},
    "expiresAt": "2026-11-21T13:00:00Z",
}
SEEN: list[tuple[str, str, Any]] = []


def serving(**changes: Any) -> Any:
    async def serve(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        SEEN.append((request.method, request.path_qs, json.loads(body) if body else None))
        return web.json_response({**ANSWER, **changes})

    SEEN.clear()
    return tenant_service.serving(serve)


@pytest.mark.parametrize(
    ("words", "method", "sent"),
    [
        ((), "GET", None),
        (("--cores", "4"), "POST", {"cores": 4}),
        (("--memory-mb", "900", "--quote"), "POST", {"memoryMB": 900, "quote": True}),
        (
            ("--disk-gb", "9", "--allow-restart"),
            "POST",
            {"diskGB": 9, "allowRestart": True},
        ),
    ],
)
async def test_the_command_asks_for_what_was_typed(
    words: tuple[str, ...], method: str, sent: dict[str, Any] | None
):
    async with serving() as service:
        code, printed = await command(service, "change", "10000", *words)

    assert code == 0, printed
    asked, path, body = SEEN[-1]
    assert (asked, path) == (method, "/lease/10000/change")
    assert (body or {}).items() >= (sent or {}).items()
    assert "0.0009" in printed


async def test_the_command_says_what_went_wrong():
    async with serving(state="failed", problem="needs_restart") as service:
        code, printed = await command(service, "change", "10000")

    assert (code, "failed: needs_restart" in printed) == (0, True)


async def test_a_quote_needs_a_size():
    async with serving() as service:
        code, printed = await command(service, "change", "10000", "--quote")

    assert (code, SEEN, "--cores" in printed) == (2, [], True)


async def test_python_quotes_changes_and_shows():
    async with serving() as service, client.Client(service.url, token="t") as used:
        quoted = await client.size_changes.quote(used, "10000", cores=4)
        changed = await client.size_changes.change(used, "10000", cores=4, allow_restart=True)
        shown = await client.size_changes.show(used, "10000")

    assert quoted == changed == shown
    assert changed.after.cores == 4
    assert [method for method, _, _ in SEEN] == ["POST", "POST", "GET"]
    assert SEEN[0][2]["quote"] is True
    assert SEEN[1][2]["allowRestart"] is True
