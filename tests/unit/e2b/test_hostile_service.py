"""A service that lies to the gateway, in words that would reach a program, a file or a name."""

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from aiohttp import web
from tests.support import e2b_gateway, tenant_service
from tests.support.e2b_gateway import SANDBOX_ID, Gateway
from tests.support.tenant_service import LEASE, TenantService

from pve402 import client, schemas
from pve402.e2b import connect

EVIL = ("../../x", "l" + "0" * 25 + "\n", "", "a" * 100_000, "localhost:1/")


class Seller(client.Client):
    """A client that has paid already, and got this lease."""

    leased: ClassVar[dict[str, Any]] = {
        **LEASE,
        "expiresAt": f"{datetime.now(UTC) + timedelta(hours=1):%FT%TZ}",
    }

    async def catalogue(self) -> schemas.CatalogueAnswer:
        return schemas.CatalogueAnswer.model_construct(skus=[_SKU])

    async def lease(self, _wish: Any, **_: Any) -> client.Bought[schemas.LeaseAnswer]:
        answer = schemas.LeaseAnswer.model_validate(self.leased)
        return client.Bought(answer=answer, receipt=None)


_BOUNDS = schemas.Bounds.model_construct(min=1, max=10_000)
_SKU = schemas.SkuItem.model_construct(
    sku="standard-lxc", cores=_BOUNDS, memory_mb=_BOUNDS, disk_gb=_BOUNDS
)


def ran(
    stdout: bytes = b"1000:1000 /home/user\n0:0 /root\n", code: int = 0, stderr: bytes = b""
) -> dict[str, Any]:
    """An answer about a command."""
    err = base64.b64encode(stderr).decode()
    said = base64.b64encode(stdout).decode()
    outcome = {"exitCode": code, "timedOut": False, "truncated": False, "durationMs": 1}
    names = {"ctid": "1", "upid": "e", "execId": "e", "encoding": "base64", "state": "exited"}
    return {**names, **outcome, "output": said, "stdout": said, "stderr": err, "detached": False}


