"""Prices come from the parsed body and our own settings, whatever else a request says."""

import socket
from urllib.parse import urlsplit

import pytest
import requests
from tests.support import wallets
from tests.support.api_fixtures import BODY
from tests.support.processes import ServeProcess


@pytest.fixture(scope="module")
def ctid(service: ServeProcess) -> str:
    """A lease of the usual size."""
    answer = service.tenant().post(f"{service.url}/lease/container", json=BODY, timeout=60)
    return answer.json()["ctid"]


@pytest.mark.parametrize(
    "extra",
    [
        {"cores": -100_000},
        {"memoryMB": -1, "diskGB": -1},
        {"cores": 0, "price": 0, "amount": "1"},
        {"sku": "free", "runtimeminutes": 1},
    ],
)
def test_extra_fields_do_not_change_the_price_of_a_renewal(service: ServeProcess, ctid, extra):
    url = f"{service.url}/lease/{ctid}/renew"
    plain = requests.post(url, json={"runtimeMinutes": 30}, timeout=30)

    reply = requests.post(url, json={"runtimeMinutes": 30, **extra}, timeout=30)

    assert _amount(reply) == _amount(plain) == 9900


@pytest.mark.parametrize("minutes", [-150, 0, -1, 10**12, 1.5, True, None])
def test_a_price_is_never_asked_for_impossible_minutes(service: ServeProcess, ctid, minutes):
    for path in (f"/lease/{ctid}/renew", "/lease/container"):
        body = {**BODY, "runtimeMinutes": minutes}
        reply = requests.post(service.url + path, json=body, timeout=30)
        assert reply.status_code in {409, 422}
        assert "PAYMENT-REQUIRED" not in reply.headers


@pytest.mark.parametrize("change", [{"diskGB": 0}, {"diskGB": -8}, {"cores": 0}, {"memoryMB": 0}])
def test_no_size_is_nothing_in_price_and_everything_in_use(service: ServeProcess, change):
    reply = requests.post(f"{service.url}/lease/container", json={**BODY, **change}, timeout=30)

    assert (reply.status_code, reply.json()["code"]) == (422, "out_of_bounds")


def test_size_and_time_multiply(service: ServeProcess):
    url = f"{service.url}/lease/container"
    small = requests.post(url, json={**BODY, "runtimeMinutes": 600}, timeout=30)
    large = requests.post(url, json={**BODY, "runtimeMinutes": 600, "cores": 2}, timeout=30)

    assert _amount(large) - _amount(small) == 600 * 200


@pytest.mark.parametrize(
    "host", ["svc/management?", "svc/management/list?x=", "evil.example.com", "svc:4021#", ""]
)
def test_the_host_header_changes_neither_price_nor_resource(service: ServeProcess, host: str):
    raw = _raw(service, f"POST /lease/container HTTP/1.1\r\nHost: {host}\r\n", b'{"x":')

    honest = requests.post(f"{service.url}/lease/container", timeout=30)
    forged = _raw(service, f"POST /lease/container HTTP/1.1\r\nHost: {host}\r\n", b"")

    assert b" 402 " in forged.split(b"\r\n")[0]
    assert forged.endswith(honest.content)
    assert b"evil" not in forged
    assert b" 422 " in raw.split(b"\r\n")[0]


def test_a_payment_of_the_management_fee_buys_no_lease(service: ServeProcess):
    fee = requests.get(f"{service.url}/management/list", timeout=30)
    signed = wallets.payment_headers(service.devnet.wallet(), wallets.of(fee))

    reply = requests.post(f"{service.url}/lease/container", json=BODY, headers=signed, timeout=30)

    assert (reply.status_code, reply.json()["code"]) == (402, "payment_amount_mismatch")


def _amount(reply: requests.Response) -> int:
    assert reply.status_code == 402
    return int(reply.json()["accepts"][0]["maxAmountRequired"])


def _raw(service: ServeProcess, head: str, body: bytes) -> bytes:
    """Send bytes that no HTTP library would."""
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        length = f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode() + length.encode() + body)
        return b"".join(iter(lambda: connection.recv(65536), b""))
