"""Consoles as programs open them: the ticket first, then bytes; and who is turned away."""

import json

import pytest
import requests
from tests.support import console_links
from tests.support.console_links import (
    LeaseHolder,
    closing,
    opened,
    read_until,
    ready,
    until_sized,
)
from tests.support.processes import ServeProcess

pytestmark = pytest.mark.namespaces


@pytest.fixture(scope="module")
def holder(service: ServeProcess) -> LeaseHolder:
    """A tenant whose container these tests share."""
    return console_links.lease_holder(service)


def test_the_answer_has_the_known_fields_and_nothing_of_proxmox(holder: LeaseHolder):
    answer = holder.ask()

    found = answer.json()
    proxmox = holder.service.devnet.settings
    assert {"ctid", "host", "port", "ticket", "user", "cert", "websocket", "proxy"} <= set(found)
    assert found["consoleUrl"] == f"{holder.service.url}/console/vnc#{found['ticket']}"
    assert f"{found['host']}:{found['port']}" in holder.service.url
    for secret in ("PVEVNC", "PVE:", "root@pam", "PVEAuthCookie", proxmox["PVE_HOST"][-5:]):
        assert secret not in answer.text


def test_a_program_types_and_reads(holder: LeaseHolder):
    with opened(holder.link("terminal"), columns=91, rows=33) as socket:
        facts = ready(socket)
        socket.send(b"stty size; echo $((6*7))x\r")
        seen = read_until(socket, b"42x")
        socket.send(json.dumps({"resize": {"columns": 61, "rows": 20}}))
        socket.send(until_sized("20 61"))
        read_until(socket, b"20 61 now")

    assert b"33 91" in seen
    assert facts["ctid"] == holder.lease["ctid"]


def test_it_is_told_the_addresses_of_the_container(holder: LeaseHolder):
    told = {}
    with opened(holder.link("terminal")) as socket:
        ready(socket)
        while "addresses" not in told:
            message = socket.recv(timeout=30)
            told = json.loads(message) if isinstance(message, str) else told

    url = f"{holder.service.url}/lease/{holder.lease['leaseId']}"
    shown = requests.get(url, headers={**holder.headers, "Prefer": "wait=30"}, timeout=60).json()
    assert told["addresses"] == [one["address"] for one in shown["addresses"]] != []


def test_a_link_opens_once(holder: LeaseHolder):
    link = holder.link("terminal")
    with opened(link) as socket:
        ready(socket)

    with opened(link) as socket:
        code, _ = closing(socket)

    assert code == 4401


def test_whoever_had_a_console_may_come_back_once(holder: LeaseHolder):
    with opened(holder.link("terminal")) as socket:
        resume = ready(socket)["resume"]
        socket.send(b"A=kept; echo do''ne\r")
        read_until(socket, b"done")

    link = {**holder.link("terminal"), "ticket": resume}
    with opened(link) as socket:
        ready(socket)
        socket.send(b"echo $A-again\r")
        read_until(socket, b"kept-again")
    with opened(link) as socket:
        code, _ = closing(socket)

    assert code == 4401


@pytest.mark.parametrize(
    ("origin", "code"),
    [("https://evil.example", 4403), ("null", 4403), ("http://127.0.0.1", 4403)],
)
def test_a_page_of_another_origin_is_turned_away(holder: LeaseHolder, origin: str, code: int):
    with opened(holder.link("terminal"), origin=origin) as socket:
        assert closing(socket)[0] == code


def test_our_own_origin_is_let_in(holder: LeaseHolder):
    with opened(holder.link("terminal"), origin=holder.service.url) as socket:
        assert ready(socket)["kind"] == "terminal"


def test_a_ticket_is_of_one_kind(holder: LeaseHolder):
    link = holder.link("terminal")

    with opened(link, url=link["websocketUrl"].replace("terminal", "vnc")) as socket:
        assert closing(socket)[0] == 4401


