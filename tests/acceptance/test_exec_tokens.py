"""What a token opened ends soon after the token does."""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from tests.support import commands
from tests.support.commands import Container
from tests.support.processes import ServeProcess
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect


@pytest.fixture(scope="module")
def container(service: ServeProcess, owner: Any) -> Container:
    """A container whose own token stays good."""
    return commands.lease(service, owner)


@pytest.fixture
def guest(container: Container, owner: Any) -> Container:
    """The same container, for whoever has a token that will be revoked."""
    return Container(
        service=container.service,
        ctid=container.ctid,
        lease_id=container.lease_id,
        token=commands.signed_in(container.service, owner),
    )


def _revoke(guest: Container) -> None:
    reply = requests.delete(f"{guest.service.url}/auth/token", headers=guest.bearer, timeout=30)
    assert reply.status_code == 204


def test_a_socket_is_closed_and_its_command_ended(container: Container, guest: Container):
    url = f"{guest.url}/ws".replace("http://", "ws://")
    with connect(url, additional_headers=guest.bearer, proxy=None) as socket:
        socket.send(json.dumps({"argv": ["sleep", "4801"], "openStdin": True}))
        assert "execId" in json.loads(socket.recv())
        _revoke(guest)
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=60)

    assert (socket.close_code, socket.close_reason) == (4401, "token_revoked")
    container.wait_until_gone("sleep", "4801")


def test_events_end_with_an_error_and_can_be_taken_up_with_another_token(
    container: Container, guest: Container
):
    with guest.stream(command="read x; echo $x", openStdin=True) as reply:
        seen = commands.events(reply)
        exec_id = next(seen).facts["execId"]
        _revoke(guest)
        (last,) = seen
    container.call("POST", f"{exec_id}/stdin?close=true", data=b"on\n")
    with container.follow(exec_id) as reply:
        kinds = [event.kind for event in commands.events(reply)]

    assert (last.kind, last.id) == ("error", "")
    assert (last.facts["code"], last.facts["execId"]) == ("token_revoked", exec_id)
    assert kinds == ["start", "stdout", "exit"]


def test_a_command_that_is_waited_for_is_ended(container: Container, guest: Container):
    answers: list[requests.Response] = []
    waiting = threading.Thread(target=lambda: answers.append(guest.post(argv=["sleep", "4802"])))
    waiting.start()
    container.wait_until_running("sleep", "4802")
    _revoke(guest)
    waiting.join(60)

    assert [(each.status_code, each.json()["code"]) for each in answers] == [(401, "token_revoked")]
    container.wait_until_gone("sleep", "4802")


def test_a_file_that_is_being_written_does_not_appear(container: Container, guest: Container):
    url = urlsplit(guest.files_url)
    assert url.hostname is not None
    with contextlib.closing(http.client.HTTPConnection(url.hostname, url.port, timeout=30)) as to:
        headers = {**guest.bearer, "Transfer-Encoding": "chunked"}
        to.request("PUT", f"{url.path}?path=/root/late", headers=headers)
        to.send(b"186a0\r\n" + b"x" * 100_000 + b"\r\n")
        _revoke(guest)
        give_up_at = time.monotonic() + 30
        while not select.select([to.sock], [], [], 0.1)[0]:
            assert time.monotonic() < give_up_at
            to.send(b"1\r\nx\r\n")
        reply = to.getresponse()
        assert (reply.status, json.loads(reply.read())["code"]) == (401, "token_revoked")

    assert container.output("ls -A /root | grep -e late -e .pve402-; true") == ""


def test_a_file_that_is_being_read_is_cut_off(container: Container, guest: Container):
    container.run(command="dd if=/dev/zero of=/root/large bs=1M count=64")
    reply = requests.get(
        guest.files_url,
        params={"path": "/root/large"},
        headers=guest.bearer,
        stream=True,
        timeout=60,
    )
    pieces = reply.iter_content(65_536)
    next(pieces)
    _revoke(guest)

    with reply, pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        _read_slowly(pieces)


def _read_slowly(pieces: Iterator[bytes]) -> None:
    for _ in pieces:
        time.sleep(0.05)
