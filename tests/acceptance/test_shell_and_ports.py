"""`pve402 shell` and `pve402 tunnel LEASE PORTS` as a tenant uses them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
import requests
from tests.support import commands, processes, programs
from tests.support.commands import Container
from tests.support.processes import ServeProcess

BUSYBOX = "local:vztmpl/busybox-alpine-3.22_1_amd64.tar.gz"
DATA = os.urandom(400_000)


@pytest.fixture(scope="module")
def container(service: ServeProcess) -> Container:
    """A container for the tests of this module."""
    return commands.lease(service)


def settings(container: Container) -> dict[str, str]:
    """What the commands read."""
    return {**os.environ, **settings_of(container)}


def settings_of(container: Container) -> dict[str, str]:
    """The container's service and token."""
    return {"PVE402_URL": container.service.url, "PVE402_TOKEN": container.token}


@dataclass(kw_only=True)
class Screen:
    """A `pve402 shell` on a terminal of its own."""

    process: subprocess.Popen[bytes]
    terminal: int
    seen: bytes = field(default=b"")

    def type(self, text: str) -> None:
        """Type a line."""
        os.write(self.terminal, text.encode() + b"\r")

    def read_until(self, pattern: str) -> str:
        """Read output until it has a pattern; returns the match."""
        give_up_at = time.monotonic() + 40
        while not (found := re.search(pattern.encode(), self.seen)):
            assert time.monotonic() < give_up_at, self.seen[-2000:]
            if select.select([self.terminal], [], [], 0.2)[0]:
                self.seen += os.read(self.terminal, 65536)
        self.seen = self.seen[found.end() :]
        return found.group().decode()

    def resize(self, columns: int, rows: int) -> None:
        """Resize the window."""
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process.send_signal(signal.SIGWINCH)


@contextlib.contextmanager
def shell(container: Container, *words: str) -> Iterator[Screen]:
    """A shell for the block, or another command that needs a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "pve402", *(words or ("shell", container.ctid))],
        env={**settings(container), "TERM": "vt220"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        yield Screen(process=process, terminal=ours)  # what is typed too early is kept
    finally:
        process.terminate()
        process.wait(20)
        os.close(ours)


def test_a_shell_has_size_colours_signals_and_an_exit_code(container: Container):
    with shell(container) as screen:
        screen.type("echo size=$(stty size) term=$TERM")
        assert screen.read_until(r"size=\d+ \d+ term=\w+") == "size=30 100 term=vt220"
        screen.resize(70, 20)
        screen.type("while [ \"$(stty size)\" != '20 70' ]; do sleep 0.1; done; echo re''sized")
        screen.read_until("resized")
        screen.type("sleep 1000; echo not''here")
        time.sleep(0.5)
        os.write(screen.terminal, b"\x03")
        screen.type("echo st''ill")
        screen.read_until("still")
        screen.type("exit 5")
        assert screen.process.wait(20) == 5


def test_a_program_runs_on_a_terminal_if_asked(container: Container):
    wait = "while :; do sleep 0.1; done"
    script = f'trap "echo in""terrupted; exit 7" INT; stty size; pwd; echo $N; {wait}'
    options = ("--cwd", "/usr", "--env", "N=a 'b'")
    with shell(container, "exec", "-it", *options, container.ctid, "sh", "-c", script) as screen:
        screen.read_until(r"30 100\r\n/usr\r\na 'b'\r\n")
        screen.resize(70, 20)
        os.write(screen.terminal, b"\x03")
        screen.read_until("interrupted")
        assert screen.process.wait(20) == 7


@pytest.mark.parametrize(
    ("options", "said"),
    [(("-t",), "--tty needs a terminal"), (("-t", "--detach"), "neither --detach nor --json")],
)
def test_a_program_gets_no_terminal_where_there_is_none(
    container: Container, options: tuple[str, ...], said: str
):
    done = processes.run("exec", *options, container.ctid, "true", **settings_of(container))

    assert (done.returncode, said in done.stderr) == (2, True), done.stderr


def test_several_shells_are_apart_and_end_with_their_client(container: Container):
    with shell(container) as one, shell(container) as other:
        one.type("cd /tmp; V=one; echo $$ >/tmp/one; echo re''ady")
        other.type("cd /usr; V=other; echo re''ady")
        for screen in (one, other):
            screen.read_until("ready")
        one.type("echo $V=$PWD.")
        other.type("echo $V=$PWD.")
        assert one.read_until(r"\w+=/\w+\.") == "one=/tmp."
        assert other.read_until(r"\w+=/\w+\.") == "other=/usr."
        one.process.terminate()
        one.process.wait(20)
        gone = "n=0; while kill -0 $(cat /tmp/one) 2>/dev/null && [ $n -lt 200 ]; do sleep 0.1;"
        assert container.output(f"{gone} n=$((n+1)); done; echo $n").strip() != "200"


@contextlib.contextmanager
def forwarded(container: Container, remote: int) -> Iterator[str]:
    """A local port that leads to a port of the container; yields its address."""
    with programs.started(
        [sys.executable, "-m", "pve402", "tunnel", container.ctid, f"0:{remote}"],
        env=settings(container),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        found = re.search(r"127\.0\.0\.1:\d+", said)
        assert found, said
        yield f"http://{found.group()}"


def serve_files(container: Container, port: int) -> None:
    """Start a web server on the container's loopback."""
    reply = requests.put(
        f"{container.files_url}?path=/srv/data", data=DATA, headers=container.bearer, timeout=120
    )
    assert reply.ok, reply.text
    if container.run(command="command -v python3")["exitCode"] == 0:
        server = f"python3 -m http.server -d /srv --bind 127.0.0.1 {port}"
    else:
        server = f"busybox httpd -f -h /srv -p 127.0.0.1:{port}"
    container.run(command=server, detach=True)


def fetch(url: str) -> bytes:
    """Fetch a file, once the server is up."""
    give_up_at = time.monotonic() + 30
    while True:
        try:
            return requests.get(f"{url}/data", timeout=60).content
        except requests.ConnectionError:
            assert time.monotonic() < give_up_at
            time.sleep(0.2)


def test_a_local_port_leads_to_the_containers_loopback(container: Container):
    serve_files(container, 8321)
    with forwarded(container, 8321) as url:
        assert fetch(url) == DATA
        with ThreadPoolExecutor(20) as pool:
            assert list(pool.map(fetch, [url] * 20)) == [DATA] * 20
    with forwarded(container, 8322) as url, pytest.raises(requests.ConnectionError):
        requests.get(f"{url}/data", timeout=30)


def test_a_busybox_without_perl_is_reached_as_well(serve):
    container = commands.lease(serve(PVE_OS_TEMPLATE=BUSYBOX))
    serve_files(container, 8321)
    with forwarded(container, 8321) as url:
        assert fetch(url) == DATA
    with shell(container) as screen:
        screen.read_until("no program that makes a terminal")
        assert screen.process.wait(20) == 127


@pytest.mark.parametrize("ports", ["80:", "x", "0", "70000", "1:2:3", "80:0"])
def test_ports_that_are_none_are_refused(container: Container, ports: str):
    done = processes.run(
        "tunnel",
        container.ctid,
        ports,
        PVE402_URL=container.service.url,
        PVE402_TOKEN=container.token,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "8080:80" in done.stderr
