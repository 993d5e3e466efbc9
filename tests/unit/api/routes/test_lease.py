"""Routes of leases: what is asked, in which order, and what is answered."""

import base64
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support import fake_leases, wallets
from tests.support.api_fixtures import BODY, NETWORK, PUBLIC_URL, Api, make_api
from tests.unit.domain.test_networks import SHIPPED
from x402.extensions import payment_identifier

from pve402.domain import catalogue, errors, lease
from pve402.leases import service
from pve402.proxmox import storage

TOKEN = "token-0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}

OWNER = f"{NETWORK}:{wallets.ALICE.address.lower()}"
KEY = {"Idempotency-Key": "k" * 22}


async def paid(api: Api, path: str, body: object, *, who=wallets.ALICE, **more):
    """Ask, sign what the 402 says, ask again."""
    version = more.pop("version", 2)
    headers = more.pop("headers", {})
    unpaid = await api.client.post(path, body, headers=headers)
    assert unpaid.status == 402, unpaid.body
    signed = wallets.payment_headers(who, unpaid, version=version)
    return await api.client.post(path, body, headers={**headers, **signed})


async def test_an_empty_body_is_402_with_the_lowest_price(api: Api):
    reply = await api.client.post("/lease/container")

    assert reply.status == 402
    assert reply.json()["accepts"][0]["maxAmountRequired"] == "2223"
    assert api.leases.calls == []


async def test_one_402_speaks_both_versions(api: Api):
    reply = await api.client.post("/lease/container", BODY)

    v1, v2 = reply.json(), json.loads(base64.b64decode(reply.headers["payment-required"]))
    assert (v1["x402Version"], v2["x402Version"]) == (1, 2)
    assert v1["accepts"][0]["network"] == "base-sepolia"
    assert v2["accepts"][0]["network"] == NETWORK
    assert v1["accepts"][0]["maxAmountRequired"] == v2["accepts"][0]["amount"] == "21800"
    assert v1["accepts"][0]["resource"] == f"{PUBLIC_URL}/lease/container"
    assert v1["code"] == "payment_required"


async def test_a_body_that_cannot_be_served_is_refused_before_money_is_mentioned(api: Api):
    reply = await api.client.post("/lease/container", {**BODY, "cores": 10_000})

    assert (reply.status, reply.code) == (422, "out_of_bounds")
    assert "payment-required" not in reply.headers


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"sku": "gold"}, "unknown_sku"),
        ({"hostname": "under_score"}, "invalid_hostname"),
        ({"password": "abc"}, "invalid_password"),
        ({"password": None}, "credential_required"),
        ({"sshPublicKeys": ["ssh-rsa nonsense"]}, "invalid_ssh_key"),
        ({"template": "windows"}, "unknown_template"),
        ({"env": {"A-B": "x"}}, "invalid_env"),
        ({"env": {"A": "x" * 40_000}}, "invalid_env"),
        ({"env": {f"N{number}": "x" for number in range(65)}}, "invalid_env"),
        ({"env": {"A": 1}}, "invalid_body"),
        ({"userData": ""}, "invalid_user_data"),
        ({"userData": " \n"}, "invalid_user_data"),
        ({"userData": "é" * 32_769}, "invalid_user_data"),
        ({"userData": "a\0b"}, "invalid_user_data"),
        ({"userData": ["id"]}, "invalid_body"),
        ({"userData": "id", "userDataNetwork": "maybe"}, "invalid_body"),
        ({"env": ["A=1"]}, "invalid_body"),
        ({"runtimeMinutes": 10**9}, "out_of_bounds"),
        ({"diskGB": 0}, "out_of_bounds"),
        ({"cores": "many"}, "invalid_body"),
    ],
)
async def test_each_bad_field_has_its_code(api: Api, change: dict, code: str):
    reply = await api.client.post("/lease/container", {**BODY, **change})

    assert (reply.status, reply.code) == (422, code)


async def test_no_capacity_is_409_before_any_402(api: Api):
    api.leases.failures["check_room"] = errors.NoCapacity()

    reply = await api.client.post("/lease/container", BODY)

    assert (reply.status, reply.code) == (409, "no_capacity")
    assert "payment-required" not in reply.headers
    assert int(reply.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("version", "header"), [(1, "x-payment-response"), (2, "payment-response")]
)
async def test_a_paid_lease_is_answered_in_the_clients_own_version(
    api: Api, version: int, header: str
):
    reply = await paid(api, "/lease/container", BODY, version=version)

    assert reply.status == 200
    receipt = wallets.decoded(reply.headers[header])
    assert receipt["transaction"] == fake_leases.TRANSACTION
    assert receipt["payer"] == wallets.ALICE.address
    other = {"x-payment-response", "payment-response"} - {header}
    assert other.isdisjoint(reply.headers)


