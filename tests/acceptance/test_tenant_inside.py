"""What tenants type to work inside their container: exec, put, get."""

import hashlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support import commands, processes, programs
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


def test_programs_get_the_output_and_the_exit_code_as_json(
    container: Container, settings: dict[str, str]
):
    script = "echo said; echo wrong >&2; exit 3"
    done = processes.run("exec", "--json", container.ctid, "sh", "-c", script, **settings)

    assert (done.returncode, done.stderr) == (3, "")
    assert json.loads(done.stdout) == {
        "exitCode": 3,
        "timedOut": False,
        "truncated": False,
        "stdout": "said\n",
        "stderr": "wrong\n",
    }


def test_the_browser_is_sent_to_a_console_by_a_file_of_ours(
    container: Container, settings: dict[str, str], tmp_path: Path
):
    browser, seen = tmp_path / "browser", tmp_path / "seen"
    browser.write_text(f'#!/bin/sh\necho "$@" >{seen}\n')
    browser.chmod(0o755)
    where = {"BROWSER": f"{browser} %s", "XDG_STATE_HOME": str(tmp_path)}
    done = processes.run("console", container.ctid, **settings, **where)

    page = tmp_path / "pve402/console.html"
    assert done.returncode == 0, done.stderr
    assert seen.read_text() == page.as_uri() + "\n"
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    link = re.search(r'url=([^"]+)"', page.read_text())
    assert link is not None
    assert link[1].startswith(f"{container.service.url}/console/terminal#")


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


def _closed(waiting: subprocess.Popen[bytes]) -> None:
    """Read a line and leave, as `head -1` does; the command writes on."""
    assert waiting.stdout is not None
    waiting.stdout.close()


WAYS = {
    "SIGINT": (lambda waiting: waiting.send_signal(signal.SIGINT), 130),
    "SIGTERM": (lambda waiting: waiting.send_signal(signal.SIGTERM), 143),
    "SIGHUP": (lambda waiting: waiting.send_signal(signal.SIGHUP), 129),
    "SIGKILL": (lambda waiting: waiting.send_signal(signal.SIGKILL), -9),
    "closed pipe": (_closed, 141),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["quiet", "loud", "reads stdin", "does not read stdin"])
def test_a_command_ends_with_whoever_runs_it(
    container: Container, settings: dict[str, str], way: str, kind: str
):
    if (way, kind) in {("closed pipe", "quiet"), ("closed pipe", "does not read stdin")}:
        kind = "loud"  # whoever writes nothing does not see that nobody reads
    mark = f"43{abs(hash((way, kind))) % 10**6}"
    script = {
        "quiet": f"echo here; exec sleep {mark}",
        "loud": f"sleep {mark} & yes here",
        "reads stdin": f"echo here; sleep {mark} & exec cat",
        "does not read stdin": f"echo here; exec sleep {mark}",
    }[kind]
    with_stdin = "stdin" in kind
    options = ["--stdin"] if with_stdin else []
    command = [sys.executable, "-c", INTERRUPTIBLE, "exec", container.ctid, *options]
    with (
        Path("/dev/zero" if with_stdin else "/dev/null").open("rb") as stdin,
        programs.started(
            [*command, "sh", "-c", script],
            env={**os.environ, **settings},
            stdin=stdin,
            stdout=subprocess.PIPE,
        ) as waiting,
    ):
        assert waiting.stdout is not None
        assert waiting.stdout.readline() == b"here\n"
        act, code = WAYS[way]
        act(waiting)  # what is loud is not read any more, so that it is blocked meanwhile
        assert waiting.wait(30) == code

    container.wait_until_gone("sleep", mark)


