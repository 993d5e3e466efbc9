"""SSH into a container through the service, with the clients that people have."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support import commands, openssh, processes
from tests.support.commands import Container
from tests.support.processes import ServeProcess

DATA = os.urandom(300_000)


@dataclass(frozen=True, kw_only=True)
class Host:
    """A container with an sshd, and a machine whose ssh knows the way to it."""

    container: Container
    environment: dict[str, str]
    config: Path
    name: str

    def run(self, *words: str, **more: object) -> subprocess.CompletedProcess[bytes]:
        """Run a program of this machine."""
        return subprocess.run(
            words,
            env=self.environment,
            capture_output=True,
            timeout=90,
            check=False,
            **more,  # type: ignore[call-overload]
        )

    def ssh(self, *words: str, **more: object) -> subprocess.CompletedProcess[bytes]:
        """Run ssh with its options and command."""
        return self.run("ssh", "-F", str(self.config), *words, **more)

    @property
    def by_ssh(self) -> str:
        """The command line of ssh, for programs that run it."""
        return f"ssh -F {self.config}"


@pytest.fixture(scope="module")
def container(service: ServeProcess) -> Container:
    """A container without an SSH server."""
    return commands.lease(service)


@pytest.fixture(scope="module")
def host(
    container: Container, service: ServeProcess, tmp_path_factory: pytest.TempPathFactory
) -> Host:
    """The same container with a server, and the lines of `pve402 ssh-config`."""
    openssh.install(container)
    home = tmp_path_factory.mktemp("home")
    settings = {
        "PVE402_URL": service.url,
        "PVE402_TOKEN": container.token,
        "XDG_CONFIG_HOME": str(home / "config"),
    }
    done = processes.run("ssh-config", container.ctid, **settings)
    assert done.returncode == 0, done.stderr
    config = home / "ssh_config"
    config.write_text(done.stdout)
    return Host(
        container=container,
        environment={**os.environ, **settings},
        config=config,
        name=f"pve402-{container.lease_id}",
    )


def test_a_command_runs_with_its_streams_and_exit_code(host: Host):
    done = host.ssh(host.name, "cat; echo wrong >&2; exit 3", input=DATA)

    assert (done.returncode, done.stdout, done.stderr) == (3, DATA, b"wrong\n")


def test_pve402_ssh_needs_no_configuration(host: Host):
    done = host.run(
        sys.executable, "-m", "pve402", "ssh", host.container.ctid, "-T", "echo", "$HOME"
    )
    assert (done.returncode, done.stdout) == (0, b"/root\n"), done.stderr


def test_a_server_in_the_middle_is_not_taken_for_the_container(host: Host, tmp_path: Path):
    known = host.environment["XDG_CONFIG_HOME"] + "/pve402/known_hosts"
    forged = tmp_path / "known_hosts"
    key = "AAAAC3NzaC1lZDI1NTE5AAAAIE" + "A" * 42
    forged.write_text(f"{host.name} ssh-ed25519 {key}\n")
    config = tmp_path / "config"
    config.write_text(host.config.read_text().replace(known, str(forged)))

    done = host.run("ssh", "-F", str(config), host.name, "true")

    assert done.returncode == 255
    assert b"Host key verification failed" in done.stderr


def test_files_by_scp_and_sftp(host: Host, tmp_path: Path):
    there, back = tmp_path / "there", tmp_path / "back"
    there.write_bytes(DATA)
    config = ("-F", str(host.config))

    assert host.run("scp", *config, str(there), f"{host.name}:/tmp/scp").returncode == 0
    batch = f"get /tmp/scp {back}\nmkdir /tmp/new\nput {there} /tmp/new/file\n"
    done = host.run("sftp", *config, "-b", "-", host.name, input=batch.encode())

    assert done.returncode == 0, done.stderr
    assert back.read_bytes() == DATA
    assert host.ssh(host.name, "cat /tmp/new/file").stdout == DATA


def test_folders_by_rsync(host: Host, tmp_path: Path):
    for number in range(30):
        (tmp_path / "site" / str(number % 3)).mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / str(number % 3) / f"{number}.txt").write_text(f"{number}\n" * 50)

    for _ in range(2):
        words = ("rsync", "-a", "--stats", "-e", host.by_ssh, f"{tmp_path}/site")
        done = host.run(*words, f"{host.name}:/srv/")
        assert done.returncode == 0, done.stderr

    assert b"Number of regular files transferred: 0" in done.stdout
    assert host.ssh(host.name, "cat /srv/site/*/*.txt | wc -l").stdout == b"1500\n"


def test_git_pushes_and_clones(host: Host, tmp_path: Path):
    work = tmp_path / "work"
    host.ssh(host.name, "git init -q --bare /srv/work.git")
    environment = {**host.environment, "GIT_SSH_COMMAND": host.by_ssh}

    def git(*words: str) -> None:
        identity = ("-c", "user.name=A", "-c", "user.email=a@example.com")
        subprocess.run(("git", *identity, *words), env=environment, check=True, timeout=90)

    git("init", "-q", str(work))
    (work / "file").write_bytes(DATA)
    git("-C", str(work), "add", ".")
    git("-C", str(work), "commit", "-qm", "all of it")
    git("-C", str(work), "push", "-q", f"{host.name}:/srv/work.git", "HEAD:refs/heads/main")
    git("clone", "-qb", "main", f"{host.name}:/srv/work.git", str(tmp_path / "again"))

    assert (tmp_path / "again" / "file").read_bytes() == DATA


@contextlib.contextmanager
def background(host: Host, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """An ssh that runs during the block."""
    process = subprocess.Popen(
        ("ssh", "-F", str(host.config), *words),
        env=host.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


def fetched(url: str, proxy: str | None = None) -> bytes:
    """Fetch a page as soon as it answers."""
    give_up_at = time.monotonic() + 30
    while True:
        words = [
            "curl",
            "-sf",
            "--max-time",
            "10",
            *(["--socks5-hostname", proxy] if proxy else []),
        ]
        done = subprocess.run([*words, url], capture_output=True, check=False)
        if done.returncode == 0:
            return done.stdout
        assert time.monotonic() < give_up_at
        time.sleep(0.1)


SERVE = "mkdir -p /srv/web; echo hello >/srv/web/index.html; cd /srv/web; "
SERVER = "python3 -m http.server --bind 127.0.0.1"


def test_ports_are_forwarded_and_a_server_outlives_its_client(host: Host):
    local, proxy = processes.free_port(), processes.free_port()
    started = host.ssh(
        host.name, f"{SERVE} nohup {SERVER} 8123 >/dev/null 2>&1 </dev/null & echo on"
    )
    assert started.stdout == b"on\n"
    with background(host, "-N", "-L", f"{local}:127.0.0.1:8123", host.name):
        assert fetched(f"http://127.0.0.1:{local}/") == b"hello\n"
    with background(host, "-N", "-D", str(proxy), host.name) as client:
        assert fetched("http://localhost:8123/", f"127.0.0.1:{proxy}") == b"hello\n"
        client.kill()
    with background(host, "-N", "-D", str(proxy), host.name):
        assert fetched("http://localhost:8123/", f"127.0.0.1:{proxy}") == b"hello\n"


def test_many_sessions_share_one_connection(host: Host, tmp_path: Path):
    control = ("-o", f"ControlPath={tmp_path}/c")
    with background(host, "-N", "-M", *control, host.name):
        wait_for(tmp_path / "c")
        processes_there = [
            subprocess.Popen(
                ("ssh", "-F", str(host.config), *control, host.name, f"sleep 0.2; echo {number}"),
                env=host.environment,
                stdout=subprocess.PIPE,
            )
            for number in range(8)
        ]
        said = [process.communicate(timeout=60)[0] for process in processes_there]
    assert said == [b"%d\n" % number for number in range(8)]


def wait_for(path: Path) -> None:
    """Wait until a file is there."""
    give_up_at = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < give_up_at
        time.sleep(0.05)
