"""An outage is reported with a time to retry; nothing is charged and nothing is left behind."""

from collections.abc import Callable

import pytest
import requests
from tests.support.api_fixtures import BODY
from tests.support.processes import ServeProcess

NOWHERE = "http://127.0.0.1:9"


def test_without_a_facilitator_a_payment_is_503_and_nothing_is_claimed(
    serve: Callable[..., ServeProcess],
):
    service = serve(FACILITATOR_URL=NOWHERE)
    account = service.devnet.wallet(1_000_000)
    before = set(service.devnet.guests())

    replies = [
        service.tenant(account).post(f"{service.url}/lease/container", json=BODY, timeout=60),
        service.tenant(account).get(f"{service.url}/management/list", timeout=60),
    ]

    for reply in replies:
        assert (reply.status_code, reply.json()["code"]) == (503, "facilitator_unavailable")
        assert int(reply.headers["Retry-After"]) > 0
    assert service.devnet.usdc(account.address) == 1_000_000
    assert set(service.devnet.guests()) == before


@pytest.mark.parametrize("endpoint", ["verify", "settle"])
def test_a_facilitator_that_is_unavailable_for_a_moment_is_no_500(
    service: ServeProcess, endpoint: str
):
    account = service.devnet.wallet(1_000_000)
    service.devnet.faults("unavailable", endpoint)

    reply = service.tenant(account).get(f"{service.url}/management/list", timeout=60)

    if endpoint == "verify":
        assert (reply.status_code, reply.json()["code"]) == (503, "facilitator_unavailable")
        assert service.devnet.usdc(account.address) == 1_000_000
    else:
        assert reply.status_code in {200, 503}
        assert "internal_error" not in reply.text


def test_without_proxmox_free_routes_answer_and_leases_are_503_before_any_402(
    serve: Callable[..., ServeProcess],
):
    service = serve(until="alive", PVE_HOST=NOWHERE)

    asked = requests.post(f"{service.url}/lease/container", json=BODY, timeout=60)
    quoted = requests.post(f"{service.url}/lease/quote", json=BODY, timeout=60)
    shown = requests.get(f"{service.url}/catalogue", timeout=60)
    ready = requests.get(f"{service.url}/readyz", timeout=60)

    assert (asked.status_code, asked.json()["code"]) == (503, "proxmox_unavailable")
    assert "PAYMENT-REQUIRED" not in asked.headers
    assert (quoted.status_code, quoted.json()["available"]) == (200, None)
    assert shown.status_code == 200
    assert (ready.status_code, ready.json()["checks"]["proxmox"]) == (503, False)


def test_without_proxmox_a_list_is_still_answered_and_says_unknown(
    serve: Callable[..., ServeProcess], tmp_path
):
    database = {"DATABASE_URL": f"sqlite:///{tmp_path}/shared.sqlite3"}
    before = serve(**database)
    account = before.devnet.wallet()
    bought = (
        before.tenant(account).post(f"{before.url}/lease/container", json=BODY, timeout=60).json()
    )
    before.process.end()
    after = serve(until="alive", PVE_HOST=NOWHERE, **database)

    listed = after.tenant(account).get(f"{after.url}/management/list", timeout=60)

    assert listed.status_code == 200, listed.text
    assert [item["leaseId"] for item in listed.json()] == [bought["leaseId"]]
    assert listed.json()[0]["vmStatus"]["status"] == "unknown"
