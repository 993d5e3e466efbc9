"""Published ports as tests use them: names under ports.localhost, sent as Host headers."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from tests.support import commands, processes, project
from tests.support.commands import Container
from tests.support.processes import DevnetProcess, ServeProcess

SETTINGS = {"PVE402_PORTS_DOMAIN": "ports.localhost:{port}"}
_SERVER = project.ROOT / "tests/support/port_server.py"


@dataclass(frozen=True, kw_only=True)
class Port:
    """A published port of a container."""

    container: Container
    port: int

    @property
    def host(self) -> str:
        """Its name, as browsers send it."""
        server = urlsplit(self.container.service.url)
        return f"{self.port}-{self.container.lease_id}.ports.localhost:{server.port}"

    @property
    def token(self) -> dict[str, str]:
        """The header of programs."""
        return {"Pve402-Token": self.container.token}

    @property
    def page(self) -> dict[str, str]:
        """What a browser says of a request by a page under the name."""
        return {"Sec-Fetch-Site": "same-origin", "Origin": f"http://{self.host}"}

    def logged_in(self) -> dict[str, str]:
        """The headers of such a request after a login."""
        return {"Cookie": self.login(), **self.page}

    def publish(self, **wish: Any) -> requests.Response:
        """Publish it, or change how."""
        return ports(self.container, "POST", json={"port": self.port, **wish})

    def unpublish(self) -> requests.Response:
        """Publish it no more."""
        return ports(self.container, "DELETE", f"?port={self.port}")

    def ask(self, path: str, method: str = "GET", **more: Any) -> requests.Response:
        """Ask under its name, without a redirect."""
        headers = {"Host": self.host, **more.pop("headers", {})}
        url = f"{self.container.service.url}{path}"
        given: dict[str, Any] = {"timeout": 60, "allow_redirects": False, **more}
        return requests.request(method, url, headers=headers, **given)

    def login(self) -> str:
        """Log in as a browser does; returns the cookie."""
        url = ports(self.container, "POST", "/login", json={"port": self.port}).json()["url"]
        secret = urlsplit(url).fragment
        done = self.ask("/.pve402/login", "POST", data=secret)
        assert done.status_code == 204, done.text
        return done.headers["set-cookie"].partition(";")[0]


def ports(
    container: Container, method: str = "GET", rest: str = "", **more: Any
) -> requests.Response:
    """Ask for the ports of a container."""
    url = f"{container.service.url}/management/ports/{container.ctid}{rest}"
    return requests.request(method, url, headers=container.bearer, timeout=30, **more)


def serve(container: Container, port: int) -> Port:
    """Start the server on a port of the container's loopback, and wait until it listens."""
    target = f"{container.files_url}?path=/root/server.py"
    sent = requests.put(
        target, data=Path(_SERVER).read_bytes(), headers=container.bearer, timeout=60
    )
    assert sent.ok, sent.text
    container.run(command=f"python3 /root/server.py {port}", detach=True)
    probe = f"python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", {port}))'"
    give_up_at = time.monotonic() + 30
    while container.run(command=probe)["exitCode"]:
        assert time.monotonic() < give_up_at
        time.sleep(0.1)
    return Port(container=container, port=port)


def raw(container: Container, data: bytes, seconds: float = 20) -> bytes:
    """Send bytes to the service over a connection of one's own; all it answers until it closes."""
    server = urlsplit(container.service.url)
    with socket.create_connection((server.hostname, server.port), timeout=seconds) as connection:
        connection.sendall(data)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        return answer


@pytest.fixture(scope="session")
def naming(
    devnet: DevnetProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServeProcess]:
    """A server with a domain for ports."""
    with processes.serving(tmp_path_factory.mktemp("ports"), devnet, **SETTINGS) as made:
        yield made


@pytest.fixture(scope="session")
def named(naming: ServeProcess) -> Port:
    """A private port with a server behind it."""
    made = serve(commands.lease(naming), 8080)
    assert made.publish().json()["access"] == "private"
    return made
