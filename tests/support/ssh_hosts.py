"""Real clients of SSH against a container, whichever way leads to it.

Each function does one thing that people do with such a client, and asserts that it came out right.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import processes, programs
from tests.support.commands import Container

DATA = os.urandom(300_000)
SERVE = "mkdir -p /srv/web; echo hello >/srv/web/index.html; cd /srv/web; "
SERVER = "python3 -m http.server --bind 127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Host:
    """A container with an sshd, and a machine whose ssh knows the way to it as `name`."""

    container: Container
    environment: dict[str, str] = field(repr=False)
    config: Path
    name: str

    def run(self, *words: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
        """Run a program of this machine."""
        how = {"env": self.environment, "capture_output": True, "timeout": 90, **more}
        return subprocess.run(words, check=False, **how)

    def ssh(self, *words: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
        """Run ssh with its options and command."""
        return self.run("ssh", "-F", str(self.config), *words, **more)

    @property
    def by_ssh(self) -> str:
        """The command line of ssh, for programs that run it."""
        return f"ssh -F {self.config}"

    @contextlib.contextmanager
    def background(self, *words: str, **more: Any) -> Iterator[subprocess.Popen[bytes]]:
        """An ssh that runs during the block."""
        how = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, **more}
        command = ("ssh", "-F", str(self.config), *words)
        with programs.started(command, env=self.environment, **how) as process:
            yield process


def runs_a_command(host: Host, _folder: Path) -> None:
    """Streams, exit code, and a terminal where one is asked for."""
    done = host.ssh(host.name, "cat; echo wrong >&2; exit 3", input=DATA)
    assert (done.returncode, done.stdout, done.stderr) == (3, DATA, b"wrong\n")
    on_terminal = host.ssh("-tt", host.name, "tty; stty size")
    assert on_terminal.stdout.startswith(b"/dev/pts/"), on_terminal.stderr


def copies_files(host: Host, folder: Path) -> None:
    """By scp and sftp, up and down."""
    there, back = folder / "there", folder / "back"
    there.write_bytes(DATA)
    config = ("-F", str(host.config))

    assert host.run("scp", *config, str(there), f"{host.name}:/tmp/scp").returncode == 0
    batch = f"get /tmp/scp {back}\nmkdir /tmp/new\nput {there} /tmp/new/file\n"
    done = host.run("sftp", *config, "-b", "-", host.name, input=batch.encode())

    assert done.returncode == 0, done.stderr
    assert back.read_bytes() == DATA
    assert host.ssh(host.name, "cat /tmp/new/file; rm -r /tmp/new").stdout == DATA


def copies_folders(host: Host, folder: Path) -> None:
    """By rsync, which sends nothing twice."""
    for number in range(30):
        (folder / "site" / str(number % 3)).mkdir(parents=True, exist_ok=True)
        (folder / "site" / str(number % 3) / f"{number}.txt").write_text(f"{number}\n" * 50)

    for _ in range(2):
        words = ("rsync", "-a", "--stats", "-e", host.by_ssh, f"{folder}/site")
        done = host.run(*words, f"{host.name}:/srv/")
        assert done.returncode == 0, done.stderr

    assert b"Number of regular files transferred: 0" in done.stdout
    assert host.ssh(host.name, "cat /srv/site/*/*.txt | wc -l").stdout == b"1500\n"


def pushes_and_clones(host: Host, folder: Path) -> None:
    """By git."""
    work, origin = folder / "work", f"/srv/{folder.name}.git"
    host.ssh(host.name, f"git init -q --bare {origin}")
    environment = {**host.environment, "GIT_SSH_COMMAND": host.by_ssh}

    def git(*words: str) -> None:
        identity = ("-c", "user.name=A", "-c", "user.email=a@example.com")
        subprocess.run(("git", *identity, *words), env=environment, check=True, timeout=90)

    git("init", "-q", str(work))
    (work / "file").write_bytes(DATA)
    git("-C", str(work), "add", ".")
    git("-C", str(work), "commit", "-qm", "all of it")
    git("-C", str(work), "push", "-q", f"{host.name}:{origin}", "HEAD:refs/heads/main")
    git("clone", "-qb", "main", f"{host.name}:{origin}", str(folder / "again"))

    assert (folder / "again" / "file").read_bytes() == DATA


def forwards_ports(host: Host, _folder: Path) -> None:
    """By -L and -D, to a server that outlives the client it was started with."""
    local, proxy = processes.free_port(), processes.free_port()
    port = 8000 + os.getpid() % 1000
    command = f"{SERVE} nohup {SERVER} {port} >/dev/null 2>&1 </dev/null & echo on"
    assert host.ssh(host.name, command).stdout == b"on\n"
    with host.background("-N", "-L", f"{local}:127.0.0.1:{port}", host.name):
        assert fetched(f"http://127.0.0.1:{local}/") == b"hello\n"
    with host.background("-N", "-D", str(proxy), host.name) as client:
        assert fetched(f"http://localhost:{port}/", f"127.0.0.1:{proxy}") == b"hello\n"
        client.kill()
    with host.background("-N", "-D", str(proxy), host.name):
        assert fetched(f"http://localhost:{port}/", f"127.0.0.1:{proxy}") == b"hello\n"
    host.ssh(host.name, f"kill $(pgrep -f 'http[.]server.*{port}')")


def shares_a_connection(host: Host, folder: Path) -> None:
    """By ControlMaster: many sessions at once."""
    control = ("-o", f"ControlPath={folder}/c")
    with host.background("-N", "-M", *control, host.name):
        wait_for(folder / "c")
        sessions = [
            subprocess.Popen(
                ("ssh", "-F", str(host.config), *control, host.name, f"sleep 0.2; echo {number}"),
                env=host.environment,
                stdout=subprocess.PIPE,
            )
            for number in range(8)
        ]
        said = [session.communicate(timeout=60)[0] for session in sessions]
    assert said == [b"%d\n" % number for number in range(8)]


def fetched(url: str, proxy: str | None = None) -> bytes:
    """Fetch a page as soon as it answers."""
    give_up_at = time.monotonic() + 30
    through = ["--socks5-hostname", proxy] if proxy else []
    while True:
        words = ["curl", "-sf", "--max-time", "10", *through, url]
        done = subprocess.run(words, capture_output=True, check=False)
        if done.returncode == 0:
            return done.stdout
        assert time.monotonic() < give_up_at
        time.sleep(0.1)


def wait_for(path: Path) -> None:
    """Wait until a file is there."""
    give_up_at = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < give_up_at
        time.sleep(0.05)
