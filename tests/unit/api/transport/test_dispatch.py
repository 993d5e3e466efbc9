"""The short dispatch gives the same answers as the router."""

from typing import Any

import pytest
from fastapi import FastAPI, WebSocket
from tests.support import wallets
from tests.support.api_fixtures import BODY, Api, make_api

from pve402.api.transport import dispatch, routing
from pve402.domain import errors
from pve402.payments import errors as payment_errors
from pve402.proxmox import errors as proxmox_errors

ORIGIN = {"Origin": "https://shop.example.com"}
QUOTED = {key: value for key, value in BODY.items() if key != "password"}


@pytest.fixture
def by_routes(monkeypatch: pytest.MonkeyPatch) -> Api:
    """An application without the short dispatch."""
    monkeypatch.setattr(dispatch, "plain_routes", lambda _routes: {})
    return make_api()


@pytest.mark.parametrize("more", [{}, ORIGIN], ids=["program", "page"])
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/healthz", b""),
        ("GET", "/readyz", b""),
        ("GET", "/catalogue", b""),
        ("GET", "/catalogue?all=1", b""),
        ("GET", "/stats/node", b""),
        ("GET", "/console/terminal", b""),
        ("GET", "/management/list", b""),
        ("POST", "/lease/container", b""),
        ("POST", "/lease/container", BODY),
        ("POST", "/lease/container", {**BODY, "cores": 0}),
        ("POST", "/lease/container", {**BODY, "sku": "none"}),
        ("POST", "/lease/container", b"{"),
        ("POST", "/lease/container", b"x" * 70_000),
        ("POST", "/lease/quote", QUOTED),
        ("POST", "/lease/quote", {**QUOTED, "unknown": 1}),
        ("POST", "/lease/quote", {"ctid": "10000", "runtimeMinutes": 5}),
        ("DELETE", "/auth/token", b""),
        ("POST", "/auth/token", {"message": "m", "signature": "0x00"}),
        ("HEAD", "/healthz", b""),
        ("PUT", "/lease/container", b""),
        ("OPTIONS", "/lease/container", b""),
        ("GET", "/lease/container/", b""),
        ("GET", "/lease/10000", b""),
        ("GET", "/lease/container", b""),
        ("GET", "/nowhere", b""),
        ("GET", "/openapi.json", b""),
    ],
)
async def test_both_ways_answer_alike(
    api: Api, by_routes: Api, method: str, path: str, body: Any, more: dict[str, str]
):
    short = await api.client.request(method, path, body, headers=more)
    long = await by_routes.client.request(method, path, body, headers=more)

    assert short == long


@pytest.mark.parametrize(
    "headers",
    [
        {"X-PAYMENT": "no base64"},
        {"PAYMENT-SIGNATURE": "e30="},
        {"X-PAYMENT": "e30=", "PAYMENT-SIGNATURE": "e30="},
        {"Authorization": "Bearer unknown-token-0123456789"},
        {"Authorization": "nonsense"},
    ],
)
@pytest.mark.parametrize("path", ["/management/list", "/stats/lxc"])
async def test_both_ways_refuse_credentials_alike(
    api: Api, by_routes: Api, path: str, headers: dict[str, str]
):
    assert await api.client.get(path, headers=headers) == await by_routes.client.get(
        path, headers=headers
    )


@pytest.mark.parametrize(
    "failure",
    [
        errors.NoCapacity(),
        errors.ProxmoxUnavailable(retry_after_seconds=7),
        errors.InvalidRequest("a reason"),
        errors.WalletMustWait(),
        payment_errors.FacilitatorUnavailable("away"),
        payment_errors.PaymentMalformed(payment_errors.Code.NOT_JSON, "no"),
        proxmox_errors.Unreachable("secret"),
        RuntimeError("a bug"),
        TimeoutError(),
    ],
    ids=lambda failure: type(failure).__name__,
)
async def test_both_ways_answer_failures_alike(api: Api, by_routes: Api, failure: Exception):
    for one in (api, by_routes):
        one.leases.failures["check_room"] = failure

    short = await api.client.post("/lease/container", BODY)
    long = await by_routes.client.post("/lease/container", BODY)

    assert short == long
    assert short.status != 402


async def test_both_ways_give_the_receipt_of_a_payment(api: Api, by_routes: Api):
    replies = []
    for one in (api, by_routes):
        unpaid = await one.client.get("/management/list")
        signed = wallets.payment_headers(wallets.ALICE, unpaid)
        replies.append(await one.client.get("/management/list", headers=signed))

    short, long = replies
    assert short.status == long.status == 200
    assert "payment-response" in short.headers
    assert short.headers.keys() == long.headers.keys()


def test_every_path_without_parameters_has_a_short_way(api: Api):
    plain = {
        (method, route.path)
        for route in api.app.routes
        if isinstance(route, routing.PlainRoute) and "{" not in route.path
        for method in route.methods or ()
    }

    assert dispatch.plain_routes(api.app.routes).keys() == plain