async def test_the_answer_of_a_lease_has_the_fields_of_the_first_service(api: Api):
    answer = (await paid(api, "/lease/container", BODY)).json()

    assert answer["ctid"] == "10000"
    assert answer["ownerWallet"] == wallets.ALICE.address
    assert answer["status"] == "active"
    (made,) = api.leases.leases.values()
    assert made.expires_at
    assert answer["expiresAt"] == made.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert answer["accessToken"] == "token-of-the-lease-1234"
    assert answer["leaseId"].startswith("l")
    assert answer["transaction"] == fake_leases.TRANSACTION


async def test_unknown_fields_are_ignored_and_named_ones_kept(api: Api):
    body = {**BODY, "requester": "agent-7", "payload": {"job": 1}, "colour": "green"}

    await paid(api, "/lease/container", body)

    asked, _purchase = api.leases.named("create")[0]
    assert asked.metadata == {"requester": "agent-7", "payload": {"job": 1}}


@pytest.mark.parametrize(
    "preference",
    [
        "respond-async",
        "Respond-Async",
        "RESPOND-ASYNC",
        "wait=5, respond-async",
        " respond-async\t",
    ],
)
async def test_respond_async_waits_for_nothing_and_shows_no_ctid(api: Api, preference: str):
    reply = await paid(api, "/lease/container", BODY, headers={"Prefer": preference})

    assert reply.status == 202
    answer = reply.json()
    assert (answer["status"], answer["ctid"], answer["accessToken"]) == ("provisioning", None, None)
    assert "payment-response" not in reply.headers
    assert api.leases.named("create")[0][1].wait_seconds == 0


@pytest.mark.parametrize("before", ["", " ", "\t", "  \t "])
@pytest.mark.parametrize("after", ["", " ", "\t"])
@pytest.mark.parametrize("version", [1, 2])
async def test_blanks_around_headers_are_no_part_of_them(
    api: Api, before: str, after: str, version: int
):
    unpaid = await api.client.post("/lease/container", BODY)
    signed = wallets.payment_headers(wallets.ALICE, unpaid, version=version)
    headers = {name: f"{before}{value}{after}" for name, value in {**KEY, **signed}.items()}

    reply = await api.client.post("/lease/container", BODY, headers=headers)

    assert reply.status == 200, reply.body
    assert api.leases.named("create")[0][1].idempotency_key == "k" * 22


async def test_the_idempotency_key_reaches_the_service(api: Api):
    await paid(api, "/lease/container", BODY, headers=KEY)

    assert api.leases.named("create")[0][1].idempotency_key == "k" * 22


def _named(headers: dict[str, str], identifier: str) -> dict[str, str]:
    """The same payment with the name that a client gave it."""
    document = wallets.decoded(headers["PAYMENT-SIGNATURE"])
    declared = document["extensions"]
    payment_identifier.append_payment_identifier_to_extensions(declared, identifier)
    return {"PAYMENT-SIGNATURE": wallets.encoded(document)}


@pytest.mark.parametrize(
    ("headers", "key", "is_secret"),
    [({}, "payment-identifier pay_0123456789abcdef", False), (KEY, "k" * 22, True)],
)
async def test_the_name_of_a_payment_serves_where_no_key_does(
    api: Api, headers: dict[str, str], key: str, is_secret: bool
):
    unpaid = await api.client.post("/lease/container", BODY)
    signed = wallets.payment_headers(wallets.ALICE, unpaid)
    named = _named(signed, "pay_0123456789abcdef")

    await api.client.post("/lease/container", BODY, headers={**headers, **named})

    purchase = api.leases.named("create")[0][1]
    assert (purchase.idempotency_key, purchase.key_is_secret) == (key, is_secret)


async def test_a_client_that_names_nothing_echoes_the_declaration_and_pays(api: Api):
    reply = await paid(api, "/lease/container", BODY)

    assert reply.status == 200
    assert api.leases.named("create")[0][1].idempotency_key is None


