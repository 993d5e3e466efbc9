"""Management routes: who is let in, what it costs, and what is answered."""

import threading

import pytest
from tests.support import fake_leases, wallets
from tests.support.api_fixtures import NETWORK, PAY_TO, Api

from pve402 import schemas
from pve402.api.messages import leases as lease_messages
from pve402.domain import errors, lease
from pve402.leases import service

ALICE = f"{NETWORK}:{wallets.ALICE.address.lower()}"
BOB = f"{NETWORK}:{wallets.BOB.address.lower()}"
TOKEN = "token-0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
FEE_ROUTES = ["/management/list", "/stats/lxc", "/lease/10000"]


async def by_fee(api: Api, path: str, *, who=wallets.ALICE, method="GET", version=2):
    unpaid = await api.client.request(method, path)
    assert unpaid.status == 402
    signed = wallets.payment_headers(who, unpaid, version=version)
    return await api.client.request(method, path, headers=signed)


@pytest.mark.parametrize("path", [*FEE_ROUTES, "/lease/99999", "/lease/l" + "z" * 25])
async def test_strangers_get_the_same_402_whether_or_not_the_lease_exists(api: Api, path: str):
    api.leases.add(fake_leases.make_lease(ALICE))

    reply = await api.client.get(path)

    assert reply.status == 402
    assert reply.json()["accepts"][0]["maxAmountRequired"] == "1000"
    assert api.leases.calls == []


@pytest.mark.parametrize(
    "path", [*FEE_ROUTES, "/management/exec/10000", "/management/files/10000?path=/a"]
)
async def test_the_402_of_the_fee_offers_what_is_free(api: Api, path: str):
    reply = await api.client.get(path)

    assert reply.status == 402
    for text in (
        reply.json()["error"],
        wallets.decoded(reply.headers["payment-required"])["error"],
    ):
        assert text.startswith("payment is required; the call is free")
        assert "POST /auth/challenge" in text


async def test_the_402_of_a_lease_offers_nothing_else(api: Api):
    reply = await api.client.post("/lease/container")

    assert reply.json()["error"] == "payment is required"


@pytest.mark.parametrize("path", FEE_ROUTES)
async def test_the_fee_proves_the_wallet_and_is_receipted(api: Api, path: str):
    api.leases.add(fake_leases.make_lease(ALICE))

    reply = await by_fee(api, path)

    assert reply.status == 200
    assert wallets.decoded(reply.headers["payment-response"])["success"] is True
    purchase, route = api.leases.named("pay_fee")[0]
    assert purchase.requirements.amount_atomic == 1000
    assert route == f"GET {path.replace('10000', '{ctid}')}"


async def test_the_payer_sees_only_what_is_theirs(api: Api):
    mine = api.leases.add(fake_leases.make_lease(ALICE))
    api.leases.add(fake_leases.make_lease(BOB, vmid=10001))

    listed = (await by_fee(api, "/management/list", version=1)).json()

    assert [item["leaseId"] for item in listed] == [mine.lease_id]


async def test_a_proven_stranger_gets_404_and_pays_nothing(api: Api):
    api.leases.add(fake_leases.make_lease(ALICE))

    reply = await by_fee(api, "/lease/10000", who=wallets.BOB)

    assert (reply.status, reply.code) == (404, "lease_not_found")
    assert api.leases.named("pay_fee") == []


@pytest.mark.parametrize("ctid", ["10000", "99999"])
async def test_an_unproven_payer_learns_nothing_about_a_lease(api: Api, ctid: str):
    api.leases.add(fake_leases.make_lease(BOB))
    unpaid = await api.client.get(f"/lease/{ctid}")
    signed = wallets.payment_headers(wallets.ALICE, unpaid)
    payment = wallets.decoded(signed["PAYMENT-SIGNATURE"])
    payment["payload"]["signature"] = "0x" + "ab" * 100  # perhaps of a contract wallet

    reply = await api.client.get(
        f"/lease/{ctid}", headers={"PAYMENT-SIGNATURE": wallets.encoded(payment)}
    )

    assert (reply.status, reply.code) == (402, "payment_signature_invalid")
    assert api.leases.named("pay_fee") == []


