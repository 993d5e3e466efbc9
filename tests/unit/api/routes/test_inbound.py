"""The routes that show and change what reaches a container from outside."""

from typing import Any

import pytest
from tests.support import fake_leases, wallets
from tests.support.api_fixtures import NETWORK, Api

from pve402.domain import inbound, lease
from pve402.leases import service

ALICE = f"{NETWORK}:{wallets.ALICE.address.lower()}"
TOKEN = "token-0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
SSH = {"protocol": "tcp", "ports": ["22"], "source": "203.0.113.0/24"}
STORED = inbound.Opening(protocol="tcp", ports=("22",), source="203.0.113.0/24")


def holder(api: Api, *, scope: str = "*", **changes: Any) -> lease.Lease:
    facts = {"network": "tenants", "rules_at": fake_leases.NOW, "rules_key": "k", **changes}
    made = api.leases.add(fake_leases.make_lease(ALICE, **facts))
    api.access.callers[TOKEN] = service.Caller(
        owner=ALICE, lease_id=made.lease_id, scope=frozenset({scope})
    )
    return made


async def test_a_token_changes_what_comes_in(api: Api):
    holder(api)

    reply = await api.client.put("/lease/10000/inbound", {"rules": [SSH]}, headers=BEARER)

    said = reply.json()
    assert reply.status == 200
    assert (said["isOpen"], said["rules"], said["isOwn"]) == (False, [SSH], True)
    assert said["holdsAt"] == "2026-11-21T12:00:11Z"
    assert "10 seconds" in said["message"]
    assert "stop the container" in said["message"]
    assert api.leases.named("let_in") == [[STORED]]


@pytest.mark.parametrize(
    ("sent", "kept"), [({"rules": None}, None), ({}, None), ({"rules": []}, [])]
)
async def test_no_rules_and_no_choice_differ(api: Api, sent: dict[str, Any], kept: Any):
    holder(api)

    await api.client.put("/lease/10000/inbound", sent, headers=BEARER)

    assert api.leases.named("let_in") == [kept]


async def test_what_comes_in_is_shown(api: Api):
    holder(api, scope="read", openings=(STORED,))

    reply = await api.client.get("/lease/10000/inbound", headers=BEARER)

    assert (reply.status, reply.json()["rules"]) == (200, [SSH])


async def test_what_is_not_written_yet_holds_from_no_time(api: Api):
    holder(api, scope="read", openings=(STORED,), rules_key=None)

    reply = await api.client.get("/lease/10000/inbound", headers=BEARER)

    assert (reply.json()["rules"], reply.json()["holdsAt"]) == ([SSH], None)


async def test_a_network_without_isolation_is_open(api: Api):
    holder(api, network="default", rules_at=None)

    shown = await api.client.get("/lease/10000/inbound", headers=BEARER)
    refused = await api.client.put("/lease/10000/inbound", {}, headers=BEARER)

    assert (shown.json()["isOpen"], shown.json()["holdsAt"]) == (True, None)
    assert (refused.status, refused.code) == (409, "inbound_fixed")


@pytest.mark.parametrize(
    "rules",
    [
        [SSH] * 17,
        [{**SSH, "ports": ["22"] * 9}],
        [{**SSH, "ports": []}],
        [{**SSH, "ports": ["x"]}],
        [{**SSH, "protocol": "any"}],
        [{**SSH, "source": "+dc/private"}],
        [{**SSH, "action": "DROP"}],
        "all",
    ],
)
async def test_what_is_no_rule_is_refused(api: Api, rules: Any):
    holder(api)

    reply = await api.client.put("/lease/10000/inbound", {"rules": rules}, headers=BEARER)

    assert reply.status == 422
    assert reply.code in {"invalid_body", "invalid_request"}
    assert api.leases.named("let_in") == []


async def test_a_token_without_the_scope_changes_nothing(api: Api):
    holder(api, scope="power")

    reply = await api.client.put("/lease/10000/inbound", {"rules": []}, headers=BEARER)

    assert (reply.status, reply.code) == (403, "not_allowed")


async def test_a_refusal_costs_no_fee(api: Api):
    holder(api, network="default", rules_at=None)
    unpaid = await api.client.put("/lease/10000/inbound", {})
    signed = wallets.payment_headers(wallets.ALICE, unpaid)

    refused = await api.client.put("/lease/10000/inbound", {}, headers=signed)

    assert (unpaid.status, refused.status, refused.code) == (402, 409, "inbound_fixed")
    assert api.leases.named("pay_fee") == []
