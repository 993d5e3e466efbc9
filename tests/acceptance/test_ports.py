"""Ports of containers under names of their own, for programs and browsers."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from tests.support import commands, port_names
from tests.support.port_names import Port
from tests.support.processes import ServeProcess
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

DATA = os.urandom(300_000)
PAGE = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": "text/html"}


def seen(reply: requests.Response) -> dict[str, Any]:
    """What the server in the container got, headers by name in lower case."""
    assert reply.status_code == 200, reply.text
    told: dict[str, Any] = reply.json()
    return {**told, "headers": {name.lower(): value for name, value in told["headers"]}}


def socket_to(port: Port, path: str, headers: dict[str, str], **more: Any) -> ClientConnection:
    """A websocket under the port's name."""
    host, _, number = port.container.service.url.removeprefix("http://").partition(":")
    url = f"ws://{port.host}{path}"
    where = (host, int(number))
    return connect(url, additional_headers=headers, address=where, open_timeout=30, **more)


def close_code(socket: ClientConnection) -> int:
    """How the other side closes a websocket."""
    with pytest.raises(ConnectionClosed):
        socket.recv(timeout=60)
    assert socket.close_code is not None
    return socket.close_code


def test_a_program_with_a_token_gets_through(named: Port):
    own = {"Authorization": "mine", "X-Forwarded-For": "1.2.3.4", "Forwarded": "for=1.2.3.4"}
    got = seen(named.ask("/echo/a%2Fb//c?x=%20&y", headers={**named.token, **own}))

    assert got["line"] == "GET /echo/a%2Fb//c?x=%20&y HTTP/1.1"
    told = got["headers"]
    assert (told["host"], told["authorization"]) == (named.host, "mine")
    assert told["x-forwarded-for"] == "127.0.0.1"
    assert (told["x-forwarded-proto"], told["x-forwarded-host"]) == ("http", named.host)
    assert not {"pve402-token", "forwarded"} & told.keys()


@pytest.mark.parametrize("whole", [True, False])
def test_bodies_pass_in_both_directions(named: Port, whole: bool):
    data = DATA if whole else iter([DATA[:100_000], DATA[100_000:]])
    got = seen(named.ask("/echo", "POST", data=data, headers=named.token))

    assert (got["size"], got["sha256"]) == (len(DATA), hashlib.sha256(DATA).hexdigest())
    assert len(named.ask("/big?1000001", headers=named.token).content) == 1_000_001


def test_answers_without_a_body_and_early_ones_pass(named: Port):
    assert int(named.ask("/echo", "HEAD", headers=named.token).headers["content-length"]) > 100
    unchanged = named.ask("/unchanged", headers=named.token)
    assert (unchanged.status_code, unchanged.headers["etag"]) == (304, '"a"')
    assert named.ask("/missing", headers=named.token).status_code == 404
    early = named.ask("/early", "POST", data=DATA, headers=named.token)
    assert (early.status_code, early.text) == (413, "big")


def test_events_arrive_as_they_are_sent(named: Port):
    with named.ask("/events?4", headers=named.token, stream=True) as reply:
        pieces, seen = reply.iter_content(None), b""
        for number in range(3):
            while not seen.endswith(b"data: %d\n\n" % number):
                seen += next(pieces)
            assert named.ask("/next", headers=named.token).ok
        seen += b"".join(pieces)

    assert seen == b"".join(b"data: %d\n\n" % number for number in range(4))


def test_many_requests_at_once_are_served(named: Port):
    with ThreadPoolExecutor(20) as pool:
        got = list(pool.map(lambda _: named.ask("/big?70000", headers=named.token), range(40)))

    assert [len(reply.content) for reply in got] == [70_000] * 40


def test_websockets_pass_messages_closes_and_refusals(named: Port):
    with socket_to(named, "/socket", named.token, subprotocols=["chat"]) as socket:
        assert socket.subprotocol == "chat"
        assert socket.response is not None
        assert socket.response.headers["set-cookie"] == "seen=1"
        for message in ("text é", b"\x00bytes", DATA):
            socket.send(message)
            assert socket.recv(timeout=60) == message
        socket.send("close 4321")
        assert close_code(socket) == 4321
    with pytest.raises(InvalidStatus) as refused:
        socket_to(named, "/no-socket", named.token)
    assert (refused.value.response.status_code, refused.value.response.body) == (403, b"nope")


