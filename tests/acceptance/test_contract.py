"""The first service's clients work unchanged: paths, field names and types of its routes.

What else exec and console answer is beside their tests.
"""

import re
from typing import Any

import pytest
import requests
from tests.support import wallets
from tests.support.api_fixtures import BODY
from tests.support.processes import ServeProcess

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
CPU = {"usage": float, "cores": int, "pct": float}
MEMORY = {"total": int, "used": int, "free": int, "pct": float}
CREATED = {
    "leaseId": str,
    "status": str,
    "ctid": re.compile(r"[0-9]+"),
    "expiresAt": RFC3339,
    "message": str,
    "ownerWallet": ADDRESS,
    "accessToken": str,
}
LISTED = {
    "leaseId": str,
    "ctid": re.compile(r"[0-9]+"),
    "status": str,
    "expiresAt": RFC3339,
    "network": str,
    "createdAt": RFC3339,
    "vmStatus": {"status": str},
}
NODE = {"node": str, "cpu": CPU, "memory": MEMORY, "disk": MEMORY}
GUEST = {
    "leaseId": str,
    "ctid": re.compile(r"[0-9]+"),
    "sku": str,
    "status": str,
    "cpu": CPU,
    "memory": MEMORY,
    "disk": MEMORY,
    "error": type(None),
}


@pytest.fixture(scope="module")
def tenant(service: ServeProcess) -> requests.Session:
    return service.tenant()


@pytest.fixture(scope="module")
def lease(service: ServeProcess, tenant: requests.Session) -> dict[str, Any]:
    answer = tenant.post(f"{service.url}/lease/container", json=BODY, timeout=60)
    assert answer.status_code == 200
    return answer.json()


def test_a_lease_answers_with_the_known_names_and_types(lease: dict[str, Any]):
    _check(lease, CREATED)
    assert lease["status"] == "active"


@pytest.mark.parametrize("version", [1, 2])
def test_a_lease_needs_no_hostname_and_keeps_the_one_it_was_given(service, version: int):
    url = f"{service.url}/lease/container"
    body = {**BODY, "sku": "basic-lxc", "hostname": None}
    unpaid = requests.post(url, json=body, timeout=60)
    wallet = service.devnet.wallet(1_000_000)
    payment = wallets.payment_headers(wallet, wallets.of(unpaid), version=version)

    first, again = (requests.post(url, json=body, headers=payment, timeout=60) for _ in range(2))

    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json()["hostname"] == again.json()["hostname"]
    assert re.fullmatch(r"basic-lxc-[0-9a-f]{6}", first.json()["hostname"])


def test_a_renewal_answers_with_the_known_names_and_types(service, tenant, lease):
    url = f"{service.url}/lease/{lease['ctid']}/renew"

    renewed = tenant.post(url, json={"runtimeMinutes": 1}, timeout=60).json()

    _check(renewed, {k: v for k, v in CREATED.items() if k != "accessToken"})


def test_the_list_has_the_known_names_and_types(service, tenant, lease):
    listed = tenant.get(f"{service.url}/management/list", timeout=60).json()

    assert [item["leaseId"] for item in listed] == [lease["leaseId"]]
    _check(listed[0], LISTED)
    assert listed[0]["network"] == "base-sepolia"


def test_node_figures_have_the_known_names_and_types(service):
    _check(requests.get(f"{service.url}/stats/node", timeout=30).json(), NODE)


def test_guest_figures_have_the_known_names_and_types(service, tenant, lease):
    figures = tenant.get(f"{service.url}/stats/lxc", timeout=60).json()

    assert [item["leaseId"] for item in figures] == [lease["leaseId"]]
    _check({**figures[0]}, GUEST)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"consoleType": None},
        {"consoleType": "vnc"},
        {"consoleType": "spice"},
        {"consoleType": "spice", "unknown": 1},
        {"consoleType": "terminal"},
    ],
)
def test_a_console_has_the_known_names_and_types(service, tenant, lease, body):
    path = f"{service.url}/management/console/{lease['ctid']}"
    answer = tenant.post(path, json=body, timeout=60).json()

    _check(
        answer,
        {
            "ctid": re.compile(lease["ctid"]),
            "host": str,
            "port": int,
            "ticket": str,
            "user": ADDRESS,
            "cert": str,
            "proxy": str,
            "websocket": type(None),
            "consoleUrl": re.compile(r"https?://[^ ]+"),
        },
    )


@pytest.mark.parametrize(
    "body",
    [
        {"command": "echo"},
        {"command": "echo", "extraArgs": None},
        {"command": "echo", "extraArgs": []},
        {"command": "echo", "extraArgs": ["a b", "$HOME"]},
        {"command": ""},
        {"command": "false", "unknown": None},
    ],
)
def test_a_command_has_the_known_names_and_types(service, tenant, lease, body):
    path = f"{service.url}/management/exec/{lease['ctid']}"
    answer = tenant.post(path, json=body, timeout=60)

    assert answer.status_code == 200, answer.text
    _check(answer.json(), {"ctid": re.compile(lease["ctid"]), "upid": str, "output": str})


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/lease/container", {**BODY, "sku": "gold"}, 422),
        ("POST", "/lease/container", {}, 422),
        ("POST", "/lease/99999/renew", {"runtimeMinutes": 5}, 404),
        ("GET", "/nowhere", None, 404),
        ("GET", "/management/list", None, 402),
    ],
)
def test_every_error_has_a_detail_and_a_code(service, method, path, body, status):
    reply = requests.request(method, service.url + path, json=body, timeout=30)

    assert reply.status_code == status
    assert isinstance(reply.json()["detail"], str)
    assert re.fullmatch(r"[a-z0-9_]+", reply.json()["code"])


def test_a_v1_challenge_has_what_clients_of_version_1_read(service):
    terms = requests.post(f"{service.url}/lease/container", json=BODY, timeout=30).json()

    _check(
        terms["accepts"][0],
        {
            "scheme": str,
            "network": str,
            "maxAmountRequired": re.compile(r"[0-9]+"),
            "resource": str,
            "description": str,
            "mimeType": str,
            "payTo": ADDRESS,
            "maxTimeoutSeconds": int,
            "asset": ADDRESS,
            "extra": {"name": str, "version": str},
        },
    )


def _check(value: Any, shape: Any) -> None:
    """Assert that a value has the names and types of a shape; more names are allowed."""
    if isinstance(shape, dict):
        assert isinstance(value, dict)
        for name, inner in shape.items():
            assert name in value
            _check(value[name], inner)
    elif isinstance(shape, re.Pattern):
        assert isinstance(value, str)
        assert shape.fullmatch(value), value
    elif shape is float:
        assert isinstance(value, (int, float))
        assert not isinstance(value, bool)
    else:
        assert isinstance(value, shape), (value, shape)