async def test_a_short_idempotency_key_is_refused(api: Api):
    reply = await paid(api, "/lease/container", BODY, headers={"Idempotency-Key": "1"})

    assert (reply.status, reply.code) == (422, "invalid_idempotency_key")
    assert api.leases.named("create") == []


async def test_a_payment_for_another_price_is_402_with_the_terms_again(api: Api):
    cheap = await api.client.post("/lease/container", {**BODY, "runtimeMinutes": 1})
    signed = wallets.payment_headers(wallets.ALICE, cheap)

    reply = await api.client.post("/lease/container", BODY, headers=signed)

    assert (reply.status, reply.code) == (402, "payment_amount_mismatch")
    assert reply.json()["accepts"][0]["maxAmountRequired"] == "21800"
    assert api.leases.leases == {}


@pytest.mark.parametrize("seconds", [580, 3600])
async def test_a_payment_sent_again_too_late_gets_what_it_bought(
    api: Api, monkeypatch: pytest.MonkeyPatch, seconds: int
):
    unpaid = await api.client.post("/lease/container", BODY)
    signed = wallets.payment_headers(wallets.ALICE, unpaid)
    first = await api.client.post("/lease/container", BODY, headers=signed)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + seconds)

    again = await api.client.post("/lease/container", BODY, headers=signed)

    assert again.status == 200
    assert again.json()["leaseId"] == first.json()["leaseId"]
    assert again.json()["accessToken"] is None
    assert wallets.decoded(again.headers["payment-response"])["success"] is True


async def test_a_payment_that_bought_nothing_in_time_is_402(
    api: Api, monkeypatch: pytest.MonkeyPatch
):
    unpaid = await api.client.post("/lease/container", BODY)
    signed = wallets.payment_headers(wallets.ALICE, unpaid)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3600)

    reply = await api.client.post("/lease/container", BODY, headers=signed)

    assert (reply.status, reply.code) == (402, "payment_expired")
    assert api.leases.leases == {}


@pytest.mark.parametrize("value", ["nonsense", "e30=", "W10=", "bnVsbA=="])
@pytest.mark.parametrize("header", ["X-PAYMENT", "PAYMENT-SIGNATURE"])
async def test_a_payment_header_that_cannot_be_read_is_400(api: Api, header: str, value: str):
    reply = await api.client.post("/lease/container", BODY, headers={header: value})

    assert reply.status == 400
    assert reply.code.startswith("payment_")


async def test_a_refused_payment_is_402_with_terms_and_a_receipt_of_the_failure(api: Api):
    api.leases.failures["create"] = errors.PaymentRefused(reason="insufficient_funds")

    reply = await paid(api, "/lease/container", BODY)

    assert (reply.status, reply.code) == (402, "insufficient_funds")
    receipt = wallets.decoded(reply.headers["payment-response"])
    assert (receipt["success"], receipt["errorReason"]) == (False, "insufficient_funds")


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("invalid_exact_evm_insufficient_balance", "holds too little"),
        ("invalid_exact_evm_nonce_already_used", "used before"),
        ("something_new", "the payment was refused: something_new"),
    ],
)
async def test_a_refused_payment_is_explained_to_people(api: Api, reason: str, words: str):
    said = f"the payment was refused: {reason}"
    api.leases.failures["create"] = errors.PaymentRefused(said, reason=reason)

    reply = await paid(api, "/lease/container", BODY)

    assert reply.code == reason
    assert words in json.loads(reply.body)["detail"]


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (errors.OrderPending(retry_after_seconds=7), 503, "order_pending"),
        (errors.SettlementPending(), 503, "settlement_pending"),
        (errors.FacilitatorUnavailable(), 503, "facilitator_unavailable"),
        (errors.ProvisioningFailed(), 502, "provisioning_failed"),
        (errors.PaymentReused(), 409, "payment_reused"),
        (errors.IdempotencyKeyReused(), 409, "idempotency_key_reused"),
        (errors.TooManyUnsettled(), 429, "too_many_unsettled"),
        (RuntimeError("a bug with a secret"), 500, "internal_error"),
    ],
)
async def test_each_failure_of_the_service_has_its_answer(api: Api, failure, status, code):
    api.leases.failures["create"] = failure

    reply = await paid(api, "/lease/container", BODY)

    assert (reply.status, reply.code) == (status, code)
    assert ("retry-after" in reply.headers) == (status in {429, 503})
    assert b"secret" not in reply.body


