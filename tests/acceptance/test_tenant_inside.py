"""What tenants type to work inside their container: exec, put, get."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support import commands, processes
from tests.support.commands import Container
from tests.support.processes import ServeProcess

#: Runs the command line as a terminal does; what is started in the background ignores SIGINT.
INTERRUPTIBLE = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("pve402", run_name="__main__", alter_sys=True)
"""
DATA = bytes(range(256)) * 500


@pytest.fixture(scope="module")
def container(service: ServeProcess) -> Container:
    """A container for the tests of this module."""
    return commands.lease(service)


@pytest.fixture(scope="module")
def settings(service: ServeProcess, container: Container) -> dict[str, str]:
    """What the commands read: the address, and the token of the lease."""
    return {"PVE402_URL": service.url, "PVE402_TOKEN": container.token}


def test_a_command_is_shown_with_its_exit_code(container: Container, settings: dict[str, str]):
    script = "echo said; echo wrong >&2; exit 3"
    done = processes.run("exec", container.ctid, "--", "sh", "-c", script, **settings)

    assert (done.returncode, done.stdout, done.stderr) == (3, "said\n", "wrong\n")


def test_options_of_the_command_are_its_own(container: Container, settings: dict[str, str]):
    done = processes.run("exec", container.ctid, "--", "uptime", "-p", **settings)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("up ")


def test_environment_and_place_are_given(container: Container, settings: dict[str, str]):
    options = ("--env", "NAME=a value", "--cwd", "/tmp")
    script = 'echo "$NAME $PWD"'
    done = processes.run("exec", container.ctid, *options, "--", "sh", "-c", script, **settings)

    assert done.stdout == "a value /tmp\n", done.stderr


def test_stdin_and_output_may_be_any_bytes(container: Container, settings: dict[str, str]):
    done = subprocess.run(
        [sys.executable, "-m", "pve402", "exec", container.ctid, "--stdin", "--", "cat"],
        env={**os.environ, **settings},
        input=DATA,
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == DATA


@pytest.mark.parametrize(
    ("ctid", "options", "code", "said"),
    [
        ("", ("--timeout", "1", "--", "sleep", "30"), 124, "after 1 s"),
        ("99999", ("--", "true"), 255, "lease_not_found"),
        ("", ("--env", "NAME", "--", "true"), 2, "NAME=VALUE"),
        ("", ("--", "no-such-program"), 127, ""),
    ],
    ids=["time-out", "no-lease", "usage", "no-program"],
)
def test_what_goes_wrong_has_its_exit_code(
    container: Container,
    settings: dict[str, str],
    ctid: str,
    options: tuple[str, ...],
    code: int,
    said: str,
):
    done = processes.run("exec", ctid or container.ctid, *options, **settings)

    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupted_command_ends_in_the_container(
    container: Container, settings: dict[str, str]
):
    command = [sys.executable, "-c", INTERRUPTIBLE, "exec", container.ctid, "--"]
    script = "echo here; exec sleep 4321"
    with subprocess.Popen(
        [*command, "sh", "-c", script], env={**os.environ, **settings}, stdout=subprocess.PIPE
    ) as waiting:
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == b"here\n"
        waiting.send_signal(signal.SIGINT)
        assert waiting.wait(30) != 0

    give_up_at = time.monotonic() + 20
    while container.run(command="pgrep -f 'sleep 432[1]'")["exitCode"] == 0:
        assert time.monotonic() < give_up_at, "it still runs"
        time.sleep(0.2)


def test_a_file_goes_in_and_comes_out(
    container: Container, settings: dict[str, str], tmp_path: Path
):
    there, back = tmp_path / "there", tmp_path / "back"
    there.write_bytes(DATA)
    there.chmod(0o640)

    put = processes.run("put", container.ctid, str(there), "/root/it", **settings)
    got = processes.run("get", container.ctid, "/root/it", str(back), **settings)

    assert (put.returncode, got.returncode) == (0, 0), put.stderr + got.stderr
    assert hashlib.sha256(back.read_bytes()).digest() == hashlib.sha256(DATA).digest()
    assert container.run(command="stat -c %a /root/it")["stdout"] == "640\n"


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (("get", "{ctid}", "/no/such/file", "{here}/x"), 4, "file_missing"),
        (("put", "{ctid}", "{here}/no-such-file", "/root/x"), 1, "no-such-file"),
        (("put", "{ctid}", "/etc/hostname", "/root/x", "--mode", "rw"), 2, "--mode"),
    ],
    ids=["missing-there", "missing-here", "mode"],
)
def test_files_that_cannot_be_copied_leave_nothing(
    container: Container,
    settings: dict[str, str],
    tmp_path: Path,
    command: tuple[str, ...],
    code: int,
    said: str,
):
    words = [word.format(ctid=container.ctid, here=tmp_path) for word in command]
    done = processes.run(*words, **settings)

    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []
