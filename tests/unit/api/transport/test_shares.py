"""One noisy address, lease or wallet costs the others little."""

import asyncio
from typing import Any

import pytest
from starlette.requests import Request
from tests.support.asgi import Asgi
from tests.support.held_service import HeldService

from pve402.api.transport import address, body, errors, guard, lanes

LIMITS = guard.GuardLimits(
    requests=200, paid_requests=80, request_seconds=5, paid_request_seconds=5
)
NOISY = "203.0.113.9"
TOKEN = {"Authorization": "Bearer anything-at-all"}


async def unfinished(made: guard.Guard, count: int, client: str, headers: Any) -> list[Any]:
    """Requests whose bodies never end."""

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(_message: Any) -> None:
        return

    scopes = [
        {
            "type": "http",
            "method": "POST",
            "path": "/",
            "headers": headers,
            "client": (client.format(n), 1),
        }
        for n in range(count)
    ]
    tasks = [asyncio.create_task(made(scope, receive, send)) for scope in scopes]
    await asyncio.sleep(0.01)
    return tasks


async def ended(tasks: list[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize(
    "headers",
    [
        [(b"x-payment", b"e30=")],
        [(b"payment-signature", b"e30=")],
        [(b"authorization", b"Bearer nonsense")],
        [(b"authorization", b"Bearer nonsense"), (b"content-length", b"2000000")],
        [(b"transfer-encoding", b"chunked")],
        [],
    ],
)
@pytest.mark.parametrize("client", [NOISY, "2001:db8:1:2::{}", "::ffff:203.0.113.9"])
async def test_unfinished_bodies_of_one_address_stop_nobody_else(headers: Any, client: str):
    made = guard.Guard(HeldService(), limits=LIMITS)
    silent = await unfinished(made, 505, client, headers)

    quiet = [Asgi(made, client=(f"198.51.100.{n}", 1)) for n in range(20)]
    replies = [await each.post("/quick", b"{}", headers=TOKEN) for each in quiet]

    assert {reply.status for reply in replies} == {200}
    assert made.known.under_way == 0
    await ended(silent)
    assert made.under_way == 0


@pytest.mark.parametrize(
    ("party", "holds"), [("lease", True), ("lease", False), ("0xwallet", True), ("0xwallet", False)]
)
async def test_one_lease_or_wallet_has_its_share_wherever_it_comes_from(party: str, holds: bool):
    service = HeldService(party=party, holds=holds)
    made = guard.Guard(service, limits=LIMITS)
    clients = [Asgi(made, client=(f"198.51.100.{n}", 1)) for n in range(60)]
    waiting = [asyncio.create_task(each.get("/")) for each in clients]
    await asyncio.sleep(0.01)

    service.party = "another"
    assert (await Asgi(made).get("/quick")).status == 200
    service.go.set()
    replies = await asyncio.gather(*waiting)

    assert [reply.status for reply in replies].count(200) == made.known.share == 20
    assert {reply.code for reply in replies if reply.status != 200} == {"too_many_requests"}
    assert {reply.headers.get("retry-after") for reply in replies} == {None, "5"}


async def test_long_calls_of_all_leases_of_a_wallet_have_one_share():
    service = HeldService(wallet="0xwallet", holds=True)
    made = guard.Guard(service, limits=LIMITS)
    waiting = []
    for number in range(60):
        service.party = f"lease {number}"
        client = Asgi(made, client=(f"198.51.100.{number}", 1))
        waiting.append(asyncio.create_task(client.get("/")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)

    service.wallet = "0xother"
    assert (await Asgi(made).get("/quick")).status == 200
    service.go.set()
    replies = await asyncio.gather(*waiting)
    assert [reply.status for reply in replies].count(200) == made.long.share == 20


@pytest.mark.parametrize("silent", [100, 300, 600])
async def test_silent_websockets_of_one_address_stop_nobody_else(silent: int):
    admitted = asyncio.Queue[str]()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        admitted.put_nowait(scope["client"][0])
        await asyncio.Event().wait()

    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    def scope(client: str) -> Any:
        return {"type": "websocket", "path": "/", "headers": [], "client": (client, 1)}

    made = guard.Guard(app, limits=LIMITS)
    tasks = [asyncio.create_task(made(scope(NOISY), receive, send)) for _ in range(silent)]
    async with asyncio.timeout(10):
        noisy = [await admitted.get() for _ in range(made.new_sockets.share)]
    tasks.append(asyncio.create_task(made(scope("198.51.100.1"), receive, send)))
    async with asyncio.timeout(10):
        last = await admitted.get()

    assert noisy == [NOISY] * 50
    assert (last, admitted.qsize()) == ("198.51.100.1", 0)
    assert sent == [{"type": "websocket.close", "code": 1013}] * (silent - 50)
    await ended(tasks)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("203.0.113.9", "203.0.113.9", True),
        ("203.0.113.9", "203.0.113.10", False),
        ("203.0.113.9", "::ffff:203.0.113.9", True),
        ("2001:db8::1", "2001:db8::ffff:0:0:1", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("testclient", "testclient", True),
    ],
)
def test_an_address_is_a_subnet_in_ipv6(one: str, other: str, same: bool):
    assert (lanes.parties_of(one) == lanes.parties_of(other)) is same


def test_a_unix_socket_has_no_share():
    assert lanes.parties_of(None) == ()


async def test_the_share_is_that_of_the_client_behind_a_trusted_proxy():
    clients = address.ClientAddresses(("10.0.0.0/8",))
    service = HeldService()
    made = guard.Guard(service, limits=LIMITS, clients=clients)
    proxy = Asgi(made, client=("10.0.0.1", 1))
    noisy = [
        asyncio.create_task(proxy.get("/", headers={"X-Forwarded-For": NOISY})) for _ in range(150)
    ]
    await asyncio.sleep(0.01)

    reply = await proxy.get("/quick", headers={"X-Forwarded-For": "198.51.100.1"})

    assert reply.status == 200
    service.go.set()
    statuses = [each.status for each in await asyncio.gather(*noisy)]
    assert (statuses.count(200), statuses.count(429)) == (100, 50)


@pytest.mark.parametrize("sent", [[], [b"{"], [b"{", b'"a":'], [b"", b""], [b"x" * 1000]])
async def test_a_body_that_does_not_come_in_time_is_408(monkeypatch, sent: list[bytes]):
    monkeypatch.setattr(body, "LIMIT_SECONDS", 0.02)
    monkeypatch.setattr(body, "SLOWEST_BYTES_PER_SECOND", 10**9)
    pieces = list(sent)

    async def receive() -> Any:
        if not pieces:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": pieces.pop(0), "more_body": True}

    request = Request({"type": "http", "method": "POST", "headers": []}, receive)

    with pytest.raises(body.BodyTooSlow) as late:
        await body.read(request)
    assert errors.answer(late.value).status_code == 408


def test_what_the_client_writes_does_not_hide_its_address():
    clients = address.ClientAddresses(("10.0.0.0/8",))
    forwarded = (b"198.51.100.1, " * 400) + b"203.0.113.9"
    scope = {"client": ("10.0.0.1", 1), "headers": [(b"x-forwarded-for", forwarded)]}

    assert clients.of(scope) == "203.0.113.9"