def test_a_browser_logs_in_once_by_its_link(named: Port):
    assert named.ask("/echo", headers=PAGE).status_code == 401
    assert "pve402 ports" in named.ask("/echo", headers=PAGE).text
    login = port_names.ports(named.container, "POST", "/login", json={"port": named.port}).json()
    assert login["url"].startswith(f"http://{named.host}/.pve402/login#")
    page = named.ask("/.pve402/login")
    assert "script-src 'sha256-" in page.headers["content-security-policy"]
    secret = login["url"].partition("#")[2]
    done = named.ask("/.pve402/login", "POST", data=secret)
    again = named.ask("/.pve402/login", "POST", data=secret)

    cookie = done.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert (again.status_code, again.json()["code"]) == (401, "login_refused")
    own = {"Cookie": f"a=1; {cookie.partition(';')[0]}; b=2", **named.page}
    assert seen(named.ask("/echo", headers=own))["headers"]["cookie"] == "a=1; b=2"
    with socket_to(named, "/seen", own) as socket:
        assert "pve402" not in str(socket.recv(timeout=30))


def test_a_public_port_warns_each_browser_once(named: Port):
    public = port_names.serve(named.container, 8081)
    assert public.publish(access="public").json()["access"] == "public"
    assert seen(public.ask("/echo"))["headers"]["host"] == public.host
    warned = public.ask("/echo?a=1", headers=PAGE)
    assert "Enter no passwords" in warned.text
    assert warned.headers["cache-control"] == "no-store"
    went_on = public.ask("/.pve402/continue?to=%2Fecho%3Fa%3D1", "POST", headers=public.page)

    assert (went_on.status_code, went_on.headers["location"]) == (303, "/echo?a=1")
    cookie = went_on.headers["set-cookie"].partition(";")[0]
    got = seen(public.ask("/echo?a=1", headers={**PAGE, "Cookie": cookie}))
    assert "cookie" not in got["headers"]
    assert public.publish(access="private").status_code == 200
    assert public.ask("/echo").status_code == 401


def test_programs_reach_any_port_on_the_main_origin(named: Port):
    base = f"{named.container.service.url}/management/http/{named.container.ctid}/{named.port}"
    plain = {"timeout": 60, "allow_redirects": False, "headers": {**named.token, "Cookie": "a=1"}}
    got = seen(requests.post(f"{base}/echo/%2F?x=1", data=b"abc", **plain))
    answer = requests.get(f"{base}/cookies", **plain)

    assert got["line"] == "POST /echo/%2F?x=1 HTTP/1.1"
    assert (got["headers"]["host"], got["size"]) == (f"localhost:{named.port}", 3)
    assert got["headers"]["x-forwarded-prefix"].endswith(f"/{named.port}")
    assert not {"pve402-token", "cookie"} & got["headers"].keys()
    assert answer.headers["content-security-policy"] == "sandbox"
    assert answer.headers["x-kept"] == "1"
    assert not {"set-cookie", "service-worker-allowed", "alt-svc"} & answer.headers.keys()
    assert requests.get(f"{base}/echo", timeout=30).status_code == 401
    bearer = named.container.bearer
    assert requests.get(f"{base}/echo", headers=bearer, timeout=30).status_code == 401
    with connect(f"ws{base.removeprefix('http')}/socket", additional_headers=named.token) as socket:
        socket.send("hello")
        assert socket.recv(timeout=30) == "hello"


def test_ports_are_listed_and_withdrawn(named: Port):
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    other = Port(container=named.container, port=9999)
    made = other.publish(expiresAt=soon).json()
    listed = {item["port"]: item for item in port_names.ports(named.container).json()["ports"]}

    assert listed[9999] == made
    assert made["url"] == f"http://{other.host}"
    refused = other.ask("/", headers=other.token)
    assert (refused.status_code, refused.json()["code"]) == (502, "port_refused")
    left = other.unpublish().json()["ports"]
    assert 9999 not in {item["port"] for item in left}
    assert other.unpublish().json()["code"] == "port_not_published"
    assert other.ask("/", headers=other.token).json()["code"] == "port_not_published"


@pytest.mark.parametrize(
    "wish",
    [
        {"port": 0},
        {"port": 65536},
        {"port": True},
        {"access": "everybody"},
        {"expiresAt": "2020-01-01T00:00:00Z"},
        {"expiresAt": "2096-01-01T00:00:00"},
        {"unknown": 1},
    ],
)
def test_wrong_wishes_are_refused(named: Port, wish: dict[str, Any]):
    assert named.publish(**wish).status_code == 422


def test_a_lease_publishes_only_so_many_ports(naming: ServeProcess):
    container = commands.lease(naming)
    made = [Port(container=container, port=number).publish() for number in range(1, 18)]

    assert [reply.status_code for reply in made] == [200] * 16 + [429]
    assert made[16].json()["code"] == "too_many_ports"
    assert Port(container=container, port=3).publish(access="public").status_code == 200


def test_a_service_without_a_domain_publishes_none(service: ServeProcess):
    port = Port(container=commands.lease(service), port=8080)

    assert (port.publish().status_code, port.publish().json()["code"]) == (409, "ports_off")
    assert requests.get(f"{service.url}/healthz", headers={"Host": port.host}, timeout=30).ok
