"""Commands in containers over HTTP, as a tenant with a lease sends them."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount
from tests.support.api_fixtures import BODY
from tests.support.processes import ServeProcess


@dataclass(frozen=True, kw_only=True)
class Event:
    """One server-sent event."""

    kind: str
    id: str
    data: str

    @property
    def facts(self) -> dict[str, Any]:
        """What an event other than output tells."""
        found: dict[str, Any] = json.loads(self.data)
        return found

    @property
    def output(self) -> bytes:
        """The bytes of a piece of output."""
        return base64.b64decode(self.data, validate=True)


@dataclass(frozen=True, kw_only=True)
class Container:
    """A leased container and its token, at one server."""

    service: ServeProcess
    ctid: str
    lease_id: str
    token: str = field(repr=False)

    @property
    def bearer(self) -> dict[str, str]:
        """The header that opens it."""
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def url(self) -> str:
        """Where its commands are."""
        return f"{self.service.url}/management/exec/{self.ctid}"

    @property
    def files_url(self) -> str:
        """Where its files are."""
        return f"{self.service.url}/management/files/{self.ctid}"

    def at(self, service: ServeProcess) -> Container:
        """The same container at another server."""
        return Container(service=service, ctid=self.ctid, lease_id=self.lease_id, token=self.token)

    def post(self, **body: Any) -> requests.Response:
        """Ask for a command."""
        return requests.post(self.url, json=body, headers=self.bearer, timeout=60)

    def run(self, **body: Any) -> dict[str, Any]:
        """Run a command to its end."""
        reply = self.post(**body)
        assert reply.status_code in {200, 202}, reply.text
        answer: dict[str, Any] = reply.json()
        return answer

    def output(self, command: str) -> str:
        """What a command prints."""
        return str(self.run(command=command)["output"])

    def runs(self, *argv: str) -> bool:
        """Whether a program runs in the container with exactly these arguments."""
        listed = self.output("for p in /proc/[0-9]*; do tr '\\0' '\\t' <$p/cmdline; echo; done")
        return "\t".join(argv) + "\t" in listed.splitlines()

    def wait_until_running(self, *argv: str) -> None:
        """Wait until a program runs."""
        give_up_at = time.monotonic() + 30
        while not self.runs(*argv):
            assert time.monotonic() < give_up_at
            time.sleep(0.1)

    def wait_until_gone(self, *argv: str) -> None:
        """Wait until no such program runs any more."""
        give_up_at = time.monotonic() + 30
        while self.runs(*argv):
            assert time.monotonic() < give_up_at
            time.sleep(0.1)

    def stream(self, **body: Any) -> requests.Response:
        """Ask for a command's events."""
        headers = {**self.bearer, "Accept": "text/event-stream"}
        return requests.post(self.url, json=body, headers=headers, stream=True, timeout=60)

    def follow(self, exec_id: str, last_event_id: str = "") -> requests.Response:
        """Take up the events of a command."""
        headers = {**self.bearer, "Accept": "text/event-stream"}
        if last_event_id:
            headers["Last-Event-ID"] = last_event_id
        return requests.get(f"{self.url}/{exec_id}", headers=headers, stream=True, timeout=60)

    def look(self, exec_id: str) -> requests.Response:
        """Ask how a command stands."""
        return requests.get(f"{self.url}/{exec_id}", headers=self.bearer, timeout=15)

    def call(self, method: str, exec_id: str, **more: Any) -> requests.Response:
        """Act on a command."""
        return requests.request(
            method, f"{self.url}/{exec_id}", headers=self.bearer, timeout=60, **more
        )


def signed_in(service: ServeProcess, owner: LocalAccount, **wish: Any) -> str:
    """A token of the wallet, for which it signs a challenge; `wish` may narrow it."""
    where = f"{service.url}/auth"
    asked = requests.post(f"{where}/challenge", json={"address": owner.address}, timeout=30)
    message = asked.json()["message"]
    signature = owner.sign_message(encode_defunct(text=message)).signature.hex()
    told = {"message": message, "signature": f"0x{signature}", **wish}
    token: str = requests.post(f"{where}/token", json=told, timeout=30).json()["accessToken"]
    return token


def lease(service: ServeProcess, account: LocalAccount | None = None, **changes: Any) -> Container:
    """Lease a container with a payment of the official client, from a wallet of one's own."""
    bought = service.tenant(account).post(
        f"{service.url}/lease/container", json={**BODY, **changes}, timeout=60
    )
    assert bought.status_code == 200, bought.text
    found = bought.json()
    return Container(
        service=service,
        ctid=found["ctid"],
        lease_id=found["leaseId"],
        token=found["accessToken"],
    )


@contextlib.contextmanager
def asking(container: Container, **body: Any) -> Iterator[socket.socket]:
    """Ask for a command over a connection of one's own, to close while it waits."""
    content = json.dumps(body).encode()
    address = urlsplit(container.url)
    lines = [f"POST {address.path} HTTP/1.1", f"Host: {address.netloc}"]
    lines += [f"{name}: {value}" for name, value in container.bearer.items()]
    lines += [f"Content-Length: {len(content)}", "", ""]
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall("\r\n".join(lines).encode() + content)
        yield connection


def events(reply: requests.Response) -> Iterator[Event]:
    """Read events as they come; comments are passed over."""
    waiting = b""
    for chunk in reply.raw.stream(65_536):
        *whole, waiting = (waiting + chunk).split(b"\n\n")
        for text in whole:
            lines = text.decode().splitlines()
            fields = dict(line.split(": ", 1) for line in lines if not line.startswith(":"))
            if fields:
                yield Event(kind=fields["event"], id=fields.get("id", ""), data=fields["data"])
