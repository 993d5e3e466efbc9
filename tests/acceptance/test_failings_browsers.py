"""Browsers can pay: CORS stands before payment, and scripts can read the payment headers."""

import pytest
import requests
from tests.support.api_fixtures import BODY
from tests.support.processes import ServeProcess

ORIGIN = {"Origin": "https://shop.example.com"}


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/lease/container"), ("POST", "/lease/10000/renew"), ("GET", "/management/list")],
)
def test_a_preflight_is_not_asked_to_pay(service: ServeProcess, method: str, path: str):
    asked = {
        **ORIGIN,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "content-type,x-payment,payment-signature",
    }

    reply = requests.options(service.url + path, headers=asked, timeout=30)

    assert reply.status_code == 200
    allowed = reply.headers["Access-Control-Allow-Headers"].lower()
    assert "x-payment" in allowed
    assert "payment-signature" in allowed


def test_scripts_can_read_challenge_and_receipt(service: ServeProcess):
    url = f"{service.url}/lease/container"

    unpaid = requests.post(url, json=BODY, headers=ORIGIN, timeout=30)
    paid = service.tenant().post(url, json=BODY, headers=ORIGIN, timeout=60)

    for reply, header in ((unpaid, "PAYMENT-REQUIRED"), (paid, "PAYMENT-RESPONSE")):
        assert header in reply.headers
        assert header in reply.headers["Access-Control-Expose-Headers"]
        assert reply.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(("path", "status"), [("/nowhere", 404), ("/lease/quote", 422)])
def test_errors_reach_scripts_too(service: ServeProcess, path: str, status: int):
    reply = requests.post(service.url + path, data=b"{", headers=ORIGIN, timeout=30)

    assert reply.status_code == status
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
