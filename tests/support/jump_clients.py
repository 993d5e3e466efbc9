"""A container behind a jump host, and a machine that has nothing but OpenSSH."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from tests.support import commands
from tests.support.commands import Container
from tests.support.processes import ServeProcess


@dataclass(frozen=True, kw_only=True)
class Visitor:
    """A tenant's machine: a key, known hosts, and ssh's configuration."""

    container: Container
    folder: Path
    config: Path
    way: dict[str, str]

    @property
    def jump(self) -> str:
        """What follows -J."""
        return self.way["command"].split()[2]

    @property
    def name(self) -> str:
        """What ssh calls the container."""
        return self.container.lease_id

    def ssh(self, *words: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
        """Run ssh with its options and command."""
        return self.run("ssh", "-F", str(self.config), *words, **more)

    def run(self, *words: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
        """Run a program of this machine."""
        return subprocess.run(words, capture_output=True, timeout=100, check=False, **more)

    def by_command(self, *words: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
        """Type the command of the lease's answer, and more words."""
        return self.ssh(*self.way["command"].split()[1:], *words, **more)


def key(folder: Path, name: str = "key") -> str:
    """Make a key; returns its public line."""
    made = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "me", "-f", str(folder / name)]
    subprocess.run(made, check=True)
    return (folder / f"{name}.pub").read_text().strip()


def visitor(service: ServeProcess, folder: Path, **wish: Any) -> Visitor:
    """Lease a container with a key, and write down what the answers say."""
    container = commands.lease(service, sshPublicKeys=[key(folder)], **wish)
    url = f"{service.url}/lease/{container.ctid}"
    way: dict[str, str] = requests.get(url, headers=container.bearer, timeout=30).json()["ssh"]
    made = Visitor(container=container, folder=folder, config=folder / "config", way=way)
    note_hosts(made)
    return made


def note_hosts(who: Visitor) -> None:
    """Write the known hosts and the configuration that docs/how-to/reach.md tells to write."""
    container, folder = who.container, who.folder
    url = f"{container.service.url}/management/keys/{container.ctid}"
    found = requests.get(url, headers=container.bearer, timeout=60).json()
    lines = [who.way["knownHosts"], *(f"{who.name} {line}" for line in found["hostKeys"])]
    (folder / "known_hosts").write_text("".join(f"{line}\n" for line in lines))
    usual = f"""  IdentityFile {folder}/key
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known_hosts
  StrictHostKeyChecking yes
  BatchMode yes
"""
    web = f"Host web\n  HostName {who.name}\n  User root\n  ProxyJump {who.jump}\n"
    who.config.write_text(f"{web}Host *\n{usual}")
