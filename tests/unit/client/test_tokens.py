"""Managing calls cost nothing: the lease's token opens them, or the wallet signs in."""

import io
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import WSMsgType, web
from tests.support import tenant_service
from tests.support.tenant_service import EXEC_ID, ITEM, KEY, LEASE, LEASE_ID, TenantService

from pve402 import client, schemas

WISH = schemas.LeaseRequest(sku="standard-lxc", runtime_minutes=5, hostname="demo")
COMMAND = schemas.ExecRequest(argv=["true"])
DONE = {
    "ctid": "10000", "upid": EXEC_ID, "execId": EXEC_ID, "output": "", "stdout": "", "stderr": "",
    "encoding": "utf-8", "exitCode": 0, "timedOut": False, "truncated": False, "durationMs": 1,
    "detached": False, "state": "exited",
}  # fmt: skip
FILE = {"ctid": "10000", "path": "/x", "sizeBytes": 0, "mode": None, "sha256": None}
ENDED = b'\x03{"exitCode": 0, "timedOut": false, "truncated": false}'

Act = Callable[[client.Client], Awaitable[object]]


async def serve_all(request: web.Request) -> web.StreamResponse:
    """Answer every call of a tenant well; one without a token is asked for the fee."""
    if request.path == "/lease/container":
        return web.json_response(LEASE)
    if "Authorization" not in request.headers:
        return web.json_response({"x402Version": 1, "accepts": []}, status=402)
    if request.path.endswith("/ws"):
        return await _run_nothing(request)
    if request.method == "GET" and request.path.startswith("/management/files"):
        return web.Response(body=b"x", content_type="application/octet-stream")
    known = {"/management/list": [ITEM], "/management/exec": DONE, "/management/files": FILE}
    matching = [known[path] for path in known if request.path.startswith(path)]
    return web.json_response(matching[0] if matching else ITEM)


async def _run_nothing(request: web.Request) -> web.StreamResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    assert (await socket.receive()).type is WSMsgType.TEXT
    await socket.send_json({"execId": EXEC_ID})
    await socket.send_bytes(ENDED)
    await socket.close()
    return socket


async def _follow(service: client.Client) -> object:
    return [told async for told in client.commands.follow(service, LEASE_ID, COMMAND)]


async def _read(service: client.Client) -> object:
    into = io.BytesIO()
    async for piece in client.files.read_file(service, LEASE_ID, "/etc/hosts"):
        into.write(piece)
    return into


OF_A_LEASE: dict[str, Act] = {
    "show": lambda service: service.show(LEASE_ID),
    "show by ctid": lambda service: service.show("10000"),
    "start": lambda service: service.start(LEASE_ID),
    "stop": lambda service: service.stop("10000"),
    "pause": lambda service: service.pause(LEASE_ID),
    "reboot": lambda service: service.reboot(LEASE_ID),
    "end": lambda service: service.end(LEASE_ID),
    "run": lambda service: client.commands.run(service, "10000", COMMAND),
    "follow": _follow,
    "end a command": lambda service: client.commands.end(service, LEASE_ID, EXEC_ID),
    "put": lambda service: client.files.put_file(service, LEASE_ID, Path(__file__), "/root/x"),
    "read": _read,
}


@pytest.mark.parametrize("name", OF_A_LEASE)
async def test_the_token_that_came_with_a_lease_opens_it(name: str) -> None:
    async with (
        tenant_service.serving(serve_all) as service,
        client.Client(service.url, key=KEY) as tenant,
    ):
        await tenant.lease(WISH)
        await OF_A_LEASE[name](tenant)
        await OF_A_LEASE[name](tenant)

    assert [asked.token for asked in service.asked[1:]] == ["lease-token"] * 2
    assert (service.sign_ins, _paid(service)) == (0, 0)


@pytest.mark.parametrize("name", [*OF_A_LEASE, "list"])
async def test_a_wallet_without_a_token_signs_in_once(name: str) -> None:
    act = OF_A_LEASE.get(name, lambda service: service.leases())
    async with (
        tenant_service.serving(serve_all) as service,
        client.Client(service.url, key=KEY) as tenant,
    ):
        await act(tenant)
        await act(tenant)

    assert [asked.token for asked in service.asked] == ["wallet-1"] * 2
    assert (service.sign_ins, _paid(service)) == (1, 0)


@pytest.mark.parametrize("name", [*OF_A_LEASE, "list"])
async def test_a_token_that_is_over_is_replaced_by_signing_in(name: str) -> None:
    act = OF_A_LEASE.get(name, lambda service: service.leases())
    async with tenant_service.serving(serve_all) as service:
        service.revoked.add("wallet-1")
        async with client.Client(service.url, key=KEY) as tenant:
            if name == "follow":
                service.handler = _revoked_at_first(service)
                service.revoked.clear()
            await act(tenant)

    assert [asked.token for asked in service.asked] == ["wallet-1", "wallet-2"]
    assert _paid(service) == 0


@pytest.mark.parametrize("name", [*OF_A_LEASE, "list"])
async def test_nobody_pays_a_fee_unasked(name: str) -> None:
    act = OF_A_LEASE.get(name, lambda service: service.leases())
    async with (
        tenant_service.serving(serve_all) as service,
        client.Client(service.url) as nobody,
    ):
        with pytest.raises(client.KeyNeeded):
            await act(nobody)

    assert service.asked == []


async def test_a_challenge_of_another_service_is_not_signed() -> None:
    async with tenant_service.serving(serve_all) as service:
        service.named = "bank.example.com"
        async with client.Client(service.url, key=KEY) as tenant:
            with pytest.raises(client.UnexpectedAnswer, match=r"calls itself bank\.example\.com"):
                await tenant.leases()

    assert service.sign_ins == 0


@pytest.mark.parametrize(
    "given", ["t" * 20, " t" + "t" * 19 + "\n", "Bearer " + "t" * 20, "BEARER  " + "t" * 20]
)
async def test_a_token_is_taken_as_people_write_it_down(given: str) -> None:
    async with (
        tenant_service.serving(serve_all) as service,
        client.Client(service.url, token=given) as tenant,
    ):
        await tenant.leases()

    assert service.asked[0].headers["Authorization"] == "Bearer " + "t" * 20


@pytest.mark.parametrize("given", ["", " ", "a b", "a\nX-Other: b", "\x00", "t" * 257, "tök"])
async def test_what_can_be_no_token_is_refused_and_not_quoted(given: str) -> None:
    with pytest.raises(client.TokenInvalid) as refused:
        async with client.Client("http://127.0.0.1:9", token=given):
            pass

    assert len(given) < 3 or given not in str(refused.value)


def _paid(service: TenantService) -> int:
    return sum(asked.pays for asked in service.asked)


def _revoked_at_first(service: TenantService) -> tenant_service.Handler:
    """A websocket says so with its close code, once it is open."""

    async def handle(request: web.Request) -> web.StreamResponse:
        if len(service.asked) > 1:
            return await serve_all(request)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        await socket.close(code=4401, message=b"token_revoked")
        return socket

    return handle
