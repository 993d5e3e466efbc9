"""No body, however odd, is answered 500, and none is asked to pay before it is understood."""

import pytest
import requests
from tests.support.processes import ServeProcess

ROUTES = [
    "/lease/container",
    "/lease/10000/renew",
    "/lease/quote",
    "/auth/challenge",
    "/auth/token",
]
BODIES = [
    b"[]",
    b"true",
    b"null",
    b"NaN",
    b"1e400",
    b'"text"',
    b"{",
    b'{"runtimeMinutes": NaN}',
    b'{"runtimeMinutes": 1e400}',
    b'{"runtimeMinutes": Infinity}',
    b'{"runtimeMinutes": 1, "runtimeMinutes": 2}',
    b'{"runtimeMinutes": ' + b"9" * 5000 + b"}",
    b'{"payload": "\\ud800"}',
    b"[" * 60_000,
    b'{"a":' * 10_000,
    b"\xff\xfe",
    b"\x00",
]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("body", BODIES, ids=lambda body: body[:24].decode("latin-1"))
def test_an_odd_body_is_422_with_a_code(service: ServeProcess, route: str, body: bytes):
    reply = requests.post(
        service.url + route, data=body, headers={"Content-Type": "application/json"}, timeout=30
    )

    assert reply.status_code == 422
    assert reply.json()["code"] in {"invalid_json", "invalid_body"}
    assert "PAYMENT-REQUIRED" not in reply.headers


@pytest.mark.parametrize("route", ROUTES)
def test_a_body_without_end_is_413(service: ServeProcess, route: str):
    def endless():
        for _ in range(100):
            yield b" " * 10_000

    try:
        reply = requests.post(service.url + route, data=endless(), timeout=30)
    except requests.ConnectionError:  # the server closed it while we were still sending
        return
    assert (reply.status_code, reply.json()["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("header", ["X-PAYMENT", "PAYMENT-SIGNATURE"])
@pytest.mark.parametrize(
    "value", ["", "nonsense", "e30=", "W1tbW1tbW1tbW1s=", "bnVsbA==", "A" * 20_000, "\xe9"]
)
def test_an_odd_payment_is_no_500(service: ServeProcess, header: str, value: str):
    reply = requests.get(
        f"{service.url}/management/list", headers={header: value.encode("latin-1")}, timeout=30
    )

    assert reply.status_code in {400, 402}
    assert reply.json()["code"].startswith("payment_")
    assert service.alive()
