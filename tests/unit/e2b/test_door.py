"""Who may use the gateway: neither pages of browsers, nor names that lead here, nor strangers."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support import e2b_gateway, tenant_service
from tests.support.e2b_gateway import SANDBOX_ID, Gateway

from pve402.e2b import secret

FOREIGN = "l" + "1" * 25


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    """A gateway that knows a sandbox; its service is never asked."""
    async with e2b_gateway.unserved(tmp_path) as made:
        yield made


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Host": "evil.example"},
        {"Host": "evil.example:{port}"},
        {"Host": "localhost:{port}"},
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1.evil.example:{port}"},
        {"Host": "127.0.0.1:{port}", "Origin": "http://127.0.0.1:{port}"},
    ],
)
async def test_a_page_of_a_browser_is_refused(gateway: Gateway, headers: dict[str, str]) -> None:
    port = gateway.url.rpartition(":")[2]
    sent = {name: text.replace("{port}", port) for name, text in headers.items()}

    for method in ("GET", "POST", "OPTIONS"):
        status, said, answered = await gateway.ask(method, "/v2/sandboxes", headers=sent)

        assert (status, said["code"]) == (403, 403)
        assert not [name for name in answered if name.lower().startswith("access-control")]


async def test_the_key_is_checked_on_every_call(gateway: Gateway) -> None:
    calls = {
        ("GET", "/v2/sandboxes"),
        ("GET", "/sandboxes"),
        ("POST", "/v2/sandboxes"),
        ("GET", f"/sandboxes/{SANDBOX_ID}"),
        ("DELETE", f"/sandboxes/{SANDBOX_ID}"),
        ("POST", f"/sandboxes/{SANDBOX_ID}/timeout"),
        ("POST", f"/v2/sandboxes/{SANDBOX_ID}/connect"),
        ("POST", f"/sandboxes/{SANDBOX_ID}/pause"),
        ("GET", "/templates"),
        ("GET", "/snapshots"),
    }
    keys = ("", "e2b_" + "0" * 40, e2b_gateway.KEY + "0", "\u00fc" * 9)

    answers = [await gateway.ask(*call, key=key) for call in calls for key in keys]

    assert {(status, said["code"]) for status, said, _ in answers} == {(401, 401)}


async def test_a_sandbox_is_opened_by_its_own_token(gateway: Gateway) -> None:
    calls = {
        ("GET", "/health"),
        ("GET", "/files?path=x"),
        ("POST", "/files?path=x"),
        ("POST", "/process.Process/List"),
        ("POST", "/filesystem.Filesystem/Stat"),
    }
    tokens = ("", "0" * 64, secret.token_of(e2b_gateway.KEY, FOREIGN))

    answers = [
        await gateway.ask(*call, json={}, headers=gateway.inside(token=token))
        for call in calls
        for token in tokens
    ]

    assert {status for status, _, _ in answers} == {401}


async def test_a_sandbox_that_is_gone_is_told_as_e2b_does(gateway: Gateway) -> None:
    status, said, _ = await gateway.ask("GET", "/health", headers=gateway.inside(FOREIGN))

    assert status == 502
    assert said == {"sandboxId": FOREIGN, "message": "The sandbox was not found", "code": 502}
    assert (await gateway.ask("GET", "/health", headers=gateway.inside()))[0] == 204


async def test_a_signature_is_good_for_one_file_one_act_and_a_time(gateway: Gateway) -> None:
    wrong, late = "invalid signature", "signature is already expired"
    cases = (
        ("write", "/etc/shadow", "", wrong),
        ("read", "/etc/passwd", "", wrong),
        ("read", "/etc/shadow", "1", late),
        ("read", "/etc/shadow", "-120", late),
        ("read", "/etc/shadow", "soon", late),
    )
    token = secret.token_of(e2b_gateway.KEY, SANDBOX_ID)
    for signed, asked, expires, why in cases:
        made = secret.signature("/etc/shadow", signed, "root", token, expires)
        query = {"path": asked, "username": "root", "signature": made}
        query |= {"signature_expiration": expires} if expires else {}

        status, said, _ = await gateway.ask("GET", "/files", params=query, key="")

        assert (status, said) == (401, {"code": 401, "message": why})


async def test_it_listens_on_loopback(gateway: Gateway) -> None:
    assert gateway.url.startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    ("request_line", "header", "status"),
    [
        ("GET /v2/sandboxes", "X-API-KEY: \xff", 401),
        ("GET /health", "E2b-Sandbox-Id: \xff\r\nX-Access-Token: \xff", 401),
        ("GET /files?signature=%FF&path=%FF", "Accept: */*", 401),
        ("POST /v2/sandboxes", f"X-API-KEY: {e2b_gateway.KEY}\r\nIdempotency-Key: \xff", 500),
    ],
)
async def test_bytes_that_are_no_text_are_no_crash(
    gateway: Gateway, request_line: str, header: str, status: int
) -> None:
    host = gateway.url.removeprefix("http://")
    reader, writer = await asyncio.open_connection(*host.split(":"))
    lines = (f"{request_line} HTTP/1.1", f"Host: {host}", header, "Connection: close", "", "")

    writer.write("\r\n".join(lines).encode("latin-1"))
    said = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()

    assert said.startswith(f"HTTP/1.1 {status} ")
    assert f'"code": {status}' in said


async def test_a_signed_address_ends_no_other_sandbox(tmp_path: Path) -> None:
    """Not even if its own is over, and the caller names another one."""
    over = tenant_service.says({"code": "lease_over", "detail": "The lease is over."}, 410)
    async with (
        tenant_service.tenant_of(over) as service,
        e2b_gateway.running(tmp_path, service) as made,
    ):
        for name in (SANDBOX_ID, FOREIGN):
            made.kept.keep(e2b_gateway.noted(name))
        token = secret.token_of(e2b_gateway.KEY, SANDBOX_ID)
        signed = {"path": "a", "signature": secret.signature("a", "read", "", token, "")}

        status, said, _ = await made.ask(
            "GET", "/files", params=signed, key="", headers={"E2b-Sandbox-Id": FOREIGN}
        )

        assert (status, said["sandboxId"]) == (502, "")
        assert FOREIGN in {one.sandbox_id for one in made.kept.all() if not one.is_ending}