def test_a_route_that_another_one_hides_stays_hidden(api: Api):
    async def hidden(_request: Any) -> Any:
        raise AssertionError

    late = routing.PlainRoute("GET", "/lease/hidden", hidden)

    assert ("GET", "/lease/hidden") not in dispatch.plain_routes([*api.app.routes, late])
    assert ("GET", "/lease/hidden") in dispatch.plain_routes([late, *api.app.routes])


GETS = ["/catalogue", "/healthz", "/readyz", "/stats/node", "/console/terminal", "/openapi.json"]


@pytest.mark.parametrize("path", GETS)
async def test_head_answers_as_get_without_the_body(api: Api, path: str):
    got = await api.client.get(path)

    reply = await api.client.request("HEAD", path)

    assert (reply.status, reply.body) == (200, b"")
    assert reply.headers.keys() == got.headers.keys()
    assert reply.headers.get("content-length") == got.headers.get("content-length")


@pytest.mark.parametrize("path", ["/management/list", "/stats/lxc", "/lease/10000"])
async def test_head_is_never_paid_for(api: Api, path: str):
    unpaid = await api.client.get(path)
    signed = wallets.payment_headers(wallets.ALICE, unpaid)

    reply = await api.client.request("HEAD", path, headers=signed)

    assert reply.status == 402
    assert api.leases.named("pay_fee") == []


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/lease/container", "POST"),
        ("HEAD", "/lease/container", "POST"),
        ("DELETE", "/lease/container", "POST"),
        ("GET", "/lease/quote", "POST"),
        ("DELETE", "/lease/quote", "POST"),
        ("POST", "/catalogue", "GET, HEAD"),
        ("GET", "/auth/token", "DELETE, POST"),
        ("PATCH", "/lease/10000", "DELETE, GET, HEAD"),
        ("POST", "/management/list", "GET, HEAD"),
        ("GET", "/lease/10000/renew", "POST"),
        ("DELETE", "/management/files/10000", "GET, HEAD, PUT"),
        ("TRACE", "/healthz", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_405_with_those_that_are_right(
    api: Api, method: str, path: str, allowed: str
):
    reply = await api.client.request(method, path)

    assert (reply.status, reply.headers["allow"]) == (405, allowed)
    assert method == "HEAD" or reply.code == "method_not_allowed"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/lease/container", 405),
        ("GET", "/lease/quote", 405),
        ("GET", "/auth/challenge", 405),
        ("POST", "/catalogue", 405),
        ("GET", "/nowhere", 404),
        ("GET", "/lease/10000/renew", 405),
    ],
)
async def test_a_browser_is_shown_a_page(api: Api, method: str, path: str, status: int):
    accept = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}

    reply = await api.client.request(method, path, headers=accept)

    assert reply.status == status
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert b"<script" not in reply.body
    assert b"<h1>" in reply.body


@pytest.mark.parametrize(
    "accept", ["*/*", "application/json", "application/json, text/html", "", "text/plain"]
)
async def test_a_program_is_not(api: Api, accept: str):
    reply = await api.client.get("/lease/container", headers={"Accept": accept})

    assert reply.code == "method_not_allowed"


SOCKETS = [
    "/management/exec/10000/ws",
    "/management/stream/10000",
    "/console/terminal/ws",
    "/console/vnc/ws",
    "/management/exec/none/ws",
]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": f"Bearer {'t' * 43}"},
        {"Upgrade": "h2c", "Connection": "Upgrade"},
        {"PAYMENT-SIGNATURE": "x"},
        {"Accept": "text/html"},
    ],
    ids=["bare", "token", "h2c", "paying", "browser"],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", SOCKETS)
async def test_a_websocket_without_an_upgrade_is_426_and_free(
    api: Api, path: str, method: str, headers: dict[str, str]
):
    reply = await api.client.request(method, path, headers=headers)

    assert reply.status == 426
    assert (reply.headers["upgrade"], reply.headers["connection"]) == ("websocket", "upgrade")
    assert "payment-required" not in reply.headers
    assert api.leases.named("pay_fee") == []


@pytest.mark.parametrize("path", ["/management/stream/10000", "/console/vnc/ws"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_a_websocket_has_no_other_method(api: Api, path: str, method: str):
    reply = await api.client.request(method, path)

    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")


async def test_a_websocket_goes_through_the_routes():
    app = FastAPI()

    @app.websocket("/echo")
    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(await socket.receive_text())

    said = iter([{"type": "websocket.connect"}, {"type": "websocket.receive", "text": "hello"}])
    heard: list[Any] = []

    async def receive() -> Any:
        return next(said)

    async def send(message: Any) -> None:
        heard.append(message)

    scope = {"type": "websocket", "path": "/echo", "headers": [], "query_string": b""}
    await dispatch.Dispatch(app)(scope, receive, send)

    assert [message.get("text") for message in heard] == [None, "hello"]
