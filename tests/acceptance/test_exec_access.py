"""Who may run commands, what it costs them, and when it is refused before it costs anything."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from tests.support import commands, wallets
from tests.support.api_fixtures import BODY
from tests.support.commands import Container
from tests.support.processes import ServeProcess


@pytest.fixture(scope="module")
def container(service: ServeProcess, owner: Any) -> Container:
    """A container that the owner paid for."""
    return commands.lease(service, owner)


def _fee_payer(service: ServeProcess, account: Any) -> requests.Session:
    return service.tenant(account)


def test_without_proof_the_fee_is_asked_for(container: Container):
    reply = requests.post(container.url, json={"command": "id"}, timeout=30)

    assert reply.status_code == 402
    assert reply.json()["accepts"][0]["maxAmountRequired"] == "1000"


def test_the_owner_may_pay_the_fee_with_the_official_client(container: Container, owner):
    service = container.service
    before = service.devnet.usdc(owner.address)

    reply = _fee_payer(service, owner).post(
        container.url, json={"command": "echo paid"}, timeout=60
    )

    assert (reply.status_code, reply.json()["output"]) == (200, "paid\n")
    assert wallets.decoded(reply.headers["PAYMENT-RESPONSE"])["success"] is True
    assert before - service.devnet.usdc(owner.address) == 1000


def test_a_token_costs_nothing(container: Container, owner):
    before = container.service.devnet.usdc(owner.address)

    assert container.output("echo free") == "free\n"

    assert container.service.devnet.usdc(owner.address) == before


def test_a_paid_command_is_not_run_again_for_the_same_payment(container: Container, owner):
    unpaid = requests.post(container.url, json={"command": "id"}, timeout=30)
    signed = wallets.payment_headers(owner, wallets.of(unpaid))
    count = {"command": "echo x >>/tmp/runs; cat /tmp/runs"}

    first = requests.post(container.url, json=count, headers=signed, timeout=60)
    again = requests.post(container.url, json=count, headers=signed, timeout=60)

    assert first.json()["output"] == "x\n"
    assert (again.status_code, again.json()["code"]) == (409, "payment_reused")
    assert container.output("cat /tmp/runs") == "x\n"


@pytest.mark.parametrize(
    "body", [{}, {"command": "id", "argv": ["id"]}, {"command": "a\0b"}, {"argv": "id"}]
)
def test_what_cannot_be_run_is_not_charged(container: Container, owner, body):
    before = container.service.devnet.usdc(owner.address)

    reply = _fee_payer(container.service, owner).post(container.url, json=body, timeout=60)

    assert reply.status_code == 422
    assert container.service.devnet.usdc(owner.address) == before


@pytest.mark.parametrize("path", ["exec", "files"])
def test_a_stranger_finds_nothing_and_pays_nothing(container: Container, path: str):
    service = container.service
    stranger = service.devnet.wallet(1_000_000)
    url = f"{service.url}/management/{path}/{container.ctid}"
    method = "POST" if path == "exec" else "GET"
    more = {"json": {"command": "id"}} if path == "exec" else {"params": {"path": "/etc/passwd"}}

    reply = _fee_payer(service, stranger).request(method, url, timeout=60, **more)

    assert (reply.status_code, reply.json()["code"]) == (404, "lease_not_found")
    assert service.devnet.usdc(stranger.address) == 1_000_000


def test_another_leases_token_finds_nothing(container: Container):
    other = commands.lease(container.service)

    reply = requests.post(container.url, json={"command": "id"}, headers=other.bearer, timeout=30)

    assert (reply.status_code, reply.json()["code"]) == (404, "lease_not_found")


def _narrow_token(container: Container, owner: Any, scope: list[str]) -> dict[str, str]:
    token = commands.signed_in(container.service, owner, scope=scope)
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    ("scope", "exec_status", "files_status"),
    [(["exec"], 200, 403), (["files"], 403, 200), (["read"], 403, 403)],
)
def test_a_token_opens_what_its_scope_names(
    container: Container, owner, scope, exec_status, files_status
):
    token = _narrow_token(container, owner, scope)

    ran = requests.post(container.url, json={"command": "id"}, headers=token, timeout=30)
    read = requests.get(
        container.files_url, params={"path": "/etc/passwd"}, headers=token, timeout=30
    )

    assert (ran.status_code, read.status_code) == (exec_status, files_status)


@pytest.mark.parametrize("how", ["token", "fee"])
def test_a_container_that_is_down_is_409_and_costs_nothing(service: ServeProcess, how: str):
    payer = service.devnet.wallet(5_000_000)
    container = commands.lease(service, payer)
    container.post(command="true")
    service.devnet.stop_guest(container.ctid)
    before = service.devnet.usdc(payer.address)

    if how == "token":
        reply = container.post(command="id")
    else:
        reply = _fee_payer(service, payer).post(container.url, json={"command": "id"}, timeout=60)

    assert (reply.status_code, reply.json()["code"]) == (409, "guest_not_running")
    assert service.devnet.usdc(payer.address) == before


def test_a_lease_that_ended_runs_nothing_more(service: ServeProcess):
    payer = service.devnet.wallet(5_000_000)
    container = commands.lease(service, payer)
    with container.stream(command="echo here; sleep 600") as reply:
        seen = commands.events(reply)
        assert [next(seen).kind, next(seen).kind] == ["start", "stdout"]
        requests.delete(
            f"{service.url}/lease/{container.lease_id}", headers=container.bearer, timeout=30
        )
        last = list(seen)[-1]
    before = service.devnet.usdc(payer.address)

    by_token = container.post(command="id")
    by_fee = _fee_payer(service, payer).post(
        f"{service.url}/management/exec/{container.lease_id}", json={"command": "id"}, timeout=60
    )

    assert (last.kind, last.facts["code"]) == ("error", "guest_closed")
    assert by_token.status_code in {401, 409}
    assert (by_fee.status_code, by_fee.json()["code"]) == (409, "lease_not_ready")
    assert service.devnet.usdc(payer.address) == before


def test_a_lease_for_commands_needs_no_more_than_the_known_fields(service: ServeProcess):
    known = {name: BODY[name] for name in ("sku", "runtimeMinutes", "hostname", "password")}
    bought = service.tenant().post(f"{service.url}/lease/container", json=known, timeout=60).json()

    reply = requests.post(
        f"{service.url}/management/exec/{bought['ctid']}",
        json={"command": "hostname", "extraArgs": []},
        headers={"Authorization": f"Bearer {bought['accessToken']}"},
        timeout=30,
    )

    assert {"ctid", "upid", "output"} <= reply.json().keys()
    assert reply.json()["output"] == "demo-server\n"