def test_a_ticket_opens_the_container_of_its_lease_alone(
    service: ServeProcess, holder: LeaseHolder
):
    other = console_links.lease_holder(service)
    url = f"{service.url}/management/console/{holder.lease['ctid']}"

    refused = requests.post(url, json={}, headers=other.headers, timeout=30)
    with opened(other.link("terminal")) as socket:
        facts = ready(socket)
        assert facts["leaseId"] == other.lease["leaseId"]

    assert refused.status_code == 404


@pytest.mark.parametrize(
    "hello", ["{", "[]", '{"ticket": 5}', '{"ticket": ""}', "{}" + " " * 2000, "[" * 900]
)
def test_a_hello_that_is_none_is_answered_4401(holder: LeaseHolder, hello: str):
    with console_links.connect(holder.link("terminal")["websocketUrl"]) as socket:
        socket.send(hello)
        assert closing(socket)[0] == 4401


def test_silence_is_answered_4401(holder: LeaseHolder):
    with console_links.connect(holder.link("terminal")["websocketUrl"]) as socket:
        assert closing(socket)[0] == 4401


def test_a_revoked_token_closes_what_it_opened(service: ServeProcess):
    holder = console_links.lease_holder(service)
    with opened(holder.link("terminal")) as socket:
        ready(socket)
        url = f"{service.url}/auth/token"
        requests.delete(url, headers=holder.headers, timeout=30).raise_for_status()

        code, told = closing(socket)

    assert code == 4404
    assert told[-1]["exit"] == "token_revoked"


def test_the_end_of_the_lease_ends_its_consoles_and_links(service: ServeProcess):
    holder = console_links.lease_holder(service)
    unused = holder.link("terminal")
    with opened(holder.link("terminal")) as socket:
        resume = ready(socket)["resume"]
        holder.end()
        code, told = closing(socket)

    assert (code, told[-1]["exit"]) == (4404, "ended_by_owner")
    for ticket in (unused["ticket"], resume):
        with opened({**unused, "ticket": ticket}) as socket:
            assert closing(socket)[0] in {4401, 4404}
    assert holder.ask("terminal").status_code == 409


def test_an_ended_shell_is_told_and_a_new_one_can_be_had(holder: LeaseHolder):
    with opened(holder.link("terminal")) as socket:
        ready(socket)
        socket.send(b"exit\r")
        code, told = closing(socket)

    with opened({**holder.link("terminal"), "ticket": told[-1]["resume"]}) as socket:
        ready(socket)
        socket.send(b"echo new''er\r")
        read_until(socket, b"newer")
    assert (code, told[-1]["exit"]) == (1000, "exit")


def test_terminal_and_picture_exclude_each_other(service: ServeProcess):
    holder = console_links.lease_holder(service)
    link = holder.link("vnc")
    with opened(holder.link("terminal")) as socket:
        ready(socket)
        refused = holder.ask("vnc")
        with opened(link) as second:
            assert closing(second)[0] == 4409

    assert (refused.status_code, refused.json()["code"]) == (409, "console_busy")


def test_a_command_is_refused_while_the_picture_is_open(service: ServeProcess):
    holder = console_links.lease_holder(service)
    run = f"{service.url}/management/exec/{holder.lease['ctid']}"
    command = {"command": "true"}
    with opened(holder.link("vnc")) as socket:
        ready(socket)
        during = requests.post(run, json=command, headers=holder.headers, timeout=30)
    after = console_links.once_free(
        lambda: requests.post(run, json=command, headers=holder.headers, timeout=30)
    )

    assert (during.status_code, during.json()["code"]) == (409, "console_busy")
    assert after.status_code == 200, after.text


def test_a_payer_of_the_fee_gets_a_link_and_a_stranger_the_price(service: ServeProcess):
    account = service.devnet.wallet()
    tenant = service.tenant(account)
    bought = tenant.post(f"{service.url}/lease/container", json=console_links.OFFER).json()
    url = f"{service.url}/management/console/{bought['ctid']}"

    stranger = requests.post(url, json={"consoleType": "terminal"}, timeout=30)
    paid = tenant.post(url, json={"consoleType": "terminal"})
    with opened(paid.json()) as socket:
        facts = ready(socket)

    assert stranger.status_code == 402
    assert paid.headers.get("PAYMENT-RESPONSE")
    assert facts["leaseId"] == bought["leaseId"]
