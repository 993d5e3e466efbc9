"""A reinstalled container over HTTP: nothing of the old one is left, and the lease is as before."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import requests
from tests.support import commands
from tests.support.commands import Container
from tests.support.processes import ServeProcess


def call(container: Container, path: str, method: str = "GET", **more: Any) -> dict[str, Any]:
    """Ask for something of a lease."""
    url = f"{container.service.url}/lease/{container.ctid}{path}"
    reply = requests.request(method, url, headers=container.bearer, timeout=60, **more)
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


def test_files_are_gone_and_the_lease_is_as_before(service: ServeProcess) -> None:
    container = commands.lease(service, env={"STAGE": "one"})
    before = call(container, "")
    container.output("echo old > /root/file; echo $STAGE")
    wish = {
        "password": "another password",
        "env": {"STAGE": "two"},
        "userData": "echo $STAGE > /root/made",
        "userDataNetwork": False,
    }

    made = call(container, "/reinstall", "POST", json=wish)
    left = container.output("cat /root/file 2>/dev/null || echo gone")
    for _ in range(100):
        if call(container, "/reinstall")["state"] == "done" and container.output(
            "cat /root/made 2>/dev/null"
        ):
            break
        time.sleep(0.2)

    after = call(container, "")
    same = ("leaseId", "ctid", "hostname", "owner", "createdAt")
    assert made["state"] == "done"
    assert left == "gone\n"
    assert container.output("cat /root/made; echo $STAGE") == "two\ntwo\n"
    assert {name: after.get(name) for name in same} == {name: before.get(name) for name in same}
    until = [datetime.fromisoformat(seen["expiresAt"]) for seen in (before, after)]
    assert until == sorted(until)
