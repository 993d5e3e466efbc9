"""`ssh -J LEASE@host root@LEASE` with OpenSSH itself, as a tenant without our command types it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import asyncssh
import pytest
import requests
from tests.support import jump_clients, openssh, processes
from tests.support.jump_clients import Visitor
from tests.support.processes import DevnetProcess, ServeProcess

DATA = os.urandom(200_000)
BUSYBOX = "local:vztmpl/busybox-alpine-3.22_1_amd64.tar.gz"


@pytest.fixture(scope="module")
def jump_service(
    devnet: DevnetProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServeProcess]:
    """A server with a jump host."""
    bind = f"127.0.0.1:{processes.free_port()}"
    folder = tmp_path_factory.mktemp("jump")
    with processes.serving(folder, devnet, PVE402_SSH_BIND=bind) as made:
        yield made


@pytest.fixture(scope="module")
def who(jump_service: ServeProcess, tmp_path_factory: pytest.TempPathFactory) -> Visitor:
    """A container with an SSH server, and a tenant who has its key."""
    made = jump_clients.visitor(jump_service, tmp_path_factory.mktemp("home"))
    openssh.install(made.container)
    jump_clients.note_hosts(made)
    return made


def test_the_command_of_the_answer_logs_in(who: Visitor):
    done = who.by_command("cat; echo wrong >&2; exit 3", input=DATA)

    assert (done.returncode, done.stdout, done.stderr) == (3, DATA, b"wrong\n")


def test_files_go_by_scp_and_many_sessions_share_a_connection(who: Visitor, tmp_path: Path):
    there, back, control = tmp_path / "there", tmp_path / "back", f"ControlPath={tmp_path}/c"
    there.write_bytes(DATA)
    scp = ("scp", "-F", str(who.config), "-o", control, "-o", "ControlMaster=auto")
    try:
        assert who.run(*scp, "-o", "ControlPersist=60", str(there), "web:/root/x").returncode == 0
        assert who.run(*scp, "web:/root/x", str(back)).returncode == 0
        assert who.ssh("-o", control, "-O", "check", "web").returncode == 0
    finally:
        who.ssh("-o", control, "-O", "exit", "web")

    assert back.read_bytes() == DATA


def test_what_it_refuses_stands_in_what_ssh_says(who: Visitor):
    elsewhere = who.ssh("-J", who.jump, "root@10.0.0.1", "true")
    shell = who.ssh("-p", who.jump.rpartition(":")[2], who.jump.rpartition(":")[0], "id")
    stranger = who.ssh("-J", f"l{'0' * 25}@{who.jump.partition('@')[2]}", "root@guest", "true")

    assert b"prohibited: this host leads to port 22 of your container only" in elsewhere.stderr
    assert b"this host has no shell" in shell.stderr
    assert b"this key opens no running lease of this name" in stranger.stderr
    assert [done.returncode for done in (elsewhere, shell, stranger)] == [255] * 3


def test_a_container_without_sshd_says_how_to_add_it(
    jump_service: ServeProcess, devnet: DevnetProcess, tmp_path: Path
):
    bind = f"127.0.0.1:{processes.free_port()}"
    settings = {"PVE402_SSH_BIND": bind, "PVE_OS_TEMPLATE": BUSYBOX}
    with processes.serving(tmp_path, devnet, **settings) as service:
        bare = jump_clients.visitor(service, tmp_path)
        done = bare.by_command("true")

    assert done.returncode == 255
    assert b"this container has no sshd; add it with" in done.stderr
    assert b"apk add openssh" in done.stderr
    assert b"(Fedora); shell, exec and cp work without it" in done.stderr


def test_keys_of_the_running_lease_count_at_once(who: Visitor):
    url = f"{who.container.service.url}/management/keys/{who.container.ctid}"
    line = jump_clients.key(who.folder, "second")
    other = ("-o", f"IdentityFile={who.folder}/second", *who.way["command"].split()[1:], "true")
    config = who.config.read_text()
    who.config.write_text(config.replace("/key\n", "/second\n"))
    try:
        assert who.ssh(*other).returncode == 255
        added = requests.post(
            url, json={"publicKey": line}, headers=who.container.bearer, timeout=60
        )
        (item,) = [key for key in added.json()["keys"] if key["publicKey"] == line]
        assert who.ssh(*other).returncode == 0
        query = {"fingerprint": item["fingerprint"]}
        removed = requests.delete(url, params=query, headers=who.container.bearer, timeout=60)
        assert removed.ok
        assert who.ssh(*other).returncode == 255
    finally:
        who.config.write_text(config)


def test_the_log_has_who_and_how_much_and_nothing_of_what(who: Visitor):
    word = f"secret{time.time_ns()}"
    assert who.by_command(f"echo {word}").stdout == f"{word}\n".encode()
    process = who.container.service.process
    processes.wait_until(lambda: process.said().count('"jump_end"') > 0, process, "logged")

    said = process.said()
    assert f'"lease": "{who.name}", "address": "127.0.0.1"' in said
    assert word not in said
    assert who.container.token not in said


async def test_connections_end_with_the_lease(jump_service: ServeProcess, tmp_path: Path):
    ending = await asyncio.to_thread(jump_clients.visitor, jump_service, tmp_path)
    name, _, address = ending.jump.partition("@")
    host, _, port = address.rpartition(":")
    connecting = asyncssh.connect(
        host,
        int(port),
        username=name,
        client_keys=[f"{tmp_path}/key"],
        known_hosts=f"{tmp_path}/known_hosts",
        client_factory=Witness,
        config=None,
        agent_path=None,
    )
    async with connecting as client, asyncio.timeout(30):
        url = f"{jump_service.url}/lease/{ending.container.ctid}"
        await asyncio.to_thread(requests.delete, url, headers=ending.container.bearer, timeout=60)
        await client.wait_closed()

    assert Witness.reasons == ["the lease of this container has ended"]
    refused = await asyncio.to_thread(ending.by_command, "true")
    assert b"Permission denied (publickey)" in refused.stderr


class Witness(asyncssh.SSHClient):
    """Hears why its connection was ended."""

    reasons: ClassVar[list[str]] = []

    def connection_lost(self, exc: Exception | None) -> None:
        self.reasons.append(getattr(exc, "reason", ""))


def test_an_address_that_is_taken_is_told_at_the_start(jump_service: ServeProcess, tmp_path: Path):
    lines = (tmp_path / "env", jump_service.devnet.settings)
    lines[0].write_text("".join(f"{name}='{value}'\n" for name, value in lines[1].items()))
    taken = jump_service.url.rpartition("/")[2]
    done = processes.run(
        *("serve", "--env-file", str(lines[0]), "--port", str(processes.free_port())),
        PVE402_SSH_BIND=taken,
        DATABASE_URL=f"sqlite:///{tmp_path}/x.sqlite3",
    )
    assert done.returncode == 2
    assert "PVE402_SSH_BIND: cannot listen there: Address already in use" in done.stderr