async def test_a_fee_is_taken_once(api: Api):
    unpaid = await api.client.get("/management/list")
    signed = wallets.payment_headers(wallets.ALICE, unpaid)

    first = await api.client.get("/management/list", headers=signed)
    second = await api.client.get("/management/list", headers=signed)

    assert (first.status, second.status) == (200, 409)
    assert second.code == "payment_reused"


async def test_an_error_after_the_fee_was_settled_carries_the_receipt(api: Api):
    api.leases.failures["list_leases"] = errors.DatabaseUnavailable()

    reply = await by_fee(api, "/management/list")

    assert (reply.status, reply.code) == (503, "database_unavailable")
    assert wallets.decoded(reply.headers["payment-response"])["success"] is True


async def test_a_token_opens_its_lease_without_payment(api: Api):
    made = api.leases.add(fake_leases.make_lease(ALICE))
    api.access.callers[TOKEN] = service.Caller(owner=ALICE, lease_id=made.lease_id)

    for path in ("/management/list", "/stats/lxc", "/lease/10000", f"/lease/{made.lease_id}"):
        assert (await api.client.get(path, headers=BEARER)).status == 200, path
    assert api.leases.named("pay_fee") == []


async def test_a_token_of_one_lease_opens_no_other(api: Api):
    made = api.leases.add(fake_leases.make_lease(ALICE))
    api.leases.add(fake_leases.make_lease(ALICE, vmid=10001))
    api.access.callers[TOKEN] = service.Caller(owner=ALICE, lease_id=made.lease_id)

    assert (await api.client.get("/lease/10001", headers=BEARER)).status == 404
    listed = (await api.client.get("/management/list", headers=BEARER)).json()
    assert [item["ctid"] for item in listed] == ["10000"]


async def test_a_narrow_token_is_refused_what_it_does_not_cover(api: Api):
    made = api.leases.add(fake_leases.make_lease(ALICE))
    narrow = service.Caller(owner=ALICE, lease_id=made.lease_id, scope=frozenset({"read"}))
    api.access.callers[TOKEN] = narrow

    assert (await api.client.get("/lease/10000", headers=BEARER)).status == 200
    reply = await api.client.delete("/lease/10000", headers=BEARER)
    assert (reply.status, reply.code) == (403, "not_allowed")


@pytest.mark.parametrize(
    "value",
    [
        f"Bearer {TOKEN} ",
        f"BEARER {TOKEN}",
        f"bearer {TOKEN}",
        f"  Bearer  {TOKEN}\t",
        f"bEaReR   {TOKEN}   ",
    ],
)
async def test_a_token_is_read_as_http_writes_it(api: Api, value: str):
    api.access.callers[TOKEN] = service.Caller(owner=ALICE)

    reply = await api.client.get("/management/list", headers={"Authorization": value})

    assert reply.status == 200


@pytest.mark.parametrize(
    "value", ["Bearer unknown-token-0123456789", "Bearer x", "Basic YWxpY2U6eA==", "Bearer", ""]
)
async def test_a_credential_that_is_none_of_ours_is_401_and_not_402(api: Api, value: str):
    reply = await api.client.get("/management/list", headers={"Authorization": value})

    assert (reply.status, reply.code) == (401, "unauthenticated")
    assert reply.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("header", ["X-Wallet-Address", "X-Payer", "From", "X-Owner"])
async def test_a_header_that_names_a_wallet_proves_nothing(api: Api, header: str):
    api.leases.add(fake_leases.make_lease(ALICE))

    reply = await api.client.get("/lease/10000", headers={header: wallets.ALICE.address})

    assert reply.status == 402
    assert api.leases.calls == []


