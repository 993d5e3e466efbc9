"""Commands whose output comes as it is written: events with ids, and a websocket with channels."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
from tests.support import commands
from tests.support.commands import Container
from tests.support.processes import ServeProcess
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect


@pytest.fixture(scope="module")
def container(service: ServeProcess) -> Container:
    """A container for the tests of this module."""
    return commands.lease(service)


def test_events_tell_a_command_from_start_to_exit(container: Container):
    with container.stream(command="echo a; sleep 0.3; echo b >&2; exit 4") as reply:
        seen = list(commands.events(reply))

    assert reply.headers["content-type"].startswith("text/event-stream")
    assert [event.kind for event in seen] == ["start", "stdout", "stderr", "exit"]
    assert (seen[1].output, seen[2].output) == (b"a\n", b"b\n")
    assert seen[0].facts["upid"] == seen[0].facts["execId"] == seen[3].facts["execId"]
    assert seen[3].facts["exitCode"] == 4


def test_output_comes_while_the_command_runs(container: Container):
    with container.stream(command="echo early; read line; echo late", openStdin=True) as reply:
        seen = commands.events(reply)
        exec_id = next(seen).facts["execId"]
        assert next(seen).output == b"early\n"

        fed = container.call("POST", f"{exec_id}/stdin?close=true", data=b"go\n")

        assert fed.status_code == 204
        assert [event.kind for event in seen] == ["stdout", "exit"]


def test_a_lost_stream_is_taken_up_where_it_broke(container: Container):
    with container.stream(command="echo one; read go; echo two; exit 5", openStdin=True) as reply:
        seen = commands.events(reply)
        exec_id = next(seen).facts["execId"]
        first = next(seen)
    assert first.output == b"one\n"
    container.call("POST", f"{exec_id}/stdin?close=true", data=b"go\n")

    with container.follow(exec_id, first.id) as again:
        rest = list(commands.events(again))

    assert [event.kind for event in rest] == ["stdout", "exit"]
    assert rest[0].output == b"two\n"
    assert rest[1].facts["exitCode"] == 5


def test_a_request_sent_again_with_an_event_id_starts_nothing(container: Container):
    count = "echo x >>/tmp/counted; echo started; sleep 0.5"
    with container.stream(command=count) as reply:
        first = next(commands.events(reply))
    again = requests.post(
        container.url,
        json={"command": count},
        headers={**container.bearer, "Accept": "text/event-stream", "Last-Event-ID": first.id},
        stream=True,
        timeout=30,
    )
    with again:
        kinds = [event.kind for event in commands.events(again)]

    assert kinds == ["stdout", "exit"]
    assert container.output("cat /tmp/counted") == "x\n"


def test_an_event_id_of_another_command_is_refused(container: Container):
    exec_id = container.run(command="true")["execId"]

    foreign = container.follow(exec_id, "e" + "0" * 24 + ":1")
    nonsense = container.follow(exec_id, "7")

    assert (foreign.status_code, nonsense.status_code) == (422, 422)


def test_ten_mebibytes_arrive_whole(container: Container):
    command = "yes 0123456789abcde | head -c 10485760"
    with container.stream(command=command) as reply:
        pieces = [event for event in commands.events(reply) if event.kind in {"stdout", "exit"}]

    received = b"".join(event.output for event in pieces[:-1])
    assert pieces[-1].facts["truncated"] is False
    assert received == b"0123456789abcde\n" * 655_360


def test_a_running_command_is_listed_shown_signalled_and_ended(container: Container):
    trap = "trap 'echo caught; exit 9' USR1; echo ready; while :; do sleep 0.1; done"
    with container.stream(command=trap) as reply:
        seen = commands.events(reply)
        exec_id = next(seen).facts["execId"]
        assert next(seen).output == b"ready\n"
        listed = requests.get(container.url, headers=container.bearer, timeout=30).json()
        shown = container.look(exec_id).json()

        signalled = container.call("POST", f"{exec_id}/signal", json={"signal": "USR1"})
        rest = list(commands.events(reply))

    (item,) = [item for item in listed if item["execId"] == exec_id]
    assert (item["state"], item["detached"]) == ("running", False)
    assert (shown["state"], shown["output"], shown["exitCode"]) == ("running", "ready\n", None)
    assert signalled.status_code == 204
    assert rest[-1].facts["exitCode"] == 9


def test_a_deleted_command_ends(container: Container):
    with container.stream(argv=["sleep", "600"]) as reply:
        seen = commands.events(reply)
        exec_id = next(seen).facts["execId"]

        deleted = container.call("DELETE", exec_id)

        assert deleted.status_code == 204
        assert list(seen)[-1].facts["exitCode"] == 143


@pytest.mark.parametrize("path", ["/e" + "0" * 24, "/nonsense"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_commands_that_are_not_there_are_404(container: Container, method: str, path: str):
    reply = container.call(method, path.removeprefix("/"))

    assert (reply.status_code, reply.json()["code"]) == (404, "exec_not_found")


@contextmanager
def _socket(container: Container, *, bearer: bool = True) -> Iterator[ClientConnection]:
    url = container.url.replace("http://", "ws://") + "/ws"
    headers = container.bearer if bearer else {}
    with connect(url, additional_headers=headers, max_size=None, proxy=None) as socket:
        yield socket


def _received(socket: ClientConnection) -> dict[int, bytes]:
    """Everything that comes until the end, by channel."""
    channels: dict[int, bytes] = {}
    try:
        while True:
            message = socket.recv(timeout=30)
            assert isinstance(message, bytes)
            channels[message[0]] = channels.get(message[0], b"") + message[1:]
    except ConnectionClosed:
        return channels


def test_the_websocket_has_the_channels_of_kubernetes(container: Container):
    with _socket(container) as socket:
        socket.send(json.dumps({"command": "cat; echo done >&2; exit 7", "openStdin": True}))
        started = json.loads(socket.recv())
        socket.send(b"\x00first ")
        socket.send(b"\x04" + b'{"Width":80,"Height":24}')
        socket.send(b"\x00second")
        socket.send(b"\xff\x00")
        channels = _received(socket)

    assert started["ctid"] == container.ctid
    assert (channels[1], channels[2]) == (b"first second", b"done\n")
    status = json.loads(channels[3])
    assert (status["status"], status["reason"]) == ("Failure", "NonZeroExitCode")
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "7"}]
    assert (socket.close_code, status["execId"]) == (1000, started["execId"])


def test_a_browser_sends_the_token_first(container: Container):
    with _socket(container, bearer=False) as socket:
        socket.send(json.dumps({"argv": ["id", "-u"], "token": container.token}))
        assert "execId" in json.loads(socket.recv())
        channels = _received(socket)

    assert channels[1] == b"0\n"
    assert json.loads(channels[3])["status"] == "Success"


@pytest.mark.parametrize(
    ("hello", "code"),
    [
        ({"command": "id"}, 4401),
        ({"command": "id", "token": "pve402_" + "0" * 64}, 4401),
        ({"token": "right"}, 4422),
        ([], 4422),
    ],
)
def test_a_socket_without_a_good_hello_is_closed(container: Container, hello: Any, code: int):
    if isinstance(hello, dict) and hello.get("token") == "right":
        hello = {**hello, "token": container.token}
    with _socket(container, bearer=False) as socket:
        socket.send(json.dumps(hello))
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=30)

    assert socket.close_code == code


def test_a_socket_that_goes_away_ends_its_command(container: Container):
    with _socket(container) as socket:
        socket.send(json.dumps({"argv": ["sleep", "4712"]}))
        started = json.loads(socket.recv())

    with container.follow(started["execId"]) as reply:
        last = list(commands.events(reply))[-1]
    assert last.facts["exitCode"] in {137, 143}


def test_a_megabyte_of_stdin_arrives_whole(container: Container):
    data = bytes(range(256)) * 4096
    with _socket(container) as socket:
        socket.send(json.dumps({"command": "sha256sum; sleep 0.1", "openStdin": True}))
        socket.recv()
        sender = threading.Thread(target=_send_all, args=(socket, data))
        sender.start()
        channels = _received(socket)
        sender.join()

    assert channels[1].split()[0].decode() == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("text", 1003),
        ("", 1003),
        ('{"resize": 1}', 1003),
        (b"\x00" + b"a" * (1024 * 1024), 1009),
        (b"\x00" + b"a" * (2 * 1024 * 1024), 1009),
        ("t" * (3 * 1024 * 1024), 1009),
        (b"\x00" + b"a" * (1024 * 1024 - 1), 1000),
        (b"\x00", 1000),
        (b"", 1000),
        (b"\x07odd", 1000),
    ],
    ids=lambda value: f"{type(value).__name__}-{len(value)}" if hasattr(value, "__len__") else "",
)
def test_a_message_that_cannot_be_taken_is_refused_by_its_code(
    container: Container, message: str | bytes, code: int
):
    with _socket(container) as socket:
        socket.send(json.dumps({"command": "cat >/dev/null", "openStdin": True}))
        socket.recv()
        socket.send(message)
        if code == 1000:
            socket.send(b"\xff\x00")
        _received(socket)

    assert socket.close_code == code


def _send_all(socket: ClientConnection, data: bytes) -> None:
    for start in range(0, len(data), 65_536):
        socket.send(b"\x00" + data[start : start + 65_536])
    socket.send(b"\xff\x00")
