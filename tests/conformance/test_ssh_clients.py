"""Real clients of SSH, by both ways, to containers that are a Debian of their own.

The guests' programs are not this machine's: `make conformance` makes them a root with mmdebstrap.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support import jump_clients, processes, project, ssh_hosts
from tests.support.jump_clients import Visitor
from tests.support.processes import DevnetProcess, ServeProcess
from tests.support.ssh_hosts import DATA, Host
from websockets.sync.client import connect

GUEST_ROOT = project.ROOT / ".cache/guest-root/bookworm"
CLIENTS = project.ROOT / ".venv-ssh-clients/bin"
SCRIPTS = Path(__file__).parent / "clients"
BUSYBOX = "local:vztmpl/busybox-alpine-3.22_1_amd64.tar.gz"

pytestmark = [
    pytest.mark.skipif(not GUEST_ROOT.exists(), reason="needs root: scripts/setup.py conformance"),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def debian_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    """A server with a jump host, whose guests are that Debian."""
    folder = tmp_path_factory.mktemp("debian")
    bind = f"127.0.0.1:{processes.free_port()}"
    with (
        processes.running_devnet(folder, "--guest-root", str(GUEST_ROOT)) as devnet,
        processes.serving(folder, devnet, PVE402_SSH_BIND=bind) as made,
    ):
        yield made


@pytest.fixture(scope="module")
def who(debian_service: ServeProcess, tmp_path_factory: pytest.TempPathFactory) -> Visitor:
    """A tenant and their container."""
    return jump_clients.visitor(debian_service, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module", params=["tunnel", "jump host"])
def host(request: pytest.FixtureRequest, who: Visitor) -> Host:
    """The same, by one of the ways."""
    return by_tunnel(who) if request.param == "tunnel" else by_jump_host(who)


@pytest.mark.parametrize("prepare", ["true", "passwd -l root; ssh-keygen -A"])
def test_root_needs_no_password(debian_service: ServeProcess, prepare: str, tmp_path: Path) -> None:
    """It has none, or is locked as well; and the container has host keys of its own, or none."""
    who = jump_clients.visitor(debian_service, tmp_path, password=None)
    who.container.output(prepare)
    jump_clients.note_hosts(who)
    for each in (by_tunnel(who), by_jump_host(who)):
        ssh_hosts.runs_a_command(each, tmp_path)
        assert each.ssh(each.name, "id -u").stdout == b"0\n"


def by_jump_host(who: Visitor) -> Host:
    return Host(container=who.container, environment={**os.environ}, config=who.config, name="web")


def by_tunnel(who: Visitor) -> Host:
    """What `pve402 ssh-config` prints, under the same name."""
    settings = {**_settings(who), "XDG_CONFIG_HOME": str(who.folder / "config-home")}
    done = processes.run(
        *("ssh-config", who.container.ctid, "--identity", str(who.folder / "key")), **settings
    )
    assert done.returncode == 0, done.stderr
    config = who.folder / "tunnel_config"
    config.write_text("Host web\n" + done.stdout.partition("\n")[2])
    environment = {**os.environ, **settings}
    return Host(container=who.container, environment=environment, config=config, name="web")


def mounts_folders(host: Host, folder: Path) -> None:
    """By sshfs."""
    if not Path("/dev/fuse").exists():
        pytest.skip("not shown: this machine has no /dev/fuse")
    mount = folder / "mount"
    mount.mkdir()
    host.ssh(host.name, "mkdir -p /srv/shared; seq 5000 >/srv/shared/numbers")
    command = ["sshfs", "-F", str(host.config), f"{host.name}:/srv/shared", str(mount)]
    with (folder / "log").open("wb") as log:  # it stays, and would hold a pipe open
        subprocess.run(
            command, env=host.environment, stdout=log, stderr=log, timeout=90, check=True
        )
    try:
        assert (mount / "numbers").read_text().splitlines()[-1] == "5000"
        (mount / "back").write_bytes(DATA)
        (mount / "folder").mkdir()
        assert sorted(path.name for path in mount.iterdir()) == ["back", "folder", "numbers"]
    finally:
        subprocess.run(["fusermount3", "-u", str(mount)], check=True)
    assert host.ssh(host.name, "cat /srv/shared/back; rm -r /srv/shared").stdout == DATA


def obeys_ansible(host: Host, folder: Path) -> None:
    """Ansible's ping, which needs Python there, a copy, and a command."""
    (folder / "file").write_bytes(DATA)
    usual = ["-i", f"{host.name},", "--ssh-common-args", f"-F {host.config}", "all"]
    acts = [
        ["-m", "ping"],
        ["-m", "copy", "-a", f"src={folder}/file dest=/tmp/by-ansible"],
        ["-m", "command", "-a", "sha1sum /tmp/by-ansible"],
    ]
    with tempfile.TemporaryDirectory() as short:  # for the path of a socket
        own = {"ANSIBLE_SSH_CONTROL_PATH_DIR": short, "HOME": str(folder)}
        settings = {**host.environment, "ANSIBLE_LOCAL_TEMP": str(folder), **own}
        for act in acts:
            done = host.run(str(CLIENTS / "ansible"), *usual, *act, env=settings, cwd=folder)
            assert done.returncode == 0, done.stdout + done.stderr
    assert b"CHANGED" in done.stdout