@pytest.mark.parametrize(
    ("closed", "command", "ends"),
    [
        (">&-", "exec {0} yes", (1, "Bad file descriptor", "")),
        (">&- 2>&-", "exec {0} yes", (1, "", "")),
        ("<&- >&- 2>&-", "exec {0} -i yes", (1, "", "")),
        (">&-", "get {0} /etc/hostname -", (1, "Bad file descriptor", "")),
        (">&-", "list", (1, "standard output is closed", "")),
        ("<&-", "exec {0} -i wc -c", (0, "", "0\n")),
        ("<&-", "put {0} - /tmp/nothing", (0, "", "")),
        ("<&-", "end {0}", (2, "--yes", "")),
        ("2>&-", "exec {0} echo here", (0, "", "here\n")),
        ("2>&-", "exec {0} no-such-program", (127, "", "")),
    ],
)
def test_a_closed_descriptor_is_an_empty_or_a_full_one(
    container: Container,
    settings: dict[str, str],
    closed: str,
    command: str,
    ends: tuple[int, str, str],
):
    code, said, shown = ends
    words = f"{sys.executable} -m pve402 {command.format(container.ctid)} {closed}"
    done = subprocess.run(
        ["sh", "-c", words],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stdout) == (code, shown), done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    container.wait_until_gone("yes")


def test_options_behind_the_first_word_need_no_dashes(
    container: Container, settings: dict[str, str]
):
    done = processes.run("exec", container.ctid, "uname", "-s", **settings)

    assert (done.returncode, done.stdout) == (0, "Linux\n"), done.stderr


def test_stdin_of_any_length_is_passed_on(container: Container, settings: dict[str, str]):
    data = b"x" * 3_000_000
    done = subprocess.run(
        [sys.executable, "-m", "pve402", "exec", container.ctid, "-i", "wc", "-c"],
        env={**os.environ, **settings},
        input=data,
        capture_output=True,
        timeout=100,
        check=False,
    )

    assert (done.returncode, done.stdout.strip()) == (0, b"3000000"), done.stderr


def test_a_host_name_is_enough(container: Container, settings: dict[str, str]):
    hostname = container.run(command="hostname")["stdout"].strip()
    done = processes.run("exec", hostname, "echo", "-n", "found", **settings)
    unknown = processes.run("exec", f"{hostname}x", "true", **settings)

    assert (done.returncode, done.stdout) == (0, "found"), done.stderr
    assert (unknown.returncode, "host name" in unknown.stderr) == (255, True)


@pytest.mark.parametrize("source", ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"])
def test_a_pipe_is_put(container: Container, settings: dict[str, str], source: str):
    done = subprocess.run(
        [sys.executable, "-m", "pve402", "put", container.ctid, source, "/root/piped"],
        env={**os.environ, **settings},
        input=DATA,
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, b"")
    digest = container.run(command="sha256sum /root/piped; stat -c %a /root/piped")["stdout"]
    assert digest.split()[0] == hashlib.sha256(DATA).hexdigest()
    assert digest.split()[-1] == "644"


def test_whoever_reads_no_more_of_a_file_is_told_nothing(
    container: Container, settings: dict[str, str]
):
    container.run(command="head -c 3000000 /dev/zero >/root/zeros")
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "pve402", "get", container.ctid, "/root/zeros", "-"],
        env={**os.environ, **settings},
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    os.close(writing)

    assert (done.returncode, done.stderr) == (141, b"")


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


def test_a_file_and_a_folder_are_copied_both_ways(
    container: Container, settings: dict[str, str], tmp_path: Path
):
    site = tmp_path / "site"
    (site / "css").mkdir(parents=True)
    (site / "css" / "main").write_bytes(DATA)
    (site / "index").write_text("hello\n")
    back, place = tmp_path / "back", f"{container.lease_id}:/srv/new/site"

    done = [
        processes.run("cp", *words, **settings)
        for words in (
            ("-r", str(site), place),
            ("-r", place, str(back)),
            (str(site / "index"), f"{place}/"),
            (f"{place}/css/main", str(tmp_path)),
        )
    ]

    assert [one.returncode for one in done] == [0, 0, 0, 0], [one.stderr for one in done]
    assert all("B/s, through its terminal" in one.stderr for one in done)
    assert (back / "css" / "main").read_bytes() == DATA == (tmp_path / "main").read_bytes()
    assert container.output("cat /srv/new/site/index") == "hello\n"


@pytest.mark.parametrize("words", [("a", "b"), ("web:/a", "web:/b"), ("web:a", "b")])
def test_exactly_one_side_of_a_copy_is_in_a_container(
    settings: dict[str, str], words: tuple[str, str]
):
    done = processes.run("cp", *words, **settings)

    assert done.returncode == 2
    assert "LEASE:/PATH" in done.stderr