async def test_a_renewal_is_priced_by_the_leases_own_size(api: Api):
    big = lease.Size(cores=4, memory_mb=8192, disk_gb=64)
    made = api.leases.add(fake_leases.make_lease(OWNER, size=big))
    body = {"runtimeMinutes": 10, "cores": -100_000, "memoryMB": 1}

    reply = await api.client.post(f"/lease/{made.ctid}/renew", body)

    assert reply.status == 402
    assert reply.json()["accepts"][0]["maxAmountRequired"] == "22400"


async def test_an_empty_renewal_is_402_whatever_it_names(api: Api):
    reply = await api.client.post("/lease/99999/renew")

    assert reply.status == 402
    assert api.leases.calls == []


async def test_a_renewal_answers_the_new_end(api: Api):
    made = api.leases.add(fake_leases.make_lease(OWNER))

    reply = await paid(api, f"/lease/{made.lease_id}/renew", {"runtimeMinutes": 30})

    assert reply.status == 200
    assert made.expires_at
    expected = (made.expires_at + timedelta(minutes=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert reply.json()["expiresAt"] == expected
    assert reply.json()["accessToken"] is None


async def test_a_renewal_that_nobody_waits_for_is_202_with_the_old_end(api: Api):
    made = api.leases.add(fake_leases.make_lease(OWNER))
    wish, asynchronous = {"runtimeMinutes": 30}, {"Prefer": "respond-async"}

    reply = await paid(api, f"/lease/{made.lease_id}/renew", wish, headers=asynchronous)

    assert made.expires_at
    until = made.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert (reply.status, reply.json()["expiresAt"]) == (202, until)
    assert reply.json()["transaction"] is None


async def test_a_renewal_with_a_token_names_its_holder(api: Api):
    made = api.leases.add(fake_leases.make_lease(OWNER))
    holder = service.Caller(owner=OWNER, lease_id=made.lease_id)
    api.access.callers["token-0123456789abcdef"] = holder
    bearer = {"Authorization": "Bearer token-0123456789abcdef"}

    reply = await paid(
        api, f"/lease/{made.ctid}/renew", {"runtimeMinutes": 5}, who=wallets.BOB, headers=bearer
    )

    assert reply.status == 200
    assert api.leases.named("renew")[0][3] == holder


@pytest.mark.parametrize(("signature", "by_key"), [(None, True), ("0x" + "ab" * 100, False)])
async def test_a_payer_whose_key_was_not_seen_counts_on_its_own_chain_alone(
    api: Api, signature: str | None, by_key: bool
):
    made = api.leases.add(fake_leases.make_lease(OWNER))
    path, body = f"/lease/{made.ctid}/renew", {"runtimeMinutes": 30}
    signed = wallets.payment_headers(wallets.ALICE, await api.client.post(path, body))
    payment = wallets.decoded(signed["PAYMENT-SIGNATURE"])
    payment["payload"]["signature"] = signature or payment["payload"]["signature"]

    await api.client.post(path, body, headers={"PAYMENT-SIGNATURE": wallets.encoded(payment)})

    (given,) = api.leases.named("renew")
    assert given[2].by_key is by_key


@pytest.mark.parametrize(
    ("named", "headers", "failure", "status"),
    [
        ("ctid", {}, errors.PaidTooFarAhead, 402),
        ("ctid", {"X-Wallet": wallets.ALICE.address}, errors.PaidTooFarAhead, 402),
        ("ctid", BEARER, errors.PaidTooFarAhead, 409),
        ("lease_id", {}, errors.PaidTooFarAhead, 409),
        ("lease_id", BEARER, errors.PaidTooFarAhead, 409),
        ("ctid", {}, errors.WalletBlocked, 402),
        ("lease_id", {}, errors.WalletBlocked, 403),
        ("ctid", {}, errors.LeaseOver, 409),
        ("ctid", {}, errors.LeaseBusy, 409),
        ("ctid", {}, errors.NoCapacity, 409),
    ],
)
async def test_who_only_counts_ctids_is_not_told_what_concerns_its_owner(
    api: Api, named: str, headers: dict[str, str], failure: type[errors.Pve402Error], status: int
):
    made = api.leases.add(fake_leases.make_lease(OWNER))
    api.access.callers[TOKEN] = service.Caller(owner=OWNER, lease_id=made.lease_id)
    api.leases.failures["check_renewable"] = failure()

    path = f"/lease/{getattr(made, named)}/renew"
    reply = await api.client.post(path, {"runtimeMinutes": 5}, headers=headers)

    assert reply.status == status
    assert status == 402 or reply.code == failure.code


@pytest.mark.parametrize(
    ("named", "told"),
    [("lease_id", "The operator has suspended this lease: report 17"), ("ctid", None)],
)
async def test_why_a_lease_is_suspended_is_told_to_those_who_know_it(
    api: Api, named: str, told: str | None
):
    made = api.leases.add(fake_leases.make_lease(OWNER))
    api.leases.failures["check_renewable"] = errors.LeaseSuspended("report 17")

    path = f"/lease/{getattr(made, named)}/renew"
    reply = await api.client.post(path, {"runtimeMinutes": 5})

    assert (reply.status, reply.code) == (409, "lease_suspended")
    assert reply.json()["detail"] == (told or errors.LeaseSuspended.detail)


@pytest.mark.parametrize("ctid", ["0", "abc", "99", "l123", "1e3", "%2e%2e", "9" * 30])
async def test_what_names_no_lease_is_404(api: Api, ctid: str):
    reply = await api.client.post(f"/lease/{ctid}/renew", {"runtimeMinutes": 5})

    assert (reply.status, reply.code) == (404, "lease_not_found")


async def test_a_quote_is_the_price_of_the_402(api: Api):
    quoted = (await api.client.post("/lease/quote", BODY)).json()
    asked = (await api.client.post("/lease/container", BODY)).json()

    assert quoted["accepts"][0]["amount"] == asked["accepts"][0]["maxAmountRequired"]
    assert quoted["priceUsd"] == "0.0218"
    assert quoted["available"] is True


async def test_a_quote_offers_every_accepted_network():
    api = make_api(networks=("eip155:84532", "eip155:8453"))

    quoted = (await api.client.post("/lease/quote", BODY)).json()

    assert [offer["network"] for offer in quoted["accepts"]] == ["base-sepolia", "base"]


@pytest.mark.parametrize(
    ("failure", "available"), [(errors.NoCapacity(), False), (errors.ProxmoxUnavailable(), None)]
)
async def test_a_quote_says_whether_there_is_room(api: Api, failure, available):
    api.leases.failures["check_room"] = failure

    quoted = (await api.client.post("/lease/quote", BODY)).json()

    assert quoted["available"] is available


async def test_a_quote_needs_no_credential_but_refuses_unknown_fields(api: Api):
    bare = {key: value for key, value in BODY.items() if key != "password"}

    assert (await api.client.post("/lease/quote", bare)).status == 200
    reply = await api.client.post("/lease/quote", {**bare, "colour": "green"})
    assert (reply.status, reply.code) == (422, "invalid_body")


async def test_a_renewal_can_be_quoted(api: Api):
    made = api.leases.add(fake_leases.make_lease(OWNER))

    quoted = await api.client.post("/lease/quote", {"ctid": made.lease_id, "runtimeMinutes": 60})

    assert quoted.json()["priceUsd"] == "0.0198"
    assert quoted.json()["cores"] == made.size.cores


@pytest.mark.parametrize("named", ["10000", "10001", "99999", "100", "999999999"])
async def test_a_quote_by_ctid_tells_a_stranger_nothing(api: Api, named: str):
    api.leases.add(fake_leases.make_lease(OWNER))
    api.leases.add(fake_leases.make_lease(OWNER, vmid=10001))
    asked = {"ctid": named, "runtimeMinutes": 60}

    reply = await api.client.post("/lease/quote", asked)

    assert (reply.status, reply.code) == (401, "unauthenticated")
    assert "leaseId" in reply.json()["detail"]
    assert api.leases.calls == []


@pytest.mark.parametrize(("owner", "status"), [(OWNER, 200), (f"{NETWORK}:0x{'12' * 20}", 404)])
async def test_a_quote_by_ctid_is_for_who_holds_a_token(api: Api, owner: str, status: int):
    made = api.leases.add(fake_leases.make_lease(OWNER))
    api.access.callers["token-0123456789abcdef"] = service.Caller(owner=owner)
    asked = {"ctid": made.ctid, "runtimeMinutes": 60}

    reply = await api.client.post(
        "/lease/quote", asked, headers={"Authorization": "Bearer token-0123456789abcdef"}
    )

    assert reply.status == status


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/lease/container", b""),
        ("POST", "/lease/container", BODY),
        ("POST", "/lease/10000/renew", b""),
        ("GET", "/management/list", b""),
        ("GET", "/lease/10000", b""),
    ],
)
async def test_no_payment_is_asked_for_on_a_chain_that_cannot_be_read(
    api: Api, method: str, path: str, body: Any
):
    asked = await api.client.request(method, path, body)
    api.unreadable.add("eip155:84532")

    refused = await api.client.request(method, path, body)
    api.unreadable.clear()
    again = await api.client.request(method, path, body)

    assert (asked.status, again.status) == (402, 402)
    assert (refused.status, refused.code) == (503, "chain_unavailable")
    assert "payment-required" not in refused.headers


