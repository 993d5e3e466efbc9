"""Detached commands: they outlive the request, the connection, and the server."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests
from tests.support import commands
from tests.support.commands import Container
from tests.support.processes import ServeProcess


@pytest.fixture(scope="module")
def container(service: ServeProcess) -> Container:
    """A container for the tests of this module."""
    return commands.lease(service)


def _until(container: Container, exec_id: str, state: str) -> dict[str, Any]:
    give_up_at = time.monotonic() + 60
    while (found := container.look(exec_id).json())["state"] != state:
        assert time.monotonic() < give_up_at, found
        time.sleep(0.1)
    return dict(found)


def test_a_detached_command_is_answered_at_once_and_read_later(container: Container):
    reply = container.post(
        command="echo one; read go; echo two >&2; exit 6", detach=True, openStdin=True
    )

    begun = reply.json()
    assert (reply.status_code, begun["state"], begun["exitCode"]) == (202, "running", None)
    container.call("POST", f"{begun['execId']}/stdin?close=true", data=b"go\n")
    ended = _until(container, begun["execId"], "exited")
    assert (ended["exitCode"], ended["stdout"], ended["stderr"]) == (6, "one\n", "two\n")


def test_it_is_followed_from_any_place(container: Container):
    exec_id = container.run(
        command="echo one; read go; echo two; exit 6", detach=True, openStdin=True
    )["execId"]
    with container.follow(exec_id) as reply:
        seen = commands.events(reply)
        assert next(seen).kind == "start"
        first = next(seen)

    container.call("POST", f"{exec_id}/stdin?close=true", data=b"go\n")
    with container.follow(exec_id, first.id) as again:
        rest = list(commands.events(again))

    assert first.output == b"one\n"
    assert b"".join(event.output for event in rest[:-1]) == b"two\n"
    assert (rest[-1].kind, rest[-1].facts["exitCode"]) == ("exit", 6)


def test_followers_that_find_no_place_are_told_so(container: Container):
    said_before = len(container.service.process.said())
    exec_id = container.run(command="exec sleep 600", detach=True)["execId"]

    def end(reply: requests.Response) -> str:
        with reply:
            if reply.status_code != 200:
                return str(reply.json()["code"])
            last = list(commands.events(reply))[-1]
            return str(last.facts["code"] if last.kind == "error" else last.kind)

    first, *crowd = [container.follow(exec_id) for _ in range(40)]
    first.close()  # makes room for the signal
    give_up_at = time.monotonic() + 30
    while container.call("POST", f"{exec_id}/signal", json={"signal": "KILL"}).status_code != 204:
        assert time.monotonic() < give_up_at
        time.sleep(0.1)
    ends = {end(reply) for reply in crowd}

    assert ends == {"exit", "too_many_commands"}
    assert "ASGI" not in container.service.process.said()[said_before:]


def test_it_is_fed_and_its_stdin_closed(container: Container):
    exec_id = container.run(command="cat; echo over", detach=True, openStdin=True)["execId"]

    container.call("POST", f"{exec_id}/stdin", data=b"line\n")
    container.call("POST", f"{exec_id}/stdin?close=true", data=b"last")

    assert _until(container, exec_id, "exited")["stdout"] == "line\nlastover\n"


def test_it_is_signalled(container: Container):
    exec_id = container.run(command="exec sleep 600", detach=True)["execId"]

    reply = container.call("POST", f"{exec_id}/signal", json={"signal": "SIGTERM"})

    assert reply.status_code == 204
    assert _until(container, exec_id, "exited")["exitCode"] == 143


def test_what_is_no_signal_is_told_from_an_ended_command(container: Container):
    exec_id = container.run(command="exec sleep 600", detach=True)["execId"]

    wrong = container.call("POST", f"{exec_id}/signal", json={"signal": "BANANA"})
    container.call("POST", f"{exec_id}/signal", json={"signal": "KILL"})
    _until(container, exec_id, "exited")
    late = container.call("POST", f"{exec_id}/signal", json={"signal": "TERM"})

    assert (wrong.status_code, late.status_code) == (422, 422)
    assert "no such signal" in wrong.json()["detail"]
    assert "has ended" in late.json()["detail"]


def test_it_is_killed_and_forgotten(container: Container):
    exec_id = container.run(argv=["sleep", "4713"], detach=True)["execId"]
    container.wait_until_running("sleep", "4713")

    assert container.call("DELETE", exec_id).status_code == 204
    assert container.look(exec_id).status_code == 404
    container.wait_until_gone("sleep", "4713")


def test_it_ends_at_its_time_limit(container: Container):
    exec_id = container.run(argv=["sleep", "600"], detach=True, timeoutSeconds=1)["execId"]

    assert _until(container, exec_id, "exited")["timedOut"] is True


def test_it_is_listed(container: Container):
    exec_id = container.run(command="echo abc", detach=True)["execId"]
    _until(container, exec_id, "exited")

    listed = requests.get(container.url, headers=container.bearer, timeout=30).json()

    (item,) = [item for item in listed if item["execId"] == exec_id]
    assert (item["detached"], item["state"], item["stdoutBytes"]) == (True, "exited", 4)


def test_it_outlives_a_killed_server(serve: Callable[..., ServeProcess], tmp_path):
    database = {"DATABASE_URL": f"sqlite:///{tmp_path}/kept.sqlite3"}
    first = serve(**database)
    container = commands.lease(first)
    exec_id = container.run(
        command="echo before; while [ ! -e /tmp/go ]; do sleep 0.1; done; echo after; exit 8",
        detach=True,
    )["execId"]
    with container.stream(argv=["sleep", "4714"]) as attached:
        lost_id = next(commands.events(attached)).facts["execId"]
        container.wait_until_running("sleep", "4714")
        first.process.end(signal.SIGKILL)

    second = container.at(serve(**database))
    assert second.look(lost_id).status_code == 404
    assert second.look(exec_id).json()["stdout"] == "before\n"
    second.output("touch /tmp/go")
    ended = _until(second, exec_id, "exited")

    assert (ended["exitCode"], ended["stdout"]) == (8, "before\nafter\n")
    second.wait_until_gone("sleep", "4714")


def test_a_server_that_stops_tells_those_who_wait(serve: Callable[..., ServeProcess]):
    server = serve()
    container = commands.lease(server)
    with container.stream(command="echo here; sleep 600") as reply:
        seen = commands.events(reply)
        exec_id = next(seen).facts["execId"]
        next(seen)

        assert server.process.end() == 0

        last = list(seen)[-1]
    assert last.kind == "error"
    assert (last.facts["code"], last.facts["execId"]) == ("session_lost", exec_id)
