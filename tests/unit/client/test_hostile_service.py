"""Hostile services: texts, sizes and addresses of any kind."""

import base64
import json
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from tests.support import tenant_service
from tests.support.steering import TEXTS as STEERING
from tests.support.tenant_service import EXEC_ID, ITEM, LEASE_ID

from pve402 import client, schemas
from pve402.client import transport

LONG = "x" * 5_000_000


def _is_plain(text: str) -> bool:
    return text.isprintable() and len(text) < 1200


@pytest.mark.parametrize("text", [*STEERING.values(), LONG], ids=[*STEERING, "long"])
async def test_a_refusal_steers_no_terminal(text: str) -> None:
    refused = tenant_service.says({"code": text, "detail": text}, 409)
    async with tenant_service.tenant_of(refused) as tenant:
        with pytest.raises(client.Refused) as caught:
            await tenant.leases()

    error = caught.value
    assert all(map(_is_plain, (str(error), error.code, error.detail)))
    assert len(error.code) <= 64


async def test_a_refusal_repeats_no_secret() -> None:
    """A service knows a lease's token and what the wallet signed."""
    secrets = (
        f"pve402_{'5e' * 32}",
        "0x" + "5E" * 65,
        base64.b64encode(b'{"x402Version": 2, "payload": {}}').decode(),
    )
    for secret in secrets:
        refused = tenant_service.says({"code": "no", "detail": f"no: {secret}, or so"}, 409)
        async with tenant_service.tenant_of(refused) as tenant:
            with pytest.raises(client.Refused) as caught:
                await tenant.leases()

        assert caught.value.detail == "no: [secret], or so"


async def test_a_time_at_the_end_of_all_times_is_no_crash() -> None:
    async def late(_request: web.Request) -> web.StreamResponse:
        return web.json_response([], headers={"Date": "Fri, 31 Dec 9999 23:59:59 GMT"})

    async with tenant_service.tenant_of(late) as tenant:
        await tenant.leases()

        assert tenant.now().year < 9000


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "where", ["/elsewhere", "http://127.0.0.1:9/\u202e\u2066", "//evil.example"]
)
async def test_no_redirect_is_followed(status: int, where: str) -> None:
    async def away(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={"Location": where})

    for act in (_listed, _followed, _got):
        async with (
            tenant_service.serving(away) as service,
            client.Client(service.url, token=tenant_service.TOKEN) as tenant,
        ):
            with pytest.raises(client.Redirected) as caught:
                await act(tenant)

        assert len(service.asked) == 1
        assert _is_plain(str(caught.value))


async def _listed(tenant: client.Client) -> object:
    return await tenant.leases()


async def _followed(tenant: client.Client) -> object:
    wish = schemas.ExecRequest(argv=["true"])
    return [told async for told in client.commands.follow(tenant, LEASE_ID, wish)]


async def _got(tenant: client.Client) -> object:
    return [piece async for piece in client.files.read_file(tenant, LEASE_ID, "/etc/hosts")]


CALLS: dict[str, Callable[[client.Client], Awaitable[object]]] = {
    "list": _listed,
    "catalogue": lambda tenant: tenant.catalogue(),
    "show": lambda tenant: tenant.show(LEASE_ID),
    "quote": lambda tenant: tenant.quote(
        schemas.RenewalQuoteRequest(ctid="10000", runtime_minutes=1)
    ),
    "run": lambda tenant: client.commands.run(tenant, LEASE_ID, schemas.ExecRequest(argv=["true"])),
    "get": _got,
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("status", [200, 500])
async def test_an_endless_answer_is_not_read_to_its_end(
    monkeypatch: pytest.MonkeyPatch, name: str, status: int
) -> None:
    monkeypatch.setattr(transport, "LARGEST_ANSWER_BYTES", 300_000)
    monkeypatch.setattr(
        client.files.read_file,
        "__kwdefaults__",
        {**client.files.read_file.__kwdefaults__, "most_bytes": 300_000},
    )
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        kind = "application/octet-stream" if name == "get" else "application/json"
        response = web.StreamResponse(status=status, headers={"Content-Type": kind})
        await response.prepare(request)
        while sent < 100_000_000:
            await response.write(b"[" * 65536)
            sent += 65536
        return response

    async with tenant_service.tenant_of(endless) as tenant:
        with pytest.raises((client.UnexpectedAnswer, client.FileTooLarge)):
            await CALLS[name](tenant)

    assert sent < 50_000_000


@pytest.mark.parametrize(
    "body",
    [b"[" * 100_000, b'{"code": [], "detail": {}}', b"\xff\xfe", b"", b"null", b'"text"'],
    ids=["deep", "wrong types", "no text", "empty", "null", "string"],
)
@pytest.mark.parametrize("status", [200, 409])
async def test_an_answer_that_makes_no_sense_is_an_error_of_ours(body: bytes, status: int) -> None:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status, content_type="application/json")

    async with tenant_service.tenant_of(answer) as tenant:
        with pytest.raises((client.UnexpectedAnswer, client.Refused)):
            await tenant.leases()


@pytest.mark.parametrize(
    ("told", "seconds"),
    [("5", 5), (" 7 ", 7), ("Sat, 21 Nov 2026 12:00:00 GMT", None), ("9" * 400, None), ("²", None)],
)
async def test_when_to_come_back_is_a_number_or_nothing(told: str, seconds: int | None) -> None:
    async def full(_request: web.Request) -> web.StreamResponse:
        return tenant_service.refusal(409, "no_capacity", "full", **{"Retry-After": told})

    async with tenant_service.tenant_of(full) as tenant:
        with pytest.raises(client.Refused) as caught:
            await tenant.leases()

    assert caught.value.retry_after_seconds == seconds


@pytest.mark.parametrize(
    "messages",
    [
        ['{"no": "name"}'],
        ["not json"],
        [json.dumps({"execId": EXEC_ID}), b""],
        [json.dumps({"execId": EXEC_ID}), b"\x03[1]"],
        [json.dumps({"execId": EXEC_ID}), b'\x03{"exitCode": "much"}'],
        [json.dumps({"execId": EXEC_ID}), b"\x01" + b"y" * 200_000, b"\x01" + b"y" * 200_000],
    ],
    ids=["no name", "no json", "empty", "no facts", "no number", "too much output"],
)
async def test_a_command_told_of_in_nonsense_is_an_error_of_ours(messages: list) -> None:
    async def speak(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        for message in messages:
            await (socket.send_str if isinstance(message, str) else socket.send_bytes)(message)
        await socket.close()
        return socket

    wish = schemas.ExecRequest(argv=["yes"], max_output_bytes=300_000)
    async with tenant_service.tenant_of(speak) as tenant:
        with pytest.raises(client.UnexpectedAnswer):
            async for _told in client.commands.follow(tenant, LEASE_ID, wish):
                pass


async def test_host_names_of_candidates_are_cleaned() -> None:
    items = [{**ITEM, "hostname": "web", "ctid": f"\x1b[2J{number}"} for number in range(30)]
    async with tenant_service.tenant_of(tenant_service.says(items)) as tenant:
        with pytest.raises(client.NameAmbiguous) as caught:
            await client.names.resolve(tenant, "web")

    assert _is_plain(str(caught.value))