async def test_only_networks_that_can_be_read_are_on_offer():
    api = make_api(networks=("eip155:84532", "eip155:8453"))
    api.unreadable.add("eip155:8453")

    reply = await api.client.post("/lease/container", BODY)

    offered = wallets.decoded(reply.headers["payment-required"])["accepts"]
    assert [offer["network"] for offer in offered] == ["eip155:84532"]


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
async def test_who_pays_is_counted_by_address_and_subnet(address: str, counted: str):
    api = make_api()
    api.client.client = (address, 50000)
    unpaid = await api.client.post("/lease/container", BODY)
    signed = wallets.payment_headers(wallets.ALICE, unpaid)

    await api.client.post("/lease/container", BODY, headers=signed)

    ((_, purchase),) = api.leases.named("create")
    assert purchase.client_address == counted


@pytest.mark.parametrize(
    ("ipv4", "pending", "ahead", "said"),
    [
        (
            '{ subnet = "10.7.0.0/24", ranges = ["10.7.0.9"] }',
            11,
            0,
            "up to 11 seconds",
        ),
        ('{ subnet = "10.7.0.0/24", from = "dhcp" }', 0, 27, "about 27 seconds"),
    ],
)
async def test_quote_402_and_catalogue_say_how_long_the_network_takes(
    api: Api, ipv4: str, pending: int, ahead: int, said: str
):
    table = f'[network.n]\nbridge = "b"\ndefault = true\nisolation = "tenant"\nipv4 = {ipv4}\n'
    api.leases.catalogue = catalogue.parse(f"{SHIPPED}\n{table}").with_network(fake_leases.NETWORK)

    quoted = (await api.client.post("/lease/quote", BODY)).json()
    asked = (await api.client.post("/lease/container", BODY)).json()
    (profile,) = (await api.client.get("/catalogue")).json()["networkProfiles"]

    assert (quoted["networkPendingSeconds"], quoted["networkAheadSeconds"]) == (pending, ahead)
    assert (profile["pendingSeconds"], profile["aheadSeconds"]) == (pending, ahead)
    assert said in asked["error"]


