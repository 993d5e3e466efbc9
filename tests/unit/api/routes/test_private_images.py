"""The routes of private images: who may call them, what is asked first, and what is answered."""

import pytest
from tests.support import fake_leases, fake_private_images, wallets
from tests.support.api_fixtures import BODY, NETWORK, Api
from tests.unit.api.routes.test_lease import paid

from pve402.domain import errors, lease, private_images
from pve402.leases import service
from pve402.leases.images.private_images import StopFirst

ALICE = f"{NETWORK}:{wallets.ALICE.address.lower()}"
BOB = f"{NETWORK}:{wallets.BOB.address.lower()}"
TOKEN = "token-0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
SAVE = "/lease/10000/image"
WISH = {"name": "tools", "runtimeMinutes": 60}


def holder(api: Api, scope: str = "*", lease_id: str | None = None, owner: str = ALICE) -> None:
    api.access.callers[TOKEN] = service.Caller(
        owner=owner, lease_id=lease_id, scope=frozenset({scope})
    )


def image_of(api: Api, owner: str = ALICE) -> lease.Lease:
    return api.images.add(fake_private_images.make_image(owner))


async def test_a_lease_is_saved_for_what_its_disk_costs(api: Api):
    api.leases.add(fake_leases.make_lease(ALICE))

    asked = await api.client.post(SAVE, WISH)
    reply = await paid(api, SAVE, WISH)

    assert asked.json()["accepts"][0]["maxAmountRequired"] == str(60 * 8 * 40)
    answer = reply.json()
    assert (reply.status, answer["name"], answer["diskGB"]) == (200, "tools", 8)
    assert answer["template"] == f"private/{answer['imageId']}"
    assert (answer["minuteUsd"], answer["accessToken"]) == ("0.00032", "pve402_new")
    assert "check_saving" not in api.images.calls  # a stranger learns nothing of the container


async def test_with_a_token_all_is_checked_before_a_payment_is_asked_for(api: Api):
    row = api.leases.add(fake_leases.make_lease(ALICE))
    holder(api, "files", row.lease_id)
    api.images.failures["check_saving"] = StopFirst()

    refused = await api.client.post(SAVE, WISH, headers=BEARER)
    holder(api, "snapshots", row.lease_id)  # which reads nothing of the container
    narrow = await api.client.post(SAVE, WISH, headers=BEARER)

    assert (refused.status, refused.code) == (409, "stop_first")
    assert (narrow.status, narrow.code) == (403, "not_allowed")


async def test_without_a_rate_nothing_is_offered(api: Api):
    api.leases.add(fake_leases.make_lease(ALICE))
    for call in ("prices_of_saving", "lowest_usd"):
        api.images.failures[call] = private_images.ImagesNotOffered()

    empty, asked = await api.client.post(SAVE), await api.client.post(SAVE, WISH)

    assert {(one.status, one.code) for one in (empty, asked)} == {(409, "images_not_offered")}


async def test_a_wallet_lists_shows_and_deletes_its_own(api: Api):
    image, _ = image_of(api), image_of(api, BOB)
    holder(api)
    path = f"/images/private/{image.lease_id}"

    listed = await api.client.get("/images/private", headers=BEARER)
    shown = await api.client.get(path, headers=BEARER)
    deleted = await api.client.request("DELETE", path, headers=BEARER)

    assert (listed.status, shown.status, deleted.status) == (200, 200, 202)
    assert [one["imageId"] for one in listed.json()["images"]] == [image.lease_id]
    assert listed.json()["atMost"] == 5
    assert shown.json()["sourceLeaseId"] == "l" + "1" * 25
    assert api.images.calls == ["list_of", "end"]


async def test_others_are_told_that_there_is_none(api: Api):
    image = image_of(api)
    holder(api, owner=BOB)
    path = f"/images/private/{image.lease_id}"

    calls = [("GET", path, b""), ("DELETE", path, b""), ("GET", "/images/private/nothing", b"")]
    calls.append(("POST", f"{path}/renew", {"runtimeMinutes": 60}))
    replies = [
        await api.client.request(method, where, sent, headers=BEARER)
        for method, where, sent in calls
    ]
    unpaid = await api.client.get(path)

    assert {(one.status, one.code) for one in replies} == {(404, "image_not_found")}
    assert unpaid.status == 402
    assert api.images.calls == []


async def test_an_image_is_renewed(api: Api):
    image = image_of(api)
    path = f"/images/private/{image.lease_id}/renew"

    reply = await paid(api, path, {"runtimeMinutes": 120})

    assert reply.status == 200, reply.body
    assert reply.json()["amount"] == str(120 * 8 * 40)
    assert api.images.calls[-1] == "renew"


@pytest.mark.parametrize("template", ["private/", "private/x", "private/l" + "A" * 25])
async def test_what_can_be_no_image_is_refused_before_money_is_mentioned(api: Api, template: str):
    reply = await api.client.post("/lease/container", {**BODY, "template": template})

    assert (reply.status, reply.code) == (422, "unknown_template")


def test_names_that_proxmox_could_not_keep_are_refused():
    assert private_images.check_name("build-tools2") == "build-tools2"
    for name in ("", "a", "-a", "a-", "A1", "a.b", "a\n", "ä" * 4, "a" * 41):
        with pytest.raises(errors.InvalidRequest):
            private_images.check_name(name)
