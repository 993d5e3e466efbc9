"""SIGN-IN-WITH-X at the routes: what is offered, what it opens, and what happens without it."""

import base64
import json
from typing import Any

import pytest
from tests.support import fake_leases, wallets
from tests.support.api_fixtures import NETWORK, PUBLIC_URL, Api, make_api

from pve402.leases import service
from pve402.payments import networks, payment_required

ALICE = f"{NETWORK}:{wallets.ALICE.address.lower()}"
SIGNED = {"SIGN-IN-WITH-X": "what-she-signed"}


def _document(reply: Any) -> dict[str, Any]:
    return json.loads(base64.b64decode(reply.headers["payment-required"]))


def _signs_in(api: Api, path: str) -> None:
    caller = service.Caller(owner=ALICE, how="wallet", by_key=True)
    api.access.signed["what-she-signed", PUBLIC_URL + path] = caller


async def test_management_calls_offer_to_sign_in_beside_what_they_declare(api: Api):
    declared = _document(await api.client.get("/management/list"))["extensions"]

    offer = declared["sign-in-with-x"]
    assert offer["info"]["uri"] == f"{PUBLIC_URL}/management/list"
    assert offer["supportedChains"] == [{"chainId": NETWORK, "type": "eip191"}]
    assert "bazaar" in declared


@pytest.mark.parametrize("path", ["/lease/container", "/lease/10000/renew"])
async def test_purchases_do_not_as_nothing_is_free_there(api: Api, path: str):
    assert "sign-in-with-x" not in _document(await api.client.post(path))["extensions"]


async def test_the_header_stays_small_beside_every_network():
    api = make_api(networks=tuple(network.caip2 for network in networks.NETWORKS))

    reply = await api.client.post("/management/exec/l8w0o5w0v1q9n7x3k2j4h6g5f4")

    assert len(reply.headers["payment-required"]) < payment_required.MOST_HEADER_BYTES
    assert len(_document(reply)["accepts"]) >= 4


async def test_a_wallet_that_signs_in_lists_its_leases_for_nothing(api: Api):
    api.leases.add(fake_leases.make_lease(ALICE))
    _signs_in(api, "/management/list")

    reply = await api.client.get("/management/list", headers=SIGNED)

    assert (reply.status, len(reply.json())) == (200, 1)
    assert api.leases.named("pay_fee") == []


async def test_what_a_wallet_signed_opens_no_lease_of_another(api: Api):
    found = api.leases.add(fake_leases.make_lease(f"{NETWORK}:0x{'b' * 40}"))
    _signs_in(api, f"/lease/{found.lease_id}")

    reply = await api.client.get(f"/lease/{found.lease_id}", headers=SIGNED)

    assert (reply.status, reply.code) == (404, "lease_not_found")


async def test_a_wallet_that_signed_in_before_still_pays_for_a_lease(api: Api):
    _signs_in(api, "/lease/container")

    assert (await api.client.post("/lease/container", headers=SIGNED)).status == 402


async def test_a_refused_sign_in_is_offered_anew_beside_the_price(api: Api):
    reply = await api.client.get("/management/list", headers=SIGNED)

    assert reply.status == 402
    assert "this challenge was already used" in reply.json()["detail"]
    assert "sign-in-with-x" in _document(reply)["extensions"]


async def test_who_pays_needs_no_sign_in(api: Api):
    api.leases.add(fake_leases.make_lease(ALICE))
    unpaid = await api.client.get("/management/list")
    signed = wallets.payment_headers(wallets.ALICE, unpaid)

    reply = await api.client.get("/management/list", headers={**SIGNED, **signed})

    assert reply.status == 200
    assert len(api.leases.named("pay_fee")) == 1


async def test_a_chain_that_cannot_be_read_is_not_the_one_to_sign_in_on():
    base = "eip155:8453"
    api = make_api(networks=(NETWORK, base))
    api.unreadable.add(NETWORK)

    document = _document(await api.client.get("/management/list"))

    assert document["accepts"][0]["network"] == base
    chains = document["extensions"]["sign-in-with-x"]["supportedChains"]
    assert [chain["chainId"] for chain in chains] == [base]
