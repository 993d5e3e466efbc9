"""Visits of ports end, within seconds, with everything that they depend on."""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Callable

import pytest
import requests
import urllib3
from tests.acceptance.test_ports import close_code, socket_to
from tests.support import commands, port_names
from tests.support.commands import Container
from tests.support.port_names import Port
from tests.support.processes import ServeProcess


def unpublish(port: Port, _token: str) -> None:
    """Publish the port no more."""
    assert port.unpublish().ok


def revoke(port: Port, token: str) -> None:
    """Revoke the token that the visit came with."""
    url = f"{port.container.service.url}/auth/token"
    bearer = {"Authorization": f"Bearer {token}"}
    assert requests.delete(url, headers=bearer, timeout=30).status_code == 204


def end_lease(port: Port, _token: str) -> None:
    """End the lease."""
    url = f"{port.container.service.url}/lease/{port.container.ctid}"
    assert requests.delete(url, headers=port.container.bearer, timeout=60).ok


@pytest.mark.parametrize(
    ("how", "codes"), [(unpublish, {4404}), (revoke, {4401}), (end_lease, {4409, 1011})]
)
def test_a_websocket_ends_with(naming: ServeProcess, how: Callable[..., None], codes: set[int]):
    owner = naming.devnet.wallet()
    container = commands.lease(naming, owner)
    port = port_names.serve(container, 8080)
    assert port.publish().ok
    token = commands.signed_in(naming, owner, leaseId=container.lease_id, scope=["ports"])
    cookie = login(container, port, token)
    with (
        socket_to(port, "/socket", {"Pve402-Token": token}) as program,
        socket_to(port, "/socket", {"Cookie": cookie, "Origin": f"http://{port.host}"}) as browser,
    ):
        for socket in (program, browser):
            socket.send("hello")
            assert socket.recv(timeout=30) == "hello"
        started = time.monotonic()
        how(port, token)
        assert {close_code(program), close_code(browser)} <= codes
        assert time.monotonic() - started < 30
    assert port.ask("/echo", headers={"Cookie": cookie}).status_code in {401, 404, 409}
    assert port.ask("/echo", headers={"Pve402-Token": token}).status_code in {401, 404, 409, 410}


def login(container: Container, port: Port, token: str) -> str:
    """A browser's cookie, by a link that was made with this token."""
    holder = Container(
        service=container.service, ctid=container.ctid, lease_id=container.lease_id, token=token
    )
    return Port(container=holder, port=port.port).login()


def test_a_public_visit_ends_when_the_port_turns_private(named: Port):
    port = port_names.serve(named.container, 8082)
    assert port.publish(access="public").ok
    with socket_to(port, "/socket", {}) as socket:
        socket.send("hello")
        assert socket.recv(timeout=30) == "hello"
        assert port.publish(access="private").ok
        assert close_code(socket) == 4404


def test_an_endless_answer_ends_with_its_port(named: Port):
    port = port_names.serve(named.container, 8083)
    assert port.publish(access="public").ok
    with port.ask("/endless", stream=True) as reply:
        assert reply.raw.read(65536)
        assert port.unpublish().ok
        with pytest.raises(urllib3.exceptions.HTTPError):
            shutil.copyfileobj(reply.raw, io.BytesIO())
