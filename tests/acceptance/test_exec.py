"""Commands in a container of stock Proxmox VE, which has no call for them."""

from __future__ import annotations

import base64
import concurrent.futures

import pytest
import requests
from tests.support import commands
from tests.support.commands import Container
from tests.support.processes import ServeProcess


@pytest.fixture(scope="module")
def container(service: ServeProcess) -> Container:
    """A container for the tests of this module."""
    return commands.lease(service)


def test_the_known_body_gives_the_known_answer(container: Container):
    answer = container.run(command="uptime", extraArgs=["-p"])

    assert answer["ctid"] == container.ctid
    assert answer["output"].startswith("up ")
    assert answer["upid"] == answer["execId"]
    assert answer["exitCode"] == 0


def test_a_command_that_fails_is_an_answer_with_its_output(container: Container):
    reply = container.post(command="echo said; echo wrong >&2; exit 3")

    answer = reply.json()
    assert (reply.status_code, answer["exitCode"]) == (200, 3)
    assert (answer["stdout"], answer["stderr"]) == ("said\n", "wrong\n")
    assert sorted(answer["output"].splitlines()) == ["said", "wrong"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"command": "no-such-program"}, 127),
        ({"argv": ["/etc/hostname"]}, 126),
        ({"command": "kill -KILL $$"}, 137),
        ({"command": "kill -TERM $$"}, 143),
        ({"command": "true", "cwd": "/no/such/place"}, 126),
    ],
)
def test_exit_codes_are_those_of_the_shell(container: Container, body, code):
    assert container.run(**body)["exitCode"] == code


def test_extra_arguments_are_never_joined_into_the_command(container: Container):
    answer = container.run(
        command="printf '<%s>'", extraArgs=["a b", "$(id)", "'\"", "*", "", "é\n"]
    )

    assert answer["stdout"] == "<a b><$(id)><'\"><*><><é\n>"


def test_environment_directory_and_user_are_as_asked(container: Container):
    answer = container.run(
        command='echo "$GREETING" $PWD $(id -un)',
        env={"GREETING": "it's $HOME"},
        cwd="/tmp",
        user="nobody",
    )

    assert answer["stdout"] == "it's $HOME /tmp nobody\n"


def test_stdin_reaches_the_command_unchanged(container: Container):
    text = "  first\r\nsecond\n\n"

    assert container.run(command="cat", stdin=text)["stdout"] == text


def test_all_byte_values_pass_both_ways(container: Container):
    every = bytes(range(256)) * 64

    answer = container.run(command="cat", stdin=base64.b64encode(every).decode(), encoding="base64")

    assert base64.b64decode(answer["stdout"]) == every


def test_what_is_no_text_is_replaced_in_text(container: Container):
    assert container.run(argv=["printf", r"a\377b"])["stdout"] == "a\N{REPLACEMENT CHARACTER}b"


def test_a_command_out_of_time_is_an_answer(container: Container):
    for limit_seconds in (0.5, 5, 50):  # on a busy machine a command may begin after its time
        reply = container.post(command="echo begun; sleep 60", timeoutSeconds=limit_seconds)
        answer = reply.json()
        if answer["stdout"]:
            break

    assert (reply.status_code, answer["timedOut"]) == (200, True)
    assert answer["stdout"] == "begun\n"
    assert answer["exitCode"] in {137, 143}


def test_output_beyond_the_limit_is_dropped_and_said(container: Container):
    answer = container.run(command="yes | head -c 3000", maxOutputBytes=1000)

    assert answer["truncated"] is True
    assert answer["stdout"] == "y\n" * 500


def test_commands_run_beside_one_another(container: Container):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(container.output, f"sleep 0.2; seq {n} {n + 500}") for n in range(8)]
        answers = [work.result() for work in asked]

    assert answers == ["".join(f"{i}\n" for i in range(n, n + 501)) for n in range(8)]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"command": "id", "argv": ["id"]}, 422),
        ({"argv": []}, 422),
        ({"argv": ["id"], "extraArgs": ["-u"]}, 422),
        ({"command": "a\0b"}, 422),
        ({"command": 5}, 422),
        ({"command": "id", "extraArgs": "-u"}, 422),
        ({"command": "id", "env": {"A=B": "1"}}, 422),
        ({"command": "id", "user": "a b"}, 422),
        ({"command": "id", "timeoutSeconds": 0}, 422),
        ({"command": "id", "timeoutSeconds": 3601}, 422),
        ({"command": "cat", "stdin": "?", "encoding": "base64"}, 422),
        ({"command": "id", "maxOutputBytes": 2**30}, 422),
        ({"command": "x" * 130_000}, 422),
        ({"command": "cat", "stdin": "x" * 2_100_000}, 413),
    ],
)
def test_what_cannot_be_run_is_refused(container: Container, body, status):
    assert container.post(**body).status_code == status


def test_fields_that_are_not_known_are_passed_over(container: Container):
    assert container.run(command="echo yes", colour="blue")["stdout"] == "yes\n"


def test_a_client_that_goes_away_ends_its_command(container: Container):
    with commands.asking(container, argv=["sleep", "4711"]) as client:
        container.wait_until_running("sleep", "4711")
        client.close()

    container.wait_until_gone("sleep", "4711")


def test_a_lease_is_found_by_its_lease_id_too(container: Container):
    url = f"{container.service.url}/management/exec/{container.lease_id}"

    reply = requests.post(url, json={"command": "echo x"}, headers=container.bearer, timeout=30)

    assert reply.json()["ctid"] == container.ctid


def test_nothing_that_a_container_prints_reaches_the_log(container: Container):
    container.run(command="printf '\\033]0;stolen-title\\007'; echo very-private-words")

    assert "very-private-words" not in container.service.process.said()
    assert "stolen-title" not in container.service.process.said()
