"""Uploads that the container fetches itself, and the terminal where it cannot."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import requests
from tests.support import commands, openssh
from tests.support.commands import Container

#: Compresses well, because the way in these tests is SSH over the terminal.
DATA = bytes(range(256)) * 2100
IN_GUEST = 9777


def put(container: Container, **headers: str) -> requests.Response:
    return requests.put(
        container.files_url,
        params={"path": "/srv/data"},
        data=DATA,
        headers={**container.bearer, **headers},
        timeout=120,
    )


@contextlib.contextmanager
def way_to_us(container: Container, home: Path) -> Iterator[None]:
    """Let the container reach the service at its own loopback, over SSH."""
    port = urlsplit(container.service.url).port
    environment = {
        **os.environ,
        "PVE402_URL": container.service.url,
        "PVE402_TOKEN": container.token,
        "XDG_CONFIG_HOME": str(home),
    }
    words = ("ssh", container.ctid, "-C", "-N", "-R", f"{IN_GUEST}:127.0.0.1:{port}")
    process = subprocess.Popen(
        [sys.executable, "-m", "pve402", *words], env=environment, stdin=subprocess.DEVNULL
    )
    try:
        hexadecimal = f"{IN_GUEST:04X}"
        waiting = f"until grep -q :{hexadecimal} /proc/net/tcp; do sleep 0.1; done"
        assert container.run(command=waiting, timeoutSeconds=60)["exitCode"] == 0
        yield
    finally:
        process.terminate()
        process.wait(20)


def test_a_container_that_reaches_us_fetches_its_upload(serve, tmp_path: Path):
    container = commands.lease(serve(PVE402_GUEST_URL=f"http://127.0.0.1:{IN_GUEST}"))
    openssh.install(container)
    with way_to_us(container, tmp_path):
        container.output("echo before >/srv/data")
        wrong = put(container, **{"Content-Digest": f"sha-256=:{'A' * 43}=:"})
        assert wrong.status_code == 422
        assert container.output("cat /srv/data") == "before\n"

        answer = put(container)

    assert answer.ok, answer.text
    assert answer.json()["via"] == "network"
    assert answer.json()["bytesPerSecond"] > 0
    read = requests.get(
        container.files_url, params={"path": "/srv/data"}, headers=container.bearer, timeout=60
    )
    assert read.content == DATA
    assert container.output("ls -A /srv") == "data\n"


def test_a_container_that_does_not_reach_us_gets_it_through_its_terminal(serve):
    service = serve(PVE402_GUEST_URL=f"http://127.0.0.1:{IN_GUEST}")
    container = commands.lease(service)

    first, second = put(container), put(container)

    assert (first.json()["via"], second.json()["via"]) == ("terminal", "terminal")
    assert container.output("wc -c </srv/data") == f"{len(DATA)}\n"
    assert service.process.said().count("guest_does_not_reach_us") == 1
    unknown = requests.get(f"{service.url}/guest/files/none", timeout=10)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "link_unknown")
