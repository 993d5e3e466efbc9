"""A tenant with a container and links to its consoles, and a program that opens them."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import requests
from tests.support.processes import ServeProcess
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

OFFER = {
    "sku": "standard-lxc",
    "runtimeMinutes": 30,
    "hostname": "demo",
    "cores": 1,
    "memoryMB": 256,
    "diskGB": 4,
    "password": "a-good-password",
}
LIMIT_SECONDS = 60.0


@dataclass(kw_only=True)
class LeaseHolder:
    """Somebody who holds a lease by its token."""

    service: ServeProcess
    lease: dict[str, Any] = field(repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """What proves the tenant."""
        return {"Authorization": f"Bearer {self.lease['accessToken']}"}

    def ask(self, kind: str | None = None, **more: Any) -> requests.Response:
        """Ask for a console of a kind, by default without naming one."""
        url = f"{self.service.url}/management/console/{self.lease['ctid']}"
        body = {"consoleType": kind} if kind else {}
        return requests.post(url, json={**body, **more}, headers=self.headers, timeout=30)

    def link(self, kind: str) -> dict[str, Any]:
        """The answer with a console's link; a console that was just closed may still be ending."""
        answer = once_free(lambda: self.ask(kind))
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def end(self) -> None:
        """End the lease."""
        url = f"{self.service.url}/lease/{self.lease['leaseId']}"
        assert requests.delete(url, headers=self.headers, timeout=30).status_code == 202


def once_free(ask: Callable[[], requests.Response]) -> requests.Response:
    """Ask until no console is in the way that was just closed and is still ending."""
    give_up_at = time.monotonic() + LIMIT_SECONDS
    while True:
        answer = ask()
        is_busy = answer.status_code == 409 and answer.json()["code"] == "console_busy"
        if not is_busy or time.monotonic() > give_up_at:
            return answer
        time.sleep(0.1)


def until_sized(size: str) -> bytes:
    """What is typed to be told `SIZE now` once the terminal has this size, as `stty size` says."""
    # no loop, whose end another test may take for its own mark: the next window is shown this line
    wait = f"w() {{ [ \"$(stty size)\" = '{size}' ] || {{ sleep 0.1; w; }}; }}; w"
    return f"{wait}; echo $(stty size) n''ow\r".encode()


def lease_holder(service: ServeProcess) -> LeaseHolder:
    """A new tenant with a running container."""
    answer = service.tenant().post(f"{service.url}/lease/container", json=OFFER)
    assert answer.status_code == 200, answer.text
    return LeaseHolder(service=service, lease=answer.json())


@contextlib.contextmanager
def opened(
    link: dict[str, Any], *, url: str | None = None, origin: str | None = None, **hello: Any
) -> Iterator[ClientConnection]:
    """Open a console as a program does."""
    address = url or link["websocketUrl"]
    named = None if origin is None else Origin(origin)
    # It reads 16 messages ahead and no more; it does not wait for a server that is held back.
    with connect(address, origin=named, compression=None, close_timeout=1) as socket:
        with contextlib.suppress(ConnectionClosed):  # closed before it was asked
            socket.send(json.dumps({"ticket": link["ticket"], "columns": 80, "rows": 24, **hello}))
        yield socket


def ready(socket: ClientConnection) -> dict[str, Any]:
    """The facts that a console begins with."""
    first = json.loads(socket.recv(timeout=LIMIT_SECONDS))
    facts: dict[str, Any] = first["ready"]
    return facts


def read_until(socket: ClientConnection, mark: bytes) -> bytes:
    """All output up to a mark."""
    seen = b""
    while mark not in seen:
        message = socket.recv(timeout=LIMIT_SECONDS)
        if isinstance(message, bytes):
            seen += message
    return seen


def closing(socket: ClientConnection) -> tuple[int, list[dict[str, Any]]]:
    """The close code, and the texts that came before it."""
    told = []
    while True:
        try:
            message = socket.recv(timeout=LIMIT_SECONDS)
        except ConnectionClosed as closed:
            return (closed.rcvd.code if closed.rcvd else 1006), told
        if isinstance(message, str):
            told.append(json.loads(message))
