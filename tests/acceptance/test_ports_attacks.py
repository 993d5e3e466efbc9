"""What strangers, other tenants and hostile containers try with published ports."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from tests.acceptance.test_ports import PAGE, seen, socket_to
from tests.support import commands, port_names
from tests.support.port_names import Port
from tests.support.processes import ServeProcess
from websockets.exceptions import InvalidStatus


@pytest.mark.parametrize(
    "host",
    [
        "ports.localhost:{own}",
        "x.ports.localhost:{own}",
        "8080-{lease}.ports.localhost.:{own}",
        "8080-{lease}.ports.localhost",
        "8080-{lease}.ports.localhost:1",
        "0080-{lease}.ports.localhost:{own}",
        "99999-{lease}.ports.localhost:{own}",
        "8080-{lease}.x.ports.localhost:{own}",
        "8080-{lease}x.ports.localhost:{own}",
        "8080-127.0.0.1.ports.localhost:{own}",
        "127.0.0.1.ports.localhost:{own}",
    ],
)
def test_a_host_that_names_no_port_is_misdirected(named: Port, host: str):
    own = urlsplit(named.container.service.url).port
    told = host.format(lease=named.container.lease_id, own=own)

    refused = named.ask("/echo", headers={**named.token, "Host": told})

    assert (refused.status_code, refused.json()["code"]) == (421, "misdirected_request")


def test_two_hosts_are_one_too_many(named: Port):
    head = f"GET / HTTP/1.1\r\nHost: localhost\r\nHost: {named.host}\r\nConnection: close\r\n\r\n"

    assert port_names.raw(named.container, head.encode()).split(b"\r\n")[0].split()[1] in (
        b"400",
        b"421",
    )


def test_a_name_that_leads_here_by_dns_reaches_no_container(named: Port):
    rebound = {**named.token, "Host": "evil.example", "X-Forwarded-Host": named.host}

    assert named.ask("/echo", headers=rebound).json()["code"] == "not_found"


def test_a_target_with_another_host_reaches_no_container(named: Port):
    head = f"GET http://evil.example/echo HTTP/1.1\r\nHost: {named.host}\r\n"
    asked = f"{head}Pve402-Token: {named.container.token}\r\nConnection: close\r\n\r\n"

    assert port_names.raw(named.container, asked.encode()).startswith(b"HTTP/1.1 400")


def test_trailers_reach_no_container(named: Port):
    head = f"POST /echo HTTP/1.1\r\nHost: {named.host}\r\nPve402-Token: {named.container.token}\r\n"
    framing = "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    trailer = "0\r\nX-Late: 1\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n"

    answer = port_names.raw(named.container, f"{head}{framing}{trailer}".encode())

    assert answer.startswith(b"HTTP/1.1 200")
    assert b"x-late" not in answer


def test_our_own_ports_are_not_the_containers(named: Port):
    own = urlsplit(named.container.service.url).port
    assert own is not None
    ours = Port(container=named.container, port=own)
    assert ours.publish().ok

    refused = ours.ask("/healthz", headers=named.token)

    assert (refused.status_code, refused.json()["code"]) == (502, "port_refused")
    assert ours.unpublish().ok


@pytest.mark.parametrize("kind", ["loopback", "elsewhere", "scheme-relative", "backslash"])
def test_redirects_are_not_followed_nor_given_to_a_token(named: Port, kind: str):
    own = urlsplit(named.container.service.url).port
    target = f"/redirect?{kind}:{own}"
    for_program = named.ask(target, headers=named.token)
    for_browser = named.ask(target, headers=named.logged_in())

    assert (for_program.status_code, for_browser.status_code) == (302, 302)
    assert "location" not in for_program.headers
    assert for_program.headers["pve402-location"] == for_browser.headers["location"]


def test_a_redirect_on_the_same_server_stays_there(named: Port):
    base = f"{named.container.service.url}/management/http/{named.container.ctid}/{named.port}"
    for kind in ("own", "own-absolute"):
        led = requests.get(f"{base}/redirect?{kind}", headers=named.token, timeout=30)
        assert seen(led)["line"] == "GET /echo/after HTTP/1.1"
    assert named.ask("/redirect?own", headers=named.token).headers["location"] == "/echo/after"


def test_a_container_sets_nothing_beyond_its_name(named: Port):
    answer = named.ask("/cookies", headers=named.token)

    cookies = answer.raw.headers.getlist("set-cookie")
    assert cookies == ["wide=1; Path=/; HttpOnly", "own=2; path=/"]
    assert not {"clear-site-data", "alt-svc", "pve402-anything", "x-hop"} & answer.headers.keys()
    assert answer.headers["cache-control"] == "max-age=60, private"
    assert answer.headers["x-kept"] == "1"


SIBLING = {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", SIBLING),
        ("POST", {**SIBLING, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}),
        ("GET", {**SIBLING, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}),
        ("POST", {"Origin": "http://8080-other.ports.localhost"}),
        ("GET", {"Origin": "null"}),
        ("GET", {}),  # a browser that says nothing of whose page asks, and a page that hides it
        ("GET", {"Referer": "http://8080-other.ports.localhost/"}),
        ("GET", {"Referer": "http://8080-other.ports.localhost/?http://8080-other"}),
    ],
)
def test_a_siblings_page_does_not_use_a_login(named: Port, method: str, headers: dict[str, str]):
    own = {"Cookie": named.login()}

    assert named.ask("/echo", method, headers={**own, **headers}).status_code == 401
    assert named.ask("/echo", method, headers={**own, **named.page}).status_code == 200
    with pytest.raises(InvalidStatus) as refused:
        socket_to(named, "/socket", {**own, "Origin": "http://8080-other.ports.localhost"})
    assert refused.value.response.status_code == 401


def test_an_old_browser_shows_its_login_from_our_page(named: Port):
    own = {"Cookie": named.login(), "Accept": "text/html"}

    typed = named.ask("/echo?a", headers=own)
    followed = named.ask("/echo?a", headers={**own, "Referer": f"http://{named.host}/echo?a"})

    assert (typed.status_code, '<a href="">' in typed.text) == (401, True)
    assert typed.headers["referrer-policy"] == "same-origin"
    assert seen(followed)["line"] == "GET /echo?a HTTP/1.1"


def test_a_login_is_for_one_port_of_one_lease(named: Port, naming: ServeProcess):
    sibling = port_names.serve(commands.lease(naming), 8080)
    assert sibling.publish().ok
    cookie = {"Cookie": named.login(), "Sec-Fetch-Site": "none"}

    assert sibling.ask("/echo", headers=cookie).status_code == 401
    assert sibling.ask("/echo", headers=named.token).json()["code"] == "lease_not_found"
    secret = port_names.ports(named.container, "POST", "/login", json={"port": 8080}).json()["url"]
    secret = secret.partition("#")[2]
    stolen = sibling.ask("/.pve402/login", "POST", data=secret)
    assert stolen.json()["code"] == "login_refused"


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {}]
)
def test_another_sites_page_cannot_skip_the_warning(named: Port, headers: dict[str, str]):
    skipped = named.ask("/.pve402/continue?to=/", "POST", headers=headers)

    assert (skipped.status_code, "set-cookie" in skipped.headers) == (403, False)


@pytest.mark.parametrize("place", ["//evil.example", "/\\evil.example", "https://evil.example", ""])
def test_the_warning_leads_nowhere_else(named: Port, place: str):
    went_on = named.ask(f"/.pve402/continue?to={place}", "POST", headers=named.page)

    assert went_on.headers["location"] == "/"


def test_a_page_in_the_path_of_the_warning_is_text(named: Port):
    port = port_names.serve(named.container, 8084)
    assert port.publish(access="public").ok

    page = port.ask('/echo"><script>alert(1)</script>', headers=PAGE)

    assert page.status_code == 200
    assert "<script>" not in page.text
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]


@pytest.mark.parametrize(
    "path",
    ["/..%2f..%2fhealthz", "/%2e%2e/%2e%2e/healthz", "//healthz", "/echo/../../readyz", "/metrics"],
)
def test_odd_paths_are_the_containers_own(named: Port, path: str):
    head = f"GET {path} HTTP/1.1\r\nHost: {named.host}\r\nPve402-Token: {named.container.token}\r\n"

    answer = port_names.raw(named.container, f"{head}Connection: close\r\n\r\n".encode())

    assert f'"GET {path} HTTP/1.1"'.encode() in answer


@pytest.mark.parametrize(
    "framing",
    [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "Content-Length: +4\r\n\r\nabcd",
        "Transfer-Encoding: chunked\r\n\r\nz\r\n\r\n",
    ],
)
def test_a_body_with_two_ends_reaches_no_container(named: Port, framing: str):
    smuggled = "GET /echo/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    head = f"POST /echo HTTP/1.1\r\nHost: {named.host}\r\nPve402-Token: {named.container.token}\r\n"

    answer = port_names.raw(named.container, f"{head}{framing}{smuggled}".encode())

    assert b"smuggled HTTP" not in answer
    assert answer == b"" or answer.split(b" ")[1] in {b"400", b"422", b"502"}, answer[:200]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/garbage", "port_answer_invalid"),
        ("/flood", "port_answer_invalid"),
        ("/split", "port_answer_invalid"),
        ("/odd", "port_answer_invalid"),
    ],
)
def test_answers_that_are_none_are_not_passed_on(named: Port, path: str, code: str):
    answer = named.ask(path, headers=named.token)

    assert (answer.status_code, answer.json()["code"]) == (502, code)


def test_half_an_answer_is_not_passed_for_a_whole_one(named: Port):
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        _ = named.ask("/cut", headers=named.token).content


def test_an_answer_nobody_asked_for_goes_to_nobody(named: Port):
    answers = [named.ask("/extra", headers=named.token).text for _ in range(3)]

    assert answers == ["ok"] * 3
    assert "poison" not in named.ask("/echo", headers=named.token).text


def test_too_large_a_head_is_refused_here(named: Port):
    flood = {f"X-{number}": "y" * 100 for number in range(400)}

    refused = named.ask("/echo", headers={**named.token, **flood})

    assert (refused.status_code, refused.json()["code"]) == (431, "head_too_large")


def test_clients_that_do_not_read_hold_up_nobody_else(named: Port):
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(_unread(named))
        started = time.monotonic()
        replies = [named.ask("/echo", headers=named.token) for _ in range(10)]

    assert [reply.status_code for reply in replies] == [200] * 10
    assert time.monotonic() - started < 30


def _unread(named: Port) -> Any:
    """An endless answer that nobody reads."""
    server = urlsplit(named.container.service.url)
    connection = socket.create_connection((server.hostname, server.port), timeout=30)
    head = f"GET /endless HTTP/1.1\r\nHost: {named.host}\r\nPve402-Token: {named.container.token}"
    connection.sendall(f"{head}\r\n\r\n".encode())
    assert connection.recv(100).startswith(b"HTTP/1.1 200")
    return connection


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
def test_methods_of_neighbours_are_refused(named: Port, method: str):
    head = f"{method} / HTTP/1.1\r\nHost: {named.host}\r\nPve402-Token: {named.container.token}\r\n"

    answer = port_names.raw(named.container, f"{head}Connection: close\r\n\r\n".encode())

    assert answer == b"" or answer.split(b" ")[1] in {b"400", b"405", b"422"}


@pytest.mark.parametrize("token", ["", "x", "pve402_" + "0" * 64, "y" * 5000])
def test_a_wrong_token_opens_nothing(named: Port, token: str):
    assert named.ask("/echo", headers={"Pve402-Token": token}).status_code == 401