class Liar:
    """Answers commands and publishes ports as a test says."""

    def __init__(self) -> None:
        self.said: dict[str, Any] = ran()
        self.url = ""
        self.first = b""
        self.is_left = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/management/stream/"):
            return await self._stream(request)
        if request.path.startswith("/management/exec/"):
            return web.json_response(self.said)
        if request.path.startswith("/management/ports/") and request.method == "POST":
            moment = "2026-11-21T12:00:00Z"
            shown = {"port": 1, "access": "private", "url": self.url, "createdAt": moment}
            return web.json_response({**shown, "expiresAt": None})
        return web.json_response({"ports": []})

    async def _stream(self, request: web.Request) -> web.WebSocketResponse:
        """Write to a program's stdout, and wait until it is left."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        await socket.send_json({"streamId": "s", "window": 1, "received": 0})
        await socket.send_bytes(b"\1" + self.first)
        async for _ in socket:
            pass
        self.is_left.set()
        return socket


@pytest.fixture
def liar() -> Liar:
    return Liar()


@pytest.fixture
async def service(liar: Liar) -> AsyncIterator[TenantService]:
    async with tenant_service.serving(liar.handle) as made:
        yield made


@pytest.fixture
async def gateway(service: TenantService, tmp_path: Path) -> AsyncIterator[Gateway]:
    async with (
        Seller(service.url, token="t" * 20) as seller,
        e2b_gateway.running(tmp_path, seller) as made,
    ):
        yield made


async def test_a_lease_with_another_name_than_ours_is_not_kept(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in EVIL:
        monkeypatch.setattr(Seller, "leased", {**LEASE, "leaseId": name})

        status, said, _ = await gateway.ask("POST", "/v2/sandboxes", json={})

        assert status == 500
        assert said["message"].isprintable()
    assert gateway.kept.all() == []


@pytest.mark.parametrize(
    ("url", "domain"),
    [
        (f"https://49983-{LEASE['leaseId']}.ports.example", "ports.example"),
        (f"http://49983-{LEASE['leaseId']}.ports.localhost:8080/", "ports.localhost:8080"),
        (f"https://49983-{LEASE['leaseId']}.a b", "sandbox.invalid"),
        (f"https://49983-{LEASE['leaseId']}.evil/x@ports.example", "sandbox.invalid"),
        (f"https://user@49983-{LEASE['leaseId']}.ports.example", "sandbox.invalid"),
        ("https://49983-other.ports.example", "sandbox.invalid"),
        ("https://evil.example", "sandbox.invalid"),
        ("", "sandbox.invalid"),
    ],
)
async def test_a_domain_is_taken_only_from_the_name_of_our_own_port(
    gateway: Gateway, liar: Liar, url: str, domain: str
) -> None:
    liar.url = url.replace(".evil/x@", ".evil x@")

    gateway.kept.keep(e2b_gateway.noted())  # of a run before

    status, said, _ = await gateway.ask("GET", f"/sandboxes/{SANDBOX_ID}")

    assert (status, said["domain"]) == (200, domain)
    assert (await gateway.ask("POST", "/v2/sandboxes", json={}))[1]["domain"] == domain


@pytest.mark.parametrize(
    "said",
    [
        b"1\n",
        b"x\n",
        b"-1\n",
        b"99999999999999999999\n",
        b"1\n81a4 1 a b 2026-11-29 21:50:00\n/x",
        b"1\nnot facts\n/x\0\0",
        b"1\nffffffffffffffffffff 1 a b 2026-11-29 21:50:00\n/x\0\0",
        b"2\n-\n-\n/x\0\0/y\0\0",
        b"\0" * 1000,
    ],
)
async def test_nonsense_of_a_container_is_an_error_and_no_crash(
    gateway: Gateway, liar: Liar, said: bytes
) -> None:
    gateway.kept.keep(e2b_gateway.noted())
    path = "/filesystem.Filesystem/Stat"
    inside = gateway.inside(SANDBOX_ID)
    await gateway.ask("POST", path, json={"path": "/x"}, headers=inside)  # looks the user up
    liar.said = ran(said)

    status, told, _ = await gateway.ask("POST", path, json={"path": "/x"}, headers=inside)

    assert (status, told["code"]) in {(500, "internal"), (404, "not_found")}


async def test_a_full_disk_is_told_as_such(gateway: Gateway, liar: Liar) -> None:
    gateway.kept.keep(e2b_gateway.noted())
    call: dict[str, Any] = {"data": b"x", "headers": gateway.inside(SANDBOX_ID)}
    assert (await gateway.ask("POST", "/files?path=a", **call))[0] == 200
    liar.said = ran(code=1, stderr=b"sh: write error: No space left on device\n")

    status, said, _ = await gateway.ask("POST", "/files?path=a", **call)

    assert (status, said["code"]) == (507, 507)


async def test_a_long_answer_of_a_container_takes_no_longer_than_its_length(
    gateway: Gateway, liar: Liar
) -> None:
    """Read in time that grows with its square, this would take minutes."""
    gateway.kept.keep(e2b_gateway.noted())
    inside = gateway.inside(SANDBOX_ID)
    call: dict[str, Any] = {"json": {"path": "/x"}, "headers": inside}
    await gateway.ask("POST", "/filesystem.Filesystem/ListDir", **call)
    liar.said = ran(b"0\n" * 2_000_000)

    status, told, _ = await gateway.ask("POST", "/filesystem.Filesystem/ListDir", **call)

    assert (status, told["entries"]) == (200, [])


@pytest.mark.parametrize("said", ["\u00e9", "a"])
async def test_output_in_no_encoding_is_an_error_and_no_crash(
    gateway: Gateway, liar: Liar, said: str
) -> None:
    gateway.kept.keep(e2b_gateway.noted())
    liar.said = {**ran(), "stdout": said}

    status, told, _ = await gateway.ask(
        "POST",
        "/filesystem.Filesystem/Stat",
        json={"path": "/x"},
        headers=gateway.inside(SANDBOX_ID),
    )

    assert (status, told["code"]) == (500, "internal")


async def test_a_user_with_a_strange_home_is_no_crash(gateway: Gateway, liar: Liar) -> None:
    gateway.kept.keep(e2b_gateway.noted())
    liar.said = ran(b"1000:1000 /home/\xff\n")

    status, told, _ = await gateway.ask(
        "POST", "/filesystem.Filesystem/Remove", json={"path": "a"}, headers=gateway.inside()
    )

    assert (status, told) == (200, {})


@pytest.mark.parametrize("first", [b"something else\n", b"x" * 5000])
async def test_a_container_that_says_something_else_starts_nothing(
    gateway: Gateway, liar: Liar, first: bytes
) -> None:
    """Such as one whose shell writes without an end: it is left at once, and nothing is kept."""
    gateway.kept.keep(e2b_gateway.noted())
    liar.first = first
    headers = {**gateway.inside(), "Content-Type": connect.STREAM}
    start = connect.envelope({"process": {"cmd": "true"}})

    url = f"{gateway.url}/process.Process/Start"
    async with gateway.http.post(url, data=start, headers=headers) as answer:
        said = await answer.read()

    assert connect.parsed(said[5:])["error"]["code"] == "internal"
    assert "does not start programs as it should" in said.decode()
    await liar.is_left.wait()
