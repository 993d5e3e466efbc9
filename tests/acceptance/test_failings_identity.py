"""Nobody is believed without proof, and strangers learn nothing about other people's leases."""

import pytest
import requests
from tests.support import wallets
from tests.support.api_fixtures import BODY
from tests.support.processes import ServeProcess


@pytest.fixture(scope="module")
def owner(service: ServeProcess):
    return service.devnet.wallet()


@pytest.fixture(scope="module")
def lease(service: ServeProcess, owner) -> dict:
    tenant = service.tenant(owner)
    return tenant.post(f"{service.url}/lease/container", json=BODY, timeout=60).json()


@pytest.mark.parametrize("path", ["/management/list", "/stats/lxc", "/lease/{ctid}"])
@pytest.mark.parametrize("name", ["X-Wallet-Address", "X-Payer", "X-User", "Payer"])
def test_a_wallet_named_in_a_header_is_not_believed(service, owner, lease, path, name):
    reply = requests.get(
        service.url + path.format(**lease), headers={name: owner.address}, timeout=30
    )

    assert reply.status_code == 402
    assert lease["leaseId"] not in reply.text


@pytest.mark.parametrize("path", ["/management/list", "/stats/lxc", "/lease/{ctid}"])
def test_a_payment_that_the_named_payer_did_not_sign_is_not_believed(service, owner, lease, path):
    url = service.url + path.format(**lease)
    unpaid = requests.get(url, timeout=30)
    signed = wallets.payment_headers(service.devnet.wallet(), wallets.of(unpaid))
    payment = wallets.decoded(signed["PAYMENT-SIGNATURE"])
    payment["payload"]["authorization"]["from"] = owner.address
    before = service.devnet.usdc(owner.address)

    forged = {"PAYMENT-SIGNATURE": wallets.encoded(payment)}
    reply = requests.get(url, headers=forged, timeout=30)

    assert reply.status_code == 402
    assert lease["leaseId"] not in reply.text
    assert service.devnet.usdc(owner.address) == before


@pytest.mark.parametrize("path", ["/management/list", "/stats/lxc"])
def test_lists_and_figures_show_the_caller_alone(service, lease, path):
    stranger = service.tenant()

    assert stranger.get(service.url + path, timeout=30).json() == []
    assert requests.get(service.url + path, timeout=30).status_code == 402


def test_a_strangers_payment_opens_no_lease_and_is_not_taken(service, lease):
    stranger = service.devnet.wallet(1_000_000)

    shown = service.tenant(stranger).get(f"{service.url}/lease/{lease['ctid']}", timeout=30)
    ended = service.tenant(stranger).delete(f"{service.url}/lease/{lease['ctid']}", timeout=30)

    assert [shown.status_code, ended.status_code] == [404, 404]
    assert service.devnet.usdc(stranger.address) == 1_000_000


def test_strangers_cannot_tell_a_lease_from_none(service, lease):
    there = requests.get(f"{service.url}/lease/{lease['ctid']}", timeout=30)
    nowhere = requests.get(f"{service.url}/lease/99999", timeout=30)

    assert there.status_code == nowhere.status_code == 402
    assert there.text.replace(lease["ctid"], "99999") == nowhere.text


def test_a_renewal_by_a_stranger_is_404_and_is_not_taken(service, lease):
    stranger = service.devnet.wallet(1_000_000)
    url = f"{service.url}/lease/{lease['ctid']}/renew"

    reply = service.tenant(stranger).post(url, json={"runtimeMinutes": 5}, timeout=30)

    assert (reply.status_code, reply.json()["code"]) == (404, "lease_not_found")
    assert service.devnet.usdc(stranger.address) == 1_000_000


def test_a_token_holder_renews_with_any_wallet(service, lease):
    url = f"{service.url}/lease/{lease['ctid']}/renew"
    bearer = {"Authorization": f"Bearer {lease['accessToken']}"}

    reply = service.tenant().post(url, json={"runtimeMinutes": 5}, headers=bearer, timeout=30)

    assert reply.status_code == 200
    assert reply.json()["expiresAt"] > lease["expiresAt"]
