"""SSH into a container through the service, with the clients that people have."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support import commands, openssh, processes, ssh_hosts
from tests.support.commands import Container
from tests.support.processes import ServeProcess
from tests.support.ssh_hosts import Host


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


@pytest.mark.parametrize(
    "does",
    [
        *(ssh_hosts.runs_a_command, ssh_hosts.copies_files, ssh_hosts.copies_folders),
        *(ssh_hosts.pushes_and_clones, ssh_hosts.forwards_ports, ssh_hosts.shares_a_connection),
    ],
    ids=lambda does: does.__name__,
)
def test_what_people_do_with_ssh(host: Host, does: Callable[[Host, Path], None], tmp_path: Path):
    does(host, tmp_path)
    assert host.ssh(host.name, "true").returncode == 0