def obeys_paramiko(host: Host, _folder: Path) -> None:
    """Paramiko: a command with data both ways, and sftp."""
    words = (str(CLIENTS / "python"), str(SCRIPTS / "by_paramiko.py"), str(host.config), host.name)
    done = host.run(*words)
    assert done.stdout == b"all of it happened\n", done.stderr[-2000:]


def keeps_a_server(host: Host, _folder: Path) -> None:
    """The steps of VS Code's remote part; the client is killed, and the same server answers."""
    script = (SCRIPTS / "left_server.sh").read_bytes()
    proxy, told = processes.free_port(), []
    for _ in range(2):
        with host.background(
            *("-T", "-D", str(proxy), host.name, "bash"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as client:
            assert client.stdin is not None
            assert client.stdout is not None
            client.stdin.write(script)
            client.stdin.flush()
            told.append(client.stdout.readline().split())
            _use_server(proxy, *told[-1][-3::2])
            client.kill()
    assert told[0] == told[1]
    host.ssh(host.name, f"kill {told[0][-1].decode()}; rm -r .left-server")


def _use_server(proxy: int, port: bytes, pid: bytes) -> None:
    proxies = f"127.0.0.1:{proxy}"
    urls = "\n".join(f'url = "http://localhost:{port.decode()}/{n}"' for n in range(200))
    words = ["curl", "-sf", "--socks5-hostname", proxies, "--config", "-"]
    done = subprocess.run(words, input=urls.encode(), capture_output=True, timeout=90, check=True)
    assert done.stdout == b"".join(b"server %s answers /%d" % (pid, n) for n in range(200))
    with (
        _through(proxy, int(port)) as way,
        connect(f"ws://localhost:{port.decode()}/", sock=way, compression=None) as websocket,
    ):
        for number in range(20):
            websocket.send(f"{number}" * 100)
            assert websocket.recv(timeout=30) == f"{number}" * 100


def _through(proxy: int, port: int) -> socket.socket:
    """Connect to a port of localhost over a SOCKS proxy (RFC 1928)."""
    way = socket.create_connection(("127.0.0.1", proxy), timeout=30)
    way.sendall(b"\5\1\0")
    assert way.recv(2) == b"\5\0"
    way.sendall(b"\5\1\0\3\x09localhost" + port.to_bytes(2, "big"))
    assert way.recv(10)[1] == 0
    return way


CLIENTS_DO: list[Callable[[Host, Path], None]] = [
    *(ssh_hosts.runs_a_command, ssh_hosts.copies_files, ssh_hosts.copies_folders),
    *(ssh_hosts.pushes_and_clones, ssh_hosts.forwards_ports, ssh_hosts.shares_a_connection),
    *(mounts_folders, obeys_ansible, obeys_paramiko, keeps_a_server),
]


@pytest.mark.parametrize("does", CLIENTS_DO, ids=lambda does: does.__name__)
def test_a_client_does_what_it_does_elsewhere(
    host: Host, does: Callable[[Host, Path], None], tmp_path: Path
) -> None:
    does(host, tmp_path)
    assert host.ssh(host.name, "true").returncode == 0


@pytest.fixture(scope="module")
def bare(devnet: DevnetProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitor]:
    """A container that is one busybox: no sshd, script, Python or Perl."""
    folder = tmp_path_factory.mktemp("bare")
    bind = f"127.0.0.1:{processes.free_port()}"
    settings = {"PVE402_SSH_BIND": bind, "PVE_OS_TEMPLATE": BUSYBOX}
    with processes.serving(folder, devnet, **settings) as service:
        yield jump_clients.visitor(service, folder)


@pytest.fixture(scope="module", params=["tunnel", "jump host"])
def bare_host(request: pytest.FixtureRequest, bare: Visitor) -> Host:
    """The same, by one of the ways; ssh-config prints nothing for it."""
    if request.param == "jump host":
        return by_jump_host(bare)
    config = bare.folder / "tunnel_config"
    proxy = f"{sys.executable} -m pve402 tunnel {bare.container.ctid}"
    config.write_text(f"Host web\n  BatchMode yes\n  ProxyCommand {proxy}\n")
    environment = {**os.environ, **_settings(bare)}
    return Host(container=bare.container, environment=environment, config=config, name="web")


def _settings(who: Visitor) -> dict[str, str]:
    return {"PVE402_URL": who.container.service.url, "PVE402_TOKEN": who.container.token}


MISSING = b"this container has no sshd; add it with"
SWALLOWED = {"sshfs": b"Connection reset by peer", "ansible": b"Connection closed by"}


@pytest.mark.parametrize(
    "words",
    [
        ("ssh", "web", "true"),
        ("scp", "/etc/hostname", "web:/tmp"),
        ("sftp", "-b", "/dev/null", "web"),
        ("rsync", "-a", "/etc/hostname", "web:/tmp"),
        ("git", "clone", "web:/srv/x.git"),
        ("sshfs", "web:/srv", "mount"),
        ("ansible", "-i", "web,", "all", "-m", "ping"),
    ],
    ids=lambda words: words[0],
)
def test_without_a_server_every_client_says_so(
    bare_host: Host, words: tuple[str, ...], tmp_path: Path
) -> None:
    """Two of them do not pass on what ssh's ProxyCommand says, and show their own words."""
    by_ssh = f"-F {bare_host.config}"
    options = ["-F", str(bare_host.config)] if words[0] in {"ssh", "scp", "sftp", "sshfs"} else []
    own = {"GIT_SSH_COMMAND": f"ssh {by_ssh}", "RSYNC_RSH": f"ssh {by_ssh}", "HOME": str(tmp_path)}
    own |= {"ANSIBLE_SSH_COMMON_ARGS": by_ssh, "ANSIBLE_LOCAL_TEMP": str(tmp_path)}
    program = str(CLIENTS / words[0]) if words[0] == "ansible" else words[0]
    (tmp_path / "mount").mkdir()
    environment = {**bare_host.environment, **own}

    done = bare_host.run(program, *options, *words[1:], env=environment, cwd=tmp_path)

    assert done.returncode != 0
    said = SWALLOWED.get(words[0], MISSING)
    assert said in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("tunnel", 127, MISSING.decode()),
        ("ssh", 5, "this container has no SSH server; add one with `pve402 exec"),
        ("ssh-config", 5, "this container has no SSH server; add one with `pve402 exec"),
    ],
)
def test_without_a_server_our_commands_say_so_too(
    bare: Visitor, command: str, code: int, said: str, tmp_path: Path
) -> None:
    own = {"XDG_CONFIG_HOME": str(tmp_path)}
    done = processes.run(command, bare.container.ctid, **_settings(bare), **own)

    assert (done.returncode, said in done.stderr) == (code, True), done.stderr


def test_without_a_server_commands_and_copies_work(bare: Visitor, tmp_path: Path) -> None:
    settings, ctid = _settings(bare), bare.container.ctid
    (tmp_path / "data").write_bytes(DATA)

    assert processes.run("cp", str(tmp_path / "data"), f"{ctid}:/root/", **settings).returncode == 0
    counted = processes.run("exec", ctid, "--", "wc", "-c", "/root/data", **settings)
    assert counted.stdout.split() == [str(len(DATA)), "/root/data"]
    assert processes.run("cp", f"{ctid}:/root/data", f"{tmp_path}/back", **settings).returncode == 0
    assert (tmp_path / "back").read_bytes() == DATA


def test_a_locked_root_without_pam_is_told(debian_service: ServeProcess, tmp_path: Path) -> None:
    who = jump_clients.visitor(debian_service, tmp_path)
    who.container.output("passwd -l root; rm /etc/pam.d/sshd")
    refused = who.by_command("true")
    who.container.output("sed -i 's/^root:!/root:*/' /etc/shadow")

    assert b"root is locked in this container" in refused.stderr
    assert who.by_command("true").returncode == 0
