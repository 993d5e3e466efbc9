"""The reverse proxies of the page, as they stand there, in front of a service."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import os
import socket
import sqlite3
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from tests.support import certificates, commands, pages, port_names, processes, proxies
from tests.support.certificates import Certificate
from tests.support.commands import Container
from tests.support.port_names import Port
from tests.support.processes import DevnetProcess, ServeProcess
from websockets.sync.client import connect

PAGE = Path("docs/how-to/reverse-proxy.md")
CLIENT, FORGED = "127.0.0.2", "203.0.113.9"
MEGABYTE = 2**20


def _examples(language: str) -> str:
    """The service's own address, and the names of ports."""
    service, ports = [one.text for one in pages.examples(language) if one.page == PAGE]
    return f"{service}\n{ports}"


def _replaced(text: str, **changes: str) -> str:
    for before, after in changes.items():
        assert before in text
        text = text.replace(before, after)
    return text


def _caddy(folder: Path, url: str, upstream: str, shown: Certificate) -> Any:
    port = url.rpartition(":")[2]
    secured = f"{url} {{\n\tbind 127.0.0.1\n\ttls {shown.certificate} {shown.key}"
    changes = {
        "127.0.0.1:4021": upstream,
        "rent.example.com {": secured,
        "*.ports.example.net {": f"https://*.ports.example.net:{port} {{\n\tbind 127.0.0.1",
        "/etc/ssl/ports.example.net.pem": str(shown.certificate),
        "/etc/ssl/ports.example.net.key": str(shown.key),
    }
    return proxies.caddy(folder, _replaced(_examples("caddyfile"), **changes), port=int(port))


def _nginx(folder: Path, url: str, upstream: str, shown: Certificate) -> Any:
    port = url.rpartition(":")[2]
    folder_of_keys = "/etc/letsencrypt/live/rent.example.com"
    changes = {
        "127.0.0.1:4021": upstream,
        "listen [::]:443 ssl http2;": "",
        "listen 443 ": f"listen 127.0.0.1:{port} ",
        f"{folder_of_keys}/fullchain.pem": str(shown.certificate),
        f"{folder_of_keys}/privkey.pem": str(shown.key),
        "/etc/ssl/ports.example.net.pem": str(shown.certificate),
        "/etc/ssl/ports.example.net.key": str(shown.key),
        "rent.example.com": "127.0.0.1",
    }
    return proxies.nginx(folder, _replaced(_examples("nginx"), **changes), port=int(port))


@pytest.fixture(scope="module", params=[_caddy, _nginx], ids=["caddy", "nginx"])
def service(
    request: pytest.FixtureRequest, devnet: DevnetProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServeProcess]:
    """A service, as clients reach it through a proxy."""
    folder = tmp_path_factory.mktemp("proxy")
    shown = certificates.make(folder)
    url = f"https://127.0.0.1:{processes.free_port()}"
    own = {"PVE402_PUBLIC_URL": url, "PVE402_TRUSTED_PROXIES": "127.0.0.1,::1"}
    own["PVE402_PORTS_DOMAIN"] = f"ports.example.net:{url.rpartition(':')[2]}"
    with processes.serving(folder, devnet, **own) as made, pytest.MonkeyPatch.context() as patch:
        patch.setenv("REQUESTS_CA_BUNDLE", str(shown.certificate))
        with request.param(folder, url, made.url.removeprefix("http://"), shown):
            yield dataclasses.replace(made, url=url)


@pytest.fixture(scope="module")
def container(service: ServeProcess) -> Container:
    """A container, paid for through the proxy."""
    return commands.lease(service)


@pytest.fixture(scope="module")
def trusting(service: ServeProcess) -> ssl.SSLContext:
    """The address of the proxy for websocket clients."""
    return ssl.create_default_context(cafile=os.environ["REQUESTS_CA_BUNDLE"])


def test_a_header_as_large_as_a_payment_may_be_arrives(service: ServeProcess) -> None:
    headers = {"X-PAYMENT": "x" * 16_000}
    reply = requests.post(
        f"{service.url}/lease/container", headers=headers, json=commands.BODY, timeout=30
    )

    assert reply.json()["code"] == "payment_not_json", reply.text


def test_events_come_while_the_command_runs(container: Container) -> None:
    with container.stream(command="echo early; read line; echo late", openStdin=True) as reply:
        seen = commands.events(reply)
        exec_id = next(seen).facts["execId"]
        first = next(seen).output
        container.call("POST", f"{exec_id}/stdin?close=true", data=b"go\n")
        rest = [event.kind for event in seen]

    assert first == b"early\n"
    assert rest == ["stdout", "exit"]


