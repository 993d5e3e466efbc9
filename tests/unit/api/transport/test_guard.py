"""Bounds: how many requests, for how long, and what becomes of exceptions nobody expected."""

import asyncio
from typing import Any

import pytest
import structlog
from starlette.requests import Request
from tests.support import wallets
from tests.support.api_fixtures import BODY, Api, make_api
from tests.support.asgi import Asgi

from pve402.api.transport import errors as error_table
from pve402.api.transport import guard
from pve402.domain import errors

LIMITS = {
    "requests": 3,
    "paid_requests": 2,
    "request_seconds": 5.0,
    "paid_request_seconds": 5.0,
}
PAID = {"X-PAYMENT": "e30="}


class Slow:
    """An application that answers when it is told to, and finds every payment good."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if any(name == b"x-payment" for name, _value in scope["headers"]):
            try:
                guard.allow_time_for_payment(Request(scope), "0x12")
            except errors.Pve402Error as refusal:
                await error_table.answer(refusal)(scope, receive, send)
                return
        await self.go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def guarded(app: Any, **limits: Any) -> tuple[guard.Guard, Asgi]:
    made = guard.Guard(app, limits=guard.GuardLimits(**{**LIMITS, **limits}))
    return made, Asgi(made)


async def started(made: guard.Guard, count: int) -> None:
    for _turn in range(100):
        await asyncio.sleep(0)
    assert made.under_way == count


async def test_what_is_over_the_bound_is_told_to_come_back():
    app = Slow()
    made, client = guarded(app)
    waiting = [asyncio.create_task(client.get("/")) for _ in range(3)]
    await started(made, 3)

    refused = await client.get("/")
    app.go.set()

    assert (refused.status, refused.code) == (503, "overloaded")
    assert int(refused.headers["retry-after"]) > 0
    assert [reply.status for reply in await asyncio.gather(*waiting)] == [200] * 3
    assert made.under_way == 0


async def test_waiting_paid_requests_leave_room_for_free_ones():
    app = Slow()
    made, client = guarded(app)
    waiting = [asyncio.create_task(client.get("/", headers=PAID)) for _ in range(2)]
    await started(made, 2)

    refused = await client.get("/", headers=PAID)
    free = asyncio.create_task(client.get("/"))
    await started(made, 3)
    app.go.set()

    assert refused.code == "overloaded"
    assert (await free).status == 200
    await asyncio.gather(*waiting)


async def test_health_is_answered_in_any_crowd():
    app = Slow()
    app.go.set()
    _made, client = guarded(app, requests=0)

    assert (await client.get("/healthz")).status == 200
    assert (await client.get("/")).status == 503


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/"])
@pytest.mark.parametrize("failure", [ValueError(), asyncio.CancelledError()])
async def test_what_nobody_expected_is_answered_in_json_on_every_path(
    path: str, failure: BaseException
):
    async def fails(*_: Any) -> None:
        raise failure

    _made, client = guarded(fails)

    reply = await client.get(path)

    assert reply.code in {"internal_error", "order_pending"}


async def test_a_request_that_takes_too_long_is_ended():
    made, client = guarded(Slow(), request_seconds=0.01)

    reply = await client.get("/")

    assert (reply.status, reply.code) == (503, "try_later")
    assert made.under_way == 0


async def test_a_request_that_is_cut_off_by_our_end_is_told_to_come_back():
    made, client = guarded(Slow())
    asking = asyncio.create_task(client.get("/", headers=PAID))
    await started(made, 1)

    asking.cancel()
    reply = await asking

    assert (reply.status, reply.code) == (503, "order_pending")
    assert int(reply.headers["retry-after"]) > 0


async def test_an_unknown_exception_is_a_500_without_a_word_about_it():
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("a secret detail")

    _made, client = guarded(broken)
    with structlog.testing.capture_logs() as logs:
        reply = await client.get("/path")

    assert (reply.status, reply.code) == (500, "internal_error")
    assert b"secret" not in reply.body
    assert [(line["event"], line["path"]) for line in logs] == [("request_failed", "/path")]


async def test_half_an_answer_is_not_followed_by_another():
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("too late")

    _made, client = guarded(broken)

    with pytest.raises(RuntimeError, match="too late"):
        await client.get("/")


async def test_a_failure_reaches_browsers_with_cors_and_security_headers(api: Api):
    api.leases.failures["node_figures"] = RuntimeError("a bug")

    reply = await api.client.get("/stats/node", headers={"Origin": "https://shop.example.com"})

    assert reply.status == 500
    assert reply.headers["access-control-allow-origin"] == "*"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["cache-control"] == "no-store"


async def test_a_slow_service_does_not_hold_up_unpaid_requests():
    api = make_api(paid_requests=1)
    unpaid = await api.client.post("/lease/container", BODY)
    signed = wallets.payment_headers(wallets.ALICE, unpaid)
    gate = asyncio.Event()

    async def slow(*_: Any) -> Any:
        await gate.wait()
        raise errors.OrderPending

    api.leases.create = slow  # type: ignore[method-assign]
    waiting = asyncio.create_task(api.client.post("/lease/container", BODY, headers=signed))
    await asyncio.sleep(0)

    assert (await api.client.post("/lease/container", BODY)).status == 402
    assert (await api.client.get("/catalogue")).status == 200
    gate.set()
    assert (await waiting).code == "order_pending"


async def test_a_paid_request_goes_on_when_its_time_is_over():
    api = make_api(paid_request_seconds=0.05)
    unpaid = await api.client.post("/lease/container", BODY)
    signed = wallets.payment_headers(wallets.ALICE, unpaid)
    gate, done = asyncio.Event(), asyncio.Event()

    async def slow(*_: Any) -> Any:
        await gate.wait()
        done.set()
        raise errors.ProvisioningFailed

    api.leases.create = slow  # type: ignore[method-assign]
    reply = await api.client.post("/lease/container", BODY, headers=signed)
    gate.set()
    await asyncio.wait_for(done.wait(), 5)

    assert (reply.status, reply.code) == (503, "try_later")
