"""Detached commands through the client: followed over breaks, fed in pieces, lost for good."""

import asyncio
import base64
import json
from typing import Any

import pytest
from aiohttp import web
from tests.support import tenant_service
from tests.support.tenant_service import EXEC_ID, TenantService

from pve402 import client
from pve402.client import commands, detached, refusals

EXIT = {"exitCode": 3, "timedOut": False, "truncated": False, "state": "exited"}


def event(kind: str, data: Any, number: int) -> bytes:
    text = base64.b64encode(data).decode() if isinstance(data, bytes) else json.dumps(data)
    return f"event: {kind}\nid: {EXEC_ID}:{number}\ndata: {text}\n\n".encode()


def sends(*events: bytes, breaks: asyncio.Event | None = None) -> tenant_service.Handler:
    """Answer with these events, and end the connection, or cut it off once this is set."""

    async def handle(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        for each in events:
            await answer.write(each)
        if breaks is not None and request.transport is not None:
            await breaks.wait()
            request.transport.close()
        return answer

    return handle


async def followed(service: TenantService, read: asyncio.Event | None = None) -> list[Any]:
    """All that is told; sets `read` with the first of it."""
    told = []
    async with client.Client(service.url, token="t" * 20) as caller:
        async for each in detached.follow(caller, "10000", EXEC_ID):
            told.append(each)
            if read is not None:
                read.set()
    return told


@pytest.fixture(autouse=True)
def _no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_wait(_seconds: float) -> None:
        return None

    monkeypatch.setattr(asyncio, "sleep", no_wait)


async def test_a_command_is_followed_over_a_break() -> None:
    read = asyncio.Event()  # before it, a break loses what the client has not read
    begins = sends(
        event("start", {}, 0), b": still here\n\n", event("stdout", b"one", 1), breaks=read
    )
    goes_on = sends(event("stderr", b"two", 2), event("exit", EXIT, 2))
    async with tenant_service.serving(tenant_service.answers(begins, goes_on)) as service:
        told = await followed(service, read)

    assert told == [
        commands.Output(stream="stdout", data=b"one"),
        commands.Output(stream="stderr", data=b"two"),
        commands.Ending(exit_code=3, timed_out=False, truncated=False),
    ]
    positions = [asked.headers.get("Last-Event-ID") for asked in service.asked]
    assert positions == [None, f"{EXEC_ID}:1"]


async def test_events_that_stop_without_an_end_are_taken_up_again() -> None:
    handler = tenant_service.answers(sends(event("stdout", b"1", 1)), sends(event("exit", EXIT, 1)))
    async with tenant_service.serving(handler) as service:
        told = await followed(service)

    assert [type(each) for each in told] == [commands.Output, commands.Ending]


@pytest.mark.parametrize(
    ("events", "kind"),
    [
        ([event("exit", {**EXIT, "state": "lost"}, 1)], client.CommandLost),
        ([event("error", {"code": "output_gone", "detail": "no"}, 1)], refusals.ServiceFailed),
        ([event("exit", {}, 1)], client.UnexpectedAnswer),
        ([b"event: stdout\ndata: no base64!\n\n"], client.UnexpectedAnswer),
        ([b"\xff\n"], client.UnexpectedAnswer),
        ([b"data: " + b"x" * 2_000_000], client.UnexpectedAnswer),
    ],
)
async def test_what_cannot_be_followed_is_an_error(events: list[bytes], kind: type) -> None:
    async with tenant_service.serving(sends(*events)) as service:
        with pytest.raises(kind):
            await followed(service)


@pytest.mark.parametrize(("size", "calls"), [(0, 1), (5, 1), (2**20, 1), (2**20 + 1, 2)])
async def test_stdin_is_sent_in_pieces_that_the_service_takes(size: int, calls: int) -> None:
    received: list[bytes] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        received.append(await request.read())
        return web.Response(status=204)

    async with (
        tenant_service.serving(handle) as service,
        client.Client(service.url, token="t" * 20) as caller,
    ):
        await detached.write(caller, "10000", EXEC_ID, b"x" * size, is_last=True)

    assert b"".join(received) == b"x" * size
    closes = ["close" in asked.path for asked in service.asked]
    assert closes == [False] * (calls - 1) + [True]
