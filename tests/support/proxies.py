"""Debian's reverse proxies on loopback: the machine's own, or those that setup has unpacked.

Their configurations are complete as operators write them, but for what `loopback` adds to them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.support import project

_START_SECONDS = 20
_STOP_SECONDS = 10
_NGINX = """\
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log info;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{sites}
}}
"""


@contextlib.contextmanager
def caddy(folder: Path, caddyfile: str, *, port: int) -> Iterator[Path]:
    """Run Caddy until the test is done with it; gives its log.

    `caddyfile` is complete but for the global block, which keeps Caddy on the port and from asking
    the world for certificates: its sites name them (`tls CERTIFICATE KEY`).
    """
    file = folder / "Caddyfile"
    file.write_text("{\n admin off\n auto_https disable_redirects\n}\n" + caddyfile)
    home = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    command = [_find("caddy", "usr/bin/caddy"), "run", "--adapter", "caddyfile"]
    with _running([*command, "--config", str(file)], folder / "caddy.log", port, home) as log:
        yield log


@contextlib.contextmanager
def nginx(folder: Path, sites: str, *, port: int) -> Iterator[Path]:
    """Run nginx until the test is done with it; gives its log.

    `sites` is what Debian's nginx includes from /etc/nginx/sites-enabled: `server` blocks and what
    stands beside them.
    """
    file = folder / "nginx.conf"
    user = "user root;\n" if os.geteuid() == 0 else ""  # its workers read the test's folders
    file.write_text(user + _NGINX.format(folder=folder, sites=sites))
    log = folder / "nginx.log"
    command = [_find("nginx", "usr/sbin/nginx"), "-p", str(folder), "-c", str(file), "-e", str(log)]
    with _running(command, folder / "nginx.out", port, {}):
        yield log


@contextlib.contextmanager
def _running(
    command: Sequence[str], log: Path, port: int, environment: dict[str, str]
) -> Iterator[Path]:
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={"PATH": os.environ["PATH"], **environment},
        )
    try:
        give_up_at = time.monotonic() + _START_SECONDS
        while not _is_open(port):
            if process.poll() is not None or time.monotonic() > give_up_at:
                pytest.fail(f"{command[0]} does not listen:\n{log.read_text()[-3000:]}")
            time.sleep(0.02)
        yield log
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_open(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _find(name: str, path: str) -> str:
    """Return where a program is, the machine's own before ours."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/bin")
    ours = project.ROOT / ".cache" / name / "root" / path
    assert found or ours.exists(), f"there is no {name}: run `python3 scripts/setup.py test`"
    return found or str(ours)
