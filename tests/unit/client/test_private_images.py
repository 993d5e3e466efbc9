"""Private images from the command line and from Python: what is asked for, and what is shown."""

import json
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web
from tests.support import tenant_service
from tests.unit.client.test_owed import command

from pve402 import client, sdk
from pve402.client import outcomes, transport

IMAGE_ID = "l" + "7" * 25
ITEM: dict[str, Any] = {
    "imageId": IMAGE_ID,
    "template": f"private/{IMAGE_ID}",
    "name": "tools",
    "status": "active",
    "diskGB": 8,
    "minuteUsd": "0.00032",
    "createdAt": "2026-11-29T12:00:00Z",
    "expiresAt": "2026-12-29T12:00:00Z",
    "deletesAt": None,
    "sku": "basic-lxc",
    "sourceLeaseId": None,
    "sourceTemplate": None,
    "endReason": None,
    "ownerWallet": "0x0",
}
BOUGHT = {"message": "saved", "accessToken": "pve402_x", "network": "base-sepolia"}
BOUGHT |= {"amount": "1", "transaction": "0x1"}
SEEN: list[tuple[str, str, Any]] = []


def serving() -> Any:
    async def serve(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        SEEN.append((request.method, request.path_qs, json.loads(body) if body else None))
        if request.method == "POST":
            return web.json_response({**ITEM, **BOUGHT})
        if request.path.endswith("private"):
            return web.json_response({"images": [ITEM], "atMost": 5})
        return web.json_response(ITEM)

    SEEN.clear()
    return tenant_service.serving(serve)


async def test_the_commands_list_and_delete():
    async with serving() as service:
        code, printed = await command(service, "images", "--delete", "tools")

    assert (code, "1 of 5 private images" in printed, ITEM["template"] in printed) == (
        0,
        True,
        True,
    )
    assert ("DELETE", f"/images/private/{IMAGE_ID}", None) in SEEN


async def test_an_image_is_kept_by_its_name():
    async with serving() as service:
        code, printed = await command(service, "keep", "tools", "--minutes", "120", "--yes")

    assert code == 0, printed
    assert SEEN[-1] == ("POST", f"/images/private/{IMAGE_ID}/renew", {"runtimeMinutes": 120})


async def test_a_name_that_is_not_there_changes_nothing():
    async with serving() as service:
        code, printed = await command(service, "keep", "nothing", "--yes")

    assert (code != 0, "no private image called nothing" in printed) == (True, True)
    assert not any(path.endswith("/renew") for _, path, _ in SEEN)


async def test_a_box_is_saved_and_its_image_kept():
    async with serving() as service, client.Client(service.url, token="t") as used:
        images = sdk.AsyncImages(used, tenant_service.LEASE_ID)
        saved = await images.save("tools", minutes=60, snapshot="before")
        await images.renew(saved.image_id, 60)
        await images.delete(saved.image_id)
        found = await images.show()

    path = f"/images/private/{IMAGE_ID}"
    wish = {"name": "tools", "runtimeMinutes": 60, "snapshot": "before"}
    assert (saved.template, len(found.images)) == (f"private/{IMAGE_ID}", 1)
    assert [
        ("POST", f"/lease/{tenant_service.LEASE_ID}/image", wish),
        ("POST", f"{path}/renew", {"runtimeMinutes": 60}),
        *(("DELETE", path, None), ("GET", "/images/private", None)),
    ] == SEEN


def test_an_image_that_is_still_being_saved_is_an_unknown_outcome():
    body = json.dumps({**ITEM, **BOUGHT, "status": "creating", "transaction": None}).encode()
    promised = transport.Reply(status=202, headers={}, body=body)

    with pytest.raises(client.OutcomeUnknown) as raised:
        outcomes.final(promised, "k" * 22)

    assert (raised.value.idempotency_key, raised.value.lease_id) == ("k" * 22, "")


@pytest.mark.parametrize("text", ["", "much", "NaN", "Infinity", "1e999999", "9" * 40])
def test_what_is_no_price_is_not_reckoned_with(text: str):
    with pytest.raises(client.UnexpectedAnswer):
        client.private_images.price_usd(text, 60)


@pytest.mark.parametrize(
    ("rate", "minutes", "usd"),
    [("0.00004", 60, "0.0024"), ("0.0000001", 61, "0.000007"), ("0.001", 1, "0.001")],
)
def test_the_price_is_rounded_up_to_what_can_be_paid(rate: str, minutes: int, usd: str):
    assert client.private_images.price_usd(rate, minutes) == Decimal(usd)