def test_a_websocket_carries_bytes_both_ways(
    container: Container, trusting: ssl.SSLContext
) -> None:
    url = f"{container.service.url.replace('https', 'wss')}/management/stream/{container.ctid}"
    with connect(url, ssl=trusting, additional_headers=container.bearer) as socket:
        socket.send(json.dumps({"command": "read line; echo got $line"}))
        socket.recv(timeout=30)
        socket.send(b"\0words\n")

        assert socket.recv(timeout=30) == b"\x01got words\n"


def test_a_large_body_is_judged_by_the_service_alone(container: Container) -> None:
    url = f"{container.service.url}/lease/container"
    reply = requests.post(url, data=b" " * (2 * MEGABYTE), timeout=60)

    assert reply.json()["code"] == "body_too_large", reply.text


def test_a_file_of_unknown_length_passes_in_both_directions(container: Container) -> None:
    data = bytes(range(256)) * 100
    url = f"{container.files_url}?path=/root/file"
    stored = requests.put(url, data=iter([data]), headers=container.bearer, timeout=60)
    fetched = requests.get(url, headers=container.bearer, timeout=60)

    assert stored.ok, stored.text
    assert fetched.content == data


def test_the_address_of_a_client_is_its_own(service: ServeProcess) -> None:
    session = service.tenant()
    session.get_adapter("https://").init_poolmanager(1, 1, source_address=(CLIENT, 0))
    session.headers["X-Forwarded-For"] = FORGED
    bought = session.post(f"{service.url}/lease/container", json=commands.BODY, timeout=60)

    (file,) = service.process.log.parent.glob("*.sqlite3")
    with contextlib.closing(sqlite3.connect(file)) as database:
        query = "SELECT client_address FROM leases WHERE lease_id = ?"
        found = database.execute(query, [bought.json()["leaseId"]]).fetchone()
    assert found == (CLIENT,)


@pytest.fixture(scope="module")
def port(container: Container) -> Port:
    """A published port of the container."""
    made = port_names.serve(container, 8080)
    assert made.publish().json()["url"].startswith(f"https://8080-{container.lease_id}.ports.")
    return made


def _name(port: Port) -> str:
    """The name of a port, which no name server knows."""
    return f"{port.port}-{port.container.lease_id}.ports.example.net"


@contextlib.contextmanager
def _asking(
    port: Port, path: str, trusting: ssl.SSLContext, **headers: str
) -> Iterator[http.client.HTTPResponse]:
    """Ask for a page by the port's name, as a browser does that has looked it up."""
    number = urlsplit(port.container.service.url).port
    connection = http.client.HTTPSConnection(f"{_name(port)}:{number}", timeout=60)
    plain = socket.create_connection(("127.0.0.1", number), timeout=60, source_address=(CLIENT, 0))
    connection.sock = trusting.wrap_socket(plain, server_hostname=_name(port))
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"Pve402-Token": port.container.token, **headers})
        with connection.getresponse() as answer:
            yield answer


@pytest.fixture(scope="module")
def trusting_names(trusting: ssl.SSLContext) -> ssl.SSLContext:
    """How a browser knows the proxy under the names; the certificate of the tests is for none."""
    trusting.check_hostname = False
    return trusting


def test_a_port_has_its_name(port: Port, trusting_names: ssl.SSLContext) -> None:
    forged = {"X-Forwarded-For": FORGED}
    with _asking(port, "/echo/a%2Fb?c", trusting_names, **forged) as answer:
        seen = json.loads(answer.read())
    told = {name.lower(): value for name, value in seen["headers"]}

    assert seen["line"] == "GET /echo/a%2Fb?c HTTP/1.1"
    assert told["host"] == f"{_name(port)}:{urlsplit(port.container.service.url).port}"
    assert (told["x-forwarded-for"], told["x-forwarded-proto"]) == (CLIENT, "https")
    with _asking(port, "/cookies", trusting_names) as answer:
        cookies = answer.headers.get_all("set-cookie")
    assert cookies == ["wide=1; Path=/; HttpOnly", "own=2; path=/", "pve402-login=stolen; Path=/"]


def test_events_of_a_port_come_as_they_are_sent(port: Port, trusting_names: ssl.SSLContext) -> None:
    with _asking(port, "/events?2", trusting_names) as answer:
        assert answer.readline() == b"data: 0\n"
        with _asking(port, "/next", trusting_names) as next_one:
            assert next_one.status == 200
        assert answer.read().endswith(b"data: 1\n\n")


def test_a_websocket_of_a_port_passes(port: Port, trusting_names: ssl.SSLContext) -> None:
    number = urlsplit(port.container.service.url).port
    url = f"wss://{_name(port)}:{number}/socket"
    headers, where = {"Pve402-Token": port.container.token}, ("127.0.0.1", number)
    with connect(url, ssl=trusting_names, additional_headers=headers, address=where) as socket_:
        socket_.send(b"bytes" * 20_000)

        assert socket_.recv(timeout=30) == b"bytes" * 20_000
