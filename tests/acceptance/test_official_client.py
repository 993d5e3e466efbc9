"""The official Python client of x402 version 2, as it is, against a running service."""

import requests
from tests.support import wallets
from tests.support.api_fixtures import BODY
from tests.support.processes import ServeProcess


def test_a_lease_is_bought_renewed_listed_and_ended(service: ServeProcess):
    account = service.devnet.wallet(2_000_000)
    tenant = service.tenant(account)
    operator = service.devnet.settings["PAY_TO"]
    earned_before = service.devnet.usdc(operator)

    bought = tenant.post(f"{service.url}/lease/container", json=BODY, timeout=60)
    assert bought.status_code == 200, bought.text
    lease = bought.json()
    guest = service.devnet.guest(lease["ctid"])
    assert (guest["name"], guest["status"]) == (BODY["hostname"], "running")

    renewed = tenant.post(
        f"{service.url}/lease/{lease['ctid']}/renew", json={"runtimeMinutes": 30}, timeout=60
    )
    assert renewed.status_code == 200, renewed.text
    assert renewed.json()["expiresAt"] > lease["expiresAt"]

    (item,) = tenant.get(f"{service.url}/management/list", timeout=60).json()
    assert item["leaseId"] == lease["leaseId"]
    assert item["ownerWallet"] == account.address

    spent = 2_000_000 - service.devnet.usdc(account.address)
    assert spent == 21_800 + 9_900 + 1_000
    assert service.devnet.usdc(operator) - earned_before == spent

    ended = requests.delete(
        f"{service.url}/lease/{lease['leaseId']}",
        headers={"Authorization": f"Bearer {lease['accessToken']}"},
        timeout=30,
    )
    assert ended.status_code == 202


def test_the_receipt_names_a_transfer_on_the_chain(service: ServeProcess):
    account = service.devnet.wallet()

    listed = service.tenant(account).get(f"{service.url}/management/list", timeout=60)

    receipt = wallets.decoded(listed.headers["PAYMENT-RESPONSE"])
    on_chain = service.devnet.rpc("eth_getTransactionReceipt", receipt["transaction"])
    assert int(on_chain["status"], 16) == 1
    assert receipt["payer"] == account.address
    assert listed.json() == []


def test_a_wallet_without_money_is_refused_and_gets_nothing(service: ServeProcess):
    before = set(service.devnet.guests())
    tenant = service.tenant(service.devnet.wallet(usdc_atomic=1))

    reply = tenant.post(f"{service.url}/lease/container", json=BODY, timeout=60)

    assert reply.status_code == 402
    assert wallets.decoded(reply.headers["PAYMENT-RESPONSE"])["success"] is False
    assert set(service.devnet.guests()) <= before


def test_the_same_payment_again_gives_the_facts_but_no_secret(service: ServeProcess):
    url = f"{service.url}/lease/container"
    unpaid = requests.post(url, json=BODY, timeout=30)
    signed = wallets.payment_headers(service.devnet.wallet(), wallets.of(unpaid))

    first = requests.post(url, json=BODY, headers=signed, timeout=60)
    again = requests.post(url, json=BODY, headers=signed, timeout=60)
    other = requests.post(url, json={**BODY, "hostname": "other"}, headers=signed, timeout=60)

    assert first.json()["accessToken"]
    assert again.json()["leaseId"] == first.json()["leaseId"]
    assert again.json()["accessToken"] is None
    assert (other.status_code, other.json()["code"]) == (409, "payment_reused")


def test_an_idempotency_key_gives_the_whole_first_answer_again(service: ServeProcess):
    account = service.devnet.wallet()
    key = {"Idempotency-Key": "0123456789abcdefghijkl"}
    url = f"{service.url}/lease/container"

    first = service.tenant(account).post(url, json=BODY, headers=key, timeout=60)
    after_first = service.devnet.usdc(account.address)
    again = service.tenant(account).post(url, json=BODY, headers=key, timeout=60)

    assert again.json()["accessToken"] == first.json()["accessToken"]
    assert service.devnet.usdc(account.address) == after_first


def test_respond_async_is_followed_by_its_lease_id(service: ServeProcess):
    account = service.devnet.wallet()
    tenant = service.tenant(account)

    accepted = tenant.post(
        f"{service.url}/lease/container",
        json=BODY,
        headers={"Prefer": "respond-async"},
        timeout=30,
    )

    assert accepted.status_code == 202
    assert accepted.json()["ctid"] is None
    shown = tenant.get(f"{service.url}/lease/{accepted.json()['leaseId']}", timeout=30)
    assert shown.json()["status"] in {"provisioning", "active"}
