"""The same life of a lease on other foundations: PostgreSQL, and settling with our own key."""

import secrets
import signal
from collections.abc import Callable
from concurrent import futures

import pytest
import requests
from eth_account import Account
from tests.support import wallets
from tests.support.api_fixtures import BODY
from tests.support.processes import ServeProcess, wait_until


@pytest.mark.postgres
def test_a_lease_on_postgresql(serve: Callable[..., ServeProcess], postgres_url: str):
    service = serve(DATABASE_URL=postgres_url, PVE402_SECRET_KEY=secrets.token_hex(32))

    _walk(service)


def test_a_lease_settled_by_our_own_key(serve: Callable[..., ServeProcess], devnet):
    signer = Account.create()
    devnet.rpc("devnet_fundEth", signer.address, hex(10**18))
    service = serve(without=["FACILITATOR_URL"], FACILITATOR_PRIVATE_KEY=signer.key.hex())
    calls_before = _settlements(devnet)

    transaction = _walk(service)

    sent = devnet.rpc("eth_getTransactionByHash", transaction)
    assert sent["from"].lower() == signer.address.lower()
    assert _settlements(devnet) == calls_before


def test_a_request_under_way_at_the_end_is_answered_and_finished_later(
    serve: Callable[..., ServeProcess], devnet, tmp_path
):
    database = {"DATABASE_URL": f"sqlite:///{tmp_path}/kept.sqlite3"}
    service = serve(**database)
    unpaid = requests.post(f"{service.url}/lease/container", json=BODY, timeout=30)
    signed = wallets.payment_headers(devnet.wallet(), wallets.of(unpaid))
    devnet.faults("slow", "settle")
    with futures.ThreadPoolExecutor() as pool:
        asking = pool.submit(_post, service, signed)
        wait_until(lambda: _settling(devnet), service.process, "settling")
        code = service.process.end(signal.SIGTERM)
        answer = asking.result()

    assert code == 0
    assert (answer.status_code, answer.json()["code"]) == (503, "order_pending")
    after = serve(**database)
    again = _post(after, signed)
    assert again.status_code == 200, again.text
    assert devnet.guest(again.json()["ctid"])["status"] == "running"


def _post(service: ServeProcess, signed: dict[str, str]) -> requests.Response:
    return requests.post(f"{service.url}/lease/container", json=BODY, headers=signed, timeout=60)


def _settling(devnet) -> bool:
    """Whether the slow fault has been met."""
    faults = requests.get(f"{devnet.settings['FACILITATOR_URL']}/devnet/faults", timeout=30)
    return "slow" not in faults.text


def _walk(service: ServeProcess) -> str:
    """Lease, renew, list; the hash of the first transfer."""
    tenant = service.tenant()
    bought = tenant.post(f"{service.url}/lease/container", json=BODY, timeout=60)
    assert bought.status_code == 200, bought.text
    ctid = bought.json()["ctid"]
    renewed = tenant.post(
        f"{service.url}/lease/{ctid}/renew", json={"runtimeMinutes": 5}, timeout=60
    )
    listed = tenant.get(f"{service.url}/management/list", timeout=60)
    assert (renewed.status_code, listed.status_code) == (200, 200), renewed.text + listed.text
    assert [item["ctid"] for item in listed.json()] == [ctid]
    return bought.json()["transaction"]


def _settlements(devnet) -> int:
    """How often the devnet's facilitator was asked to settle."""
    url = f"{devnet.settings['FACILITATOR_URL']}/devnet/calls"
    calls = requests.get(url, timeout=30).json()
    listed = calls["calls"] if isinstance(calls, dict) else calls
    return sum(call["endpoint"] == "settle" for call in listed)
