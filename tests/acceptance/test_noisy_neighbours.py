"""One noisy address does not affect anybody else noticeably.

The noise comes from 127.0.0.2, the quiet tenant calls from 127.0.0.1.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
import requests
from tests.support import commands
from tests.support.commands import Container
from tests.support.processes import ServeProcess

UPGRADE = (
    "GET {} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
POST = "POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n{}\r\n\r\n"
FOLLOW = (
    "GET {} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nAuthorization: Bearer {}\r\n\r\n"
)


@pytest.fixture(scope="module")
def container(service: ServeProcess) -> Container:
    """The quiet tenant's container, warm."""
    found = commands.lease(service)
    assert found.run(command="true")["exitCode"] == 0
    return found


@pytest.fixture(scope="module")
def noisy(service: ServeProcess) -> Container:
    """A container whose tenant is noisy."""
    return commands.lease(service)


def unfinished_payments(_noisy: Container) -> list[str]:
    return [POST.format("/lease/container", "X-PAYMENT: e30=")] * 505


def unfinished_commands(noisy: Container) -> list[str]:
    path = f"/management/exec/{noisy.ctid}"
    return [POST.format(path, f"Authorization: Bearer {noisy.token}")] * 505


def unfinished_sign_ins(_noisy: Container) -> list[str]:
    return [POST.format("/auth/token", "Authorization: Bearer nonsense-0123456789")] * 505


def silent_consoles(_noisy: Container) -> list[str]:
    return [UPGRADE.format("/console/terminal/ws")] * 300


def silent_commands(noisy: Container) -> list[str]:
    return [UPGRADE.format(f"/management/exec/{noisy.ctid}/ws")] * 300


def followers(noisy: Container) -> list[str]:
    exec_id = noisy.run(command="sleep 30", detach=True)["execId"]
    return [FOLLOW.format(f"/management/exec/{noisy.ctid}/{exec_id}", noisy.token)] * 510


@contextlib.contextmanager
def noise(service: ServeProcess, heads: list[str]) -> Iterator[list[socket.socket]]:
    """Connections from another address that say this much, and then nothing."""
    address = urlsplit(service.url)
    assert address.hostname
    opened: list[socket.socket] = []
    try:
        for head in heads:
            opened.append(
                socket.create_connection(
                    (address.hostname, address.port), 10, source_address=("127.0.0.2", 0)
                )
            )
            opened[-1].sendall(head.encode())
        yield opened
    finally:
        for one in opened:
            one.close()


@pytest.mark.parametrize(
    "attack",
    [
        unfinished_payments,
        unfinished_commands,
        unfinished_sign_ins,
        silent_consoles,
        silent_commands,
        followers,
    ],
)
def test_a_quiet_tenant_notices_nothing(
    service: ServeProcess,
    container: Container,
    noisy: Container,
    attack: Callable[[Container], list[str]],
):
    with noise(service, attack(noisy)):
        time.sleep(0.5)
        catalogue = requests.get(f"{service.url}/catalogue", timeout=20)
        began = time.monotonic()
        ran = container.post(command="echo here")
        took = time.monotonic() - began
        bought = commands.lease(service)
        link = requests.post(
            f"{service.url}/management/console/{container.ctid}",
            json={"consoleType": "terminal"},
            headers=container.bearer,
            timeout=20,
        )

    print(f"{attack.__name__}: a command took {took * 1000:.0f} ms")
    assert [reply.status_code for reply in (catalogue, ran, link)] == [200, 200, 200]
    assert ran.json()["output"] == "here\n"
    assert bought.token
