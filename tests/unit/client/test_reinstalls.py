"""A reinstallation from the command line and from Python: what is asked for, what is shown."""

import json
from typing import Any

from aiohttp import web
from tests.support import tenant_service
from tests.unit.client.test_owed import command

from pve402 import client, schemas

ANSWER: dict[str, Any] = {
    "leaseId": tenant_service.LEASE_ID,
    "ctid": "10000",
    "state": "done",
    "problem": None,
    "template": None,
    "askedAt": "2026-11-21T12:00:00Z",
    "endedAt": "2026-11-21T12:00:09Z",
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


async def test_the_command_asks_for_what_was_typed():
    words = ("--template", "debian", "--env", "A=1", "--delete-snapshots", "--yes")
    async with serving() as service:
        code, printed = await command(service, "reinstall", "10000", *words)

    assert code == 0, printed
    asked, path, body = SEEN[-1]
    assert (asked, path) == ("POST", "/lease/10000/reinstall")
    sent = {"template": "debian", "env": {"A": "1"}, "deleteSnapshots": True}
    sent["password"] = "a password"  # of PVE402_ROOT_PASSWORD there
    assert {name: body[name] for name in sent} == sent
    assert "done; the lease ends 2026-11-21 13:00:00Z" in printed


async def test_the_command_destroys_nothing_unasked():
    async with serving() as service:
        code, printed = await command(service, "reinstall", "10000")

    assert (code, SEEN, "--yes" in printed) == (2, [], True)


async def test_the_command_shows_what_went_wrong():
    async with serving(state="reinstalling", problem="not_created") as service:
        code, printed = await command(service, "reinstall", "10000", "--show")

    assert (code, SEEN[-1][0]) == (0, "GET")
    assert "reinstalling: not_created" in printed


async def test_python_reinstalls_and_shows():
    wish = schemas.ReinstallRequest(password="correct horse")
    async with serving() as service, client.Client(service.url, token="t") as used:
        made = await client.reinstalls.reinstall(used, "10000", wish)
        shown = await client.reinstalls.show(used, "10000")

    assert made == shown
    assert [method for method, _, _ in SEEN] == ["POST", "GET"]
