"""Commands and files through the client: streams that break, answers that are wrong."""

import base64
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import web

from pve402 import schemas
from pve402.client import client
from pve402.client import guests as client_guests

EXEC_ID = "e" + "0" * 24
WISH = schemas.ExecRequest(argv=["seq", "3"])
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def event(kind: str, number: int | None, data: Any) -> bytes:
    text = data if isinstance(data, str) else json.dumps(data)
    position = "" if number is None else f"id: {EXEC_ID}:{number}\n"
    return f"event: {kind}\n{position}data: {text}\n\n".encode()


START = event("start", 1, {"execId": EXEC_ID})
ONE, TWO = (
    event("stdout", number, base64.b64encode(data).decode())
    for number, data in ((2, b"one"), (3, b"two"))
)
EXIT = event("exit", 4, {"exitCode": 7, "timedOut": False, "truncated": True})


class Service:
    """Answers from a list, event streams cut where it says, and keeps what was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.answers: list[Handler] = []
        self.asked: list[tuple[str, str, str]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(
            (request.method, request.path_qs, request.headers.get("Last-Event-ID", ""))
        )
        return await self.answers.pop(0)(request)


@pytest.fixture
async def service(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Service]:
    monkeypatch.setattr(client_guests, "PAUSE_SECONDS", 0.0)
    made, application = Service(), web.Application()
    application.router.add_route("*", "/{path:.*}", made.handle)
    async with AsyncExitStack() as stack:
        runner = web.AppRunner(application)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield made


def stream(*events: bytes, cut: bool = False) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for piece in (b": still here\n\n", *events):
            await response.write(piece)
        if cut and request.transport is not None:
            request.transport.abort()
        return response

    return answer


async def followed(service: Service) -> list[Any]:
    async with client.Client(service.url, token="t" * 20) as caller:
        return [told async for told in client_guests.follow(caller, "10000", WISH)]


async def test_output_comes_in_order_and_the_end_last(service: Service) -> None:
    service.answers = [stream(START, ONE, TWO, EXIT)]
    started, *pieces, ending = await followed(service)

    assert started == client_guests.Started(exec_id=EXEC_ID)
    assert [piece.data for piece in pieces] == [b"one", b"two"]
    assert ending == client_guests.Ending(exit_code=7, timed_out=False, truncated=True)


@pytest.mark.parametrize("cut", [True, False], ids=["broken", "ended"])
async def test_a_lost_stream_is_taken_up_and_nothing_started_twice(
    service: Service, cut: bool
) -> None:
    service.answers = [stream(START, ONE, cut=cut), stream(TWO, EXIT)]
    told = await followed(service)

    assert [piece.data for piece in told[1:-1]] == [b"one", b"two"]
    assert service.asked == [
        ("POST", "/management/exec/10000", ""),
        ("GET", f"/management/exec/10000/{EXEC_ID}", f"{EXEC_ID}:2"),
    ]


async def test_a_command_whose_session_is_lost_is_said_to_be(service: Service) -> None:
    lost = {"code": "session_lost", "detail": "the session was lost", "execId": EXEC_ID}
    service.answers = [stream(START, event("error", 2, lost))]

    with pytest.raises(client_guests.CommandLost, match="the session was lost"):
        await followed(service)


async def test_a_connection_that_keeps_breaking_is_given_up(service: Service) -> None:
    service.answers = [stream(START, ONE, cut=True)] + [stream(cut=True) for _ in range(9)]

    with pytest.raises(client_guests.CommandLost):
        await followed(service)
    assert 1 < len(service.asked) < 9


@pytest.mark.parametrize("cut", [True, False], ids=["broken", "ended"])
async def test_what_was_perhaps_started_is_not_sent_again(service: Service, cut: bool) -> None:
    service.answers = [stream(cut=cut), stream(START, EXIT)]

    with pytest.raises((client.ServiceUnreachable, client_guests.CommandLost)):
        await followed(service)
    assert len(service.asked) == 1


@pytest.mark.parametrize(("digest", "fits"), [("right", True), ("wrong", False), ("", True)])
async def test_a_file_is_checked_by_its_digest(service: Service, digest: str, fits: bool) -> None:
    right = "sha-256=:uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek=:"
    headers = {"right": {"Repr-Digest": right}, "wrong": {"Repr-Digest": "sha-256=:AA=:"}}

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=b"hello world", headers=headers.get(digest, {}))

    service.answers, into = [answer], io.BytesIO()
    async with client.Client(service.url, token="t" * 20) as caller:
        if not fits:
            with pytest.raises(client_guests.FileDamaged):
                await client_guests.read_file(caller, "10000", "/etc/a b", into)
            return
        assert await client_guests.read_file(caller, "10000", "/etc/a b", into) == 11
    assert into.getvalue() == b"hello world"
    assert service.asked == [("GET", "/management/files/10000?path=/etc/a+b", "")]


async def test_a_page_is_not_taken_for_a_file(service: Service) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="<html>sign in to this network", content_type="text/html")

    service.answers, into = [answer], io.BytesIO()
    async with client.Client(service.url, token="t" * 20) as caller:
        with pytest.raises(client.UnexpectedAnswer, match="no file"):
            await client_guests.read_file(caller, "10000", "/etc/hosts", into)
    assert into.getvalue() == b""


async def test_an_event_that_cannot_be_read_is_told(service: Service) -> None:
    service.answers = [stream(START, f"event: exit\nid: {EXEC_ID}:1\ndata: [1]\n\n".encode())]

    with pytest.raises(client.UnexpectedAnswer):
        await followed(service)


async def test_a_refusal_is_raised_with_its_code(service: Service) -> None:
    async def refuse(_: web.Request) -> web.Response:
        problem = {"code": "lease_not_found", "detail": "no such lease"}
        return web.json_response(problem, status=404)

    service.answers = [refuse]
    with pytest.raises(client.Refused) as caught:
        await followed(service)
    assert (caught.value.status, caught.value.code) == (404, "lease_not_found")
