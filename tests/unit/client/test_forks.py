"""Copies of a container from the command line and from Python: what is asked for, what is shown."""

import json
from typing import Any

import pytest
from aiohttp import web
from tests.support import tenant_service
from tests.support.tenant_service import LEASE, LEASE_ID
from tests.unit.client.test_owed import command

import pve402
from pve402 import client, schemas
from pve402.client import outcomes, transport

OTHER_ID = "l" + "1" * 25
OTHER = {**LEASE, "leaseId": OTHER_ID, "hostname": "copy-2", "accessToken": "other-token"}
OWED = {**LEASE, "leaseId": "l" + "2" * 25, "ctid": None, "status": "failed", "accessToken": None}
FORKED = {**LEASE, "hostname": "copy", "forkedFrom": LEASE_ID, "others": [OTHER, OWED]}
OFFER = {"possible": False, "needsStop": True, "problem": "fork_needs_stop", "atMost": 3}
SEEN: list[tuple[str, str, Any]] = []


def serving() -> Any:
    """A service that copies containers, and asks for no payment."""

    async def serve(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        SEEN.append((request.method, request.path_qs, json.loads(body) if body else None))
        if request.method == "POST":
            return web.json_response(FORKED)
        if "/fork" in request.path:
            return web.json_response({**OFFER, "minuteUsd": "0.0001"})
        return web.json_response(tenant_service.ITEM)

    SEEN.clear()
    return tenant_service.serving(serve)


async def test_the_command_asks_for_copies_and_keeps_their_tokens():
    async with serving() as service:
        words = ("--count", "2", "--hostname", "copy", "--snapshot", "before", "--yes")
        code, printed = await command(service, "fork", LEASE_ID, *words)

    wish = {"runtimeMinutes": 60, "count": 2, "snapshot": "before", "hostname": "copy"}
    (method, path, sent) = next(one for one in SEEN if one[0] == "POST")
    assert (method, path) == ("POST", f"/lease/{LEASE_ID}/fork")
    assert wish.items() <= sent.items()
    assert (code, "copy-2" in printed, OTHER_ID in printed) == (0, True, True), printed
    assert "failed" in printed
    assert "other-token" not in printed


async def test_the_command_tells_whether_it_can_be_copied():
    async with serving() as service:
        code, printed = await command(service, "fork", LEASE_ID, "--check", "--snapshot", "a b")

    assert (code, "fork_needs_stop" in printed) == (0, True), printed
    assert ("GET", f"/lease/{LEASE_ID}/fork?snapshot=a%20b", None) in SEEN


async def test_each_copy_is_used_with_its_own_token():
    wish = schemas.ForkRequest(runtime_minutes=5, count=2)
    async with serving() as service, client.Client(service.url, token="t") as tenant:
        bought = await client.forks.fork(tenant, LEASE_ID, wish)
        opened = [await tenant.authorization(one) for one in (LEASE_ID, OTHER_ID)]

    assert [one.lease_id for one in bought.answer.others] == [OTHER_ID, OWED["leaseId"]]
    assert opened == [{"Authorization": f"Bearer {name}-token"} for name in ("lease", "other")]


async def test_a_box_is_copied_into_boxes():
    async with (
        serving() as service,
        pve402.AsyncBox.connect(service.url, LEASE_ID, token="t") as box,
    ):
        offer = await box.can_fork()
        copies = await box.fork(minutes=5, count=2, ends_on_exit=False)
        for copy in copies:
            await copy.close()

    assert (offer.possible, offer.needs_stop, offer.at_most) == (False, True, 3)
    assert [copy.hostname for copy in copies] == ["copy", "copy-2"]
    assert next(sent for method, _, sent in SEEN if method == "POST")["count"] == 2


def test_copies_that_are_there_are_an_answer_while_another_is_made_again():
    waits = {**FORKED, "status": "provisioning", "accessToken": None}
    bodies = [json.dumps({**waits, "others": others}).encode() for others in ([OTHER], [OWED])]
    promised = [transport.Reply(status=202, headers={}, body=body) for body in bodies]

    assert outcomes.final(promised[0], "k" * 22) is promised[0]
    with pytest.raises(client.OutcomeUnknown):
        outcomes.final(promised[1], "k" * 22)
