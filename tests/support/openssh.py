"""An SSH server in the devnet's guests, as a tenant installs it.

The guests see this machine's programs. Where it has no sshd, the one that setup has unpacked is
uploaded, with the library it needs.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import requests
from tests.support import project
from tests.support.commands import Container

_UNPACKED = project.ROOT / ".cache/openssh/root"
PRETENDED = b"SSH-2.0-pretended\r\n"
_WRAPPER = '#!/bin/sh\nLD_LIBRARY_PATH=/usr/local/lib exec /usr/local/lib/sshd "$@"\n'


def install(container: Container) -> None:
    """Do what the package openssh-server does, but start no service."""
    if os.geteuid() != 0:
        pytest.skip("sshd needs a second uid, and only root can give a guest more than one")
    if not Path("/usr/sbin/sshd").exists():
        server = _UNPACKED / "usr/sbin/sshd"
        assert server.exists(), "there is no sshd: run `python3 scripts/setup.py test`"
        (library,) = _UNPACKED.glob("usr/lib/*/libwrap.so.0.*")
        container.output("mkdir -p /usr/local/lib /usr/local/sbin")
        _put(container, "/usr/local/lib/sshd", server.read_bytes())
        _put(container, "/usr/local/lib/libwrap.so.0", library.read_bytes())
        _put(container, "/usr/local/sbin/sshd", _WRAPPER.encode())
    _add_user(container)


def pretend(container: Container) -> None:
    """Install a server that says its version and repeats what it hears."""
    script = f"#!/bin/sh\nprintf '{PRETENDED.decode().strip()}\\r\\n'\nexec cat\n"
    container.output("mkdir -p /usr/local/sbin")
    _put(container, "/usr/local/sbin/sshd", script.encode())
    _add_user(container)


def _add_user(container: Container) -> None:
    user = "sshd:x:100:65534::/run/sshd:/usr/sbin/nologin"
    container.output(f"grep -q ^sshd: /etc/passwd || echo {user} >>/etc/passwd")


def _put(container: Container, path: str, data: bytes) -> None:
    reply = requests.put(
        f"{container.files_url}?path={path}&mode=0755",
        data=iter([data]),  # of unknown length, and so not fetched by the container
        headers=container.bearer,
        timeout=120,
    )
    assert reply.ok, reply.text
