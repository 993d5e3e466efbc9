"""Long calls and websockets have limits of their own."""

import asyncio
from typing import Any

from starlette.requests import Request
from tests.support.asgi import Asgi

from pve402.api.transport import guard
from pve402.domain import errors

LIMITS = guard.GuardLimits(
    requests=2, paid_requests=1, request_seconds=0.05, paid_request_seconds=0.05
)
PAID = {"X-PAYMENT": "e30="}


class Held:
    """An application that takes long, and says so."""

    def __init__(self, seconds: float) -> None:
        self.go = asyncio.Event()
        self.seconds = seconds
        self.refused = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            guard.hold(Request(scope), self.seconds, "lease")
            guard.hold(Request(scope), self.seconds, "lease")
        except errors.Overloaded:
            self.refused += 1
        else:
            await self.go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def test_a_held_call_has_the_time_it_was_given():
    app = Held(60)
    asking = asyncio.create_task(Asgi(guard.Guard(app, limits=LIMITS)).get("/", headers=PAID))

    await asyncio.sleep(0.2)
    assert not asking.done()
    app.go.set()

    assert (await asking).status == 200


async def test_a_held_call_ends_when_its_own_time_is_over():
    reply = await Asgi(guard.Guard(Held(0.05), limits=LIMITS)).get("/", headers=PAID)

    assert (reply.status, reply.code) == (503, "try_later")


async def test_held_calls_leave_their_lane_to_others():
    app = Held(60)
    made = guard.Guard(app, limits=LIMITS)
    first = asyncio.create_task(Asgi(made).get("/", headers=PAID))
    await asyncio.sleep(0.01)

    assert made.under_way == 0
    second = await Asgi(made).get("/", headers=PAID)
    app.go.set()

    assert (app.refused, second.status, (await first).status) == (1, 200, 200)


async def test_websockets_beyond_their_number_are_told_to_come_back():
    go = asyncio.Event()
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    made = guard.Guard(app, limits=LIMITS)
    scope = {"type": "websocket", "path": "/", "headers": []}
    first = [asyncio.create_task(made(scope, receive, send)) for _ in range(2)]
    await asyncio.sleep(0)
    await made(scope, receive, send)
    go.set()
    await asyncio.gather(*first)

    assert sent == [{"type": "websocket.close", "code": 1013}]
    await made(scope, receive, send)
    assert len(sent) == 1