async def test_an_item_of_the_list_has_the_fields_of_the_first_service(api: Api):
    api.leases.add(fake_leases.make_lease(ALICE))

    (item,) = (await by_fee(api, "/management/list")).json()

    assert item["ctid"] == "10000"
    assert item["network"] == "base-sepolia"
    assert item["createdAt"] == "2026-11-21T12:00:00Z"
    assert item["vmStatus"]["status"] == "running"
    assert item["vmStatus"]["maxmem"] == 512 * 2**20


@pytest.mark.parametrize(("seen", "word"), [(True, "missing"), (False, "unknown")])
async def test_a_guest_that_is_not_seen_is_missing_or_unknown(api: Api, seen: bool, word: str):
    made = api.leases.add(fake_leases.make_lease(ALICE))
    api.leases.guests_missing = True
    api.leases.proxmox_seen = seen
    api.access.callers[TOKEN] = service.Caller(owner=ALICE)

    reply = await api.client.get(f"/lease/{made.lease_id}", headers=BEARER)
    (figures,) = (await api.client.get("/stats/lxc", headers=BEARER)).json()

    assert reply.json()["vmStatus"]["status"] == word
    assert figures["cpu"] is None
    assert figures["error"]


async def test_all_is_asked_for_by_query(api: Api):
    api.access.callers[TOKEN] = service.Caller(owner=ALICE)

    await api.client.get("/management/list?all=true", headers=BEARER)
    await api.client.get("/management/list?all=no", headers=BEARER)

    assert [include for _caller, include in api.leases.named("list_leases")] == [True, False]


async def test_a_long_list_is_whole_and_shaped_beside_the_event_loop(
    api: Api, monkeypatch: pytest.MonkeyPatch
):
    made = [api.leases.add(fake_leases.make_lease(ALICE)).lease_id for _ in range(101)]
    api.access.callers[TOKEN] = service.Caller(owner=ALICE)
    threads: set[int] = set()
    shape = lease_messages.lease_item

    def shaped(view: service.LeaseView) -> schemas.LeaseItem:
        threads.add(threading.get_ident())
        return shape(view)

    monkeypatch.setattr(lease_messages, "lease_item", shaped)
    reply = await api.client.get("/management/list", headers=BEARER)

    assert [item["leaseId"] for item in reply.json()] == made
    assert threads.isdisjoint({threading.get_ident()})


async def test_an_early_end_is_202(api: Api):
    made = api.leases.add(fake_leases.make_lease(ALICE))
    api.access.callers[TOKEN] = service.Caller(owner=ALICE)

    reply = await api.client.delete(f"/lease/{made.ctid}", headers=BEARER)

    assert (reply.status, reply.json()["status"]) == (202, "stopping")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"hold_order_id": "o1"}, "lease_busy"),
        ({"status": lease.LeaseStatus.CREATING, "expires_at": None}, "lease_not_ready"),
    ],
)
async def test_an_end_that_would_be_refused_costs_nothing(api: Api, changes: dict, code: str):
    made = api.leases.add(fake_leases.make_lease(ALICE, **changes))

    reply = await by_fee(api, f"/lease/{made.lease_id}", method="DELETE")

    assert (reply.status, reply.code) == (409, code)
    assert api.leases.named("pay_fee") == []


async def test_a_lease_in_the_making_shows_no_ctid(api: Api):
    made = fake_leases.make_lease(ALICE, status=lease.LeaseStatus.CREATING, expires_at=None)
    api.leases.add(made)
    api.access.callers[TOKEN] = service.Caller(owner=ALICE)

    reply = await api.client.get(f"/lease/{made.lease_id}", headers=BEARER)

    assert (reply.json()["ctid"], reply.json()["status"]) == ("", "provisioning")


async def test_figures_of_a_guest(api: Api):
    api.leases.add(fake_leases.make_lease(ALICE))

    (figures,) = (await by_fee(api, "/stats/lxc")).json()

    assert figures["cpu"] == {"usage": 0.25, "cores": 1, "pct": 25.0}
    assert figures["memory"]["pct"] == 25.0
    assert figures["disk"]["free"] == 7 * 2**30
    assert figures["error"] is None