async def test_the_catalogue_shows_images_as_their_files_are_now(api: Api):
    volume = "local:vztmpl/debian.tar.zst"
    image = f'[image.debian-12]\ntemplate = "{volume}"\nos = "Debian 12"\n'
    other = '[image.alpine]\ntemplate = "local:vztmpl/alpine.tar.xz"\n'
    refused = '[image.box]\noci = "docker.io/library/busybox:1.36"\n'
    text = f'{SHIPPED}\nimages = ["debian-12", "box", "alpine"]\n{image}{other}{refused}'
    api.leases.catalogue = catalogue.parse(text).with_network(fake_leases.NETWORK)
    api.leases.unsold.add("box")
    unseen, _ = (await api.client.get("/catalogue")).json()["images"]
    api.leases.files["debian-12"] = storage.Template(
        volid=volume, size_bytes=5, created_at=datetime(2026, 1, 2, tzinfo=UTC)
    )

    shown = (await api.client.get("/catalogue")).json()
    seen, _ = shown["images"]
    asked = await api.client.post("/lease/quote", {**BODY, "template": volume})

    assert (unseen["name"], unseen["os"]) == ("debian-12", "Debian 12")
    assert (unseen["sizeBytes"], unseen["updatedAt"]) == (None, None)
    assert (seen["sizeBytes"], seen["updatedAt"]) == (5, "2026-01-02T00:00:00Z")
    assert volume not in str(seen)
    assert shown["skus"][-1]["templates"] == ["debian-12", "alpine"]  # the usual one first
    assert asked.json()["code"] == "unknown_template"
