"""Ports of a container whose terminal is held by another replica than the one that is asked."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

import pytest
from tests.acceptance.test_exec_replicas import Pair, start_pair
from tests.acceptance.test_ports import close_code, seen, socket_to
from tests.support import port_names
from tests.support.port_names import Port

pytestmark = pytest.mark.postgres
DATA = os.urandom(300_000)

__all__ = ["start_pair"]


@pytest.fixture(scope="module")
def pair(start_pair: Callable[..., Pair]) -> Pair:
    """Two servers with a domain for ports."""
    return start_pair(PVE402_PORTS_DOMAIN="ports.localhost:{port}")


@pytest.fixture(scope="module")
def other(pair: Pair) -> Port:
    """The port as it is seen at the replica that does not hold the terminal."""
    port_names.serve(pair.at_holder, 8080)
    made = Port(container=pair.at_other, port=8080)
    assert made.publish().ok
    return made


def test_requests_pass_both_replicas(other: Port, pair: Pair):
    got = seen(other.ask("/echo", "POST", data=DATA, headers=other.token))
    big = other.ask("/big?1000001", headers=other.token)
    refused = Port(container=pair.at_other, port=8081)
    assert refused.publish().ok

    assert got["sha256"] == hashlib.sha256(DATA).hexdigest()
    assert got["headers"]["host"] == other.host
    assert len(big.content) == 1_000_001
    assert refused.ask("/", headers=other.token).json()["code"] == "port_refused"


def test_a_login_made_at_one_replica_opens_the_other(other: Port, pair: Pair):
    at_holder = Port(container=pair.at_holder, port=8080)
    cookie = at_holder.login()

    for port in (other, at_holder):
        assert port.ask("/echo", headers={"Cookie": cookie, **port.page}).status_code == 200


def test_a_websocket_ends_with_its_port_whichever_replica_is_told(other: Port, pair: Pair):
    with socket_to(other, "/socket", other.token) as socket:
        socket.send(DATA)
        assert socket.recv(timeout=60) == DATA
        assert Port(container=pair.at_holder, port=8080).unpublish().ok
        assert close_code(socket) == 4404