async def test_figures_of_nodes_show_what_the_operator_chose(api: Api):
    stats = (await api.client.get("/stats/node")).json()

    assert stats["node"] == "node-1"
    assert stats["cpu"] == {"usage": 0.5, "cores": 8, "pct": 50.0}
    assert stats["memory"]["total"] == 16 * 2**30
    assert len(stats["nodes"]) == 1
    assert "pve1" not in str(stats)


@pytest.mark.parametrize(
    "kept",
    [
        {},
        {"template": "debian-12"},
        {"sshPublicKeys": ["ssh-ed25519 AAAA alice"]},
        {"requester": "ci", "payload": {"run": [1, None, "x"]}},
        {"payload": [1, 2]},
        {"payload": "text", "sshPublicKeys": ["a", "b"], "template": "x", "requester": "r"},
    ],
)
async def test_what_was_asked_for_can_be_read_back(api: Api, kept: dict):
    made = api.leases.add(fake_leases.make_lease(ALICE, metadata=kept))
    api.access.callers[TOKEN] = service.Caller(owner=ALICE)

    shown = (await api.client.get(f"/lease/{made.lease_id}", headers=BEARER)).json()

    nothing = {"template": None, "sshPublicKeys": [], "requester": None, "payload": None}
    assert {name: shown[name] for name in nothing} == nothing | kept
    assert "password" not in str(shown).lower()


async def test_the_fee_of_a_network_says_what_it_is(api: Api):
    (network,) = (await api.client.get("/catalogue")).json()["networks"]

    assert network["managementFee"] == network["amount"] == "1000"


async def test_the_catalogue_is_free(api: Api):
    shown = (await api.client.get("/catalogue")).json()

    assert shown["managementFeeUsd"] == "0.001"
    assert shown["skus"][0]["sku"] == "standard-lxc"
    assert shown["skus"][0]["coreMinuteUsd"] == "0.0002"
    assert shown["networks"][0]["payTo"].lower() == PAY_TO


@pytest.mark.parametrize("signature", ["0x00", "00"])
async def test_tokens_are_issued_for_signatures(api: Api, signature: str):
    body = {"message": "m", "signature": signature, "scope": ["read"]}

    reply = await api.client.post("/auth/token", body)

    assert reply.status == 200
    assert reply.json()["scope"] == ["read"]
    assert reply.json()["accessToken"] == "issued-token-0123456789"


@pytest.mark.parametrize(
    "change",
    [
        {"scope": ["root"]},
        {"expiresAt": "2030-01-01T00:00:00"},
        {"expiresAt": "0001-01-01T00:00:00+01:00"},
        {"expiresAt": "9999-12-31T23:59:59-01:00"},
        {"signature": "0xz"},
        {"signature": "0x"},
        {"signature": ""},
        {"signature": "000"},
        {"x": 1},
    ],
)
async def test_a_wish_for_a_token_is_checked(api: Api, change: dict):
    reply = await api.client.post("/auth/token", {"message": "m", "signature": "0x00", **change})

    assert (reply.status, reply.code) == (422, "invalid_body")


async def test_a_token_is_revoked_by_its_holder(api: Api):
    api.access.callers[TOKEN] = service.Caller(owner=ALICE)

    assert (await api.client.delete("/auth/token", headers=BEARER)).status == 204
    assert api.access.revoked == [TOKEN]
    assert (await api.client.delete("/auth/token")).status == 401


async def test_health_and_readiness(api: Api):
    assert (await api.client.get("/healthz")).json()["status"] == "ok"
    assert (await api.client.get("/readyz")).status == 200
    api.checks["proxmox"] = False
    reply = await api.client.get("/readyz")
    assert (reply.status, reply.json()["checks"]["proxmox"]) == (503, False)
