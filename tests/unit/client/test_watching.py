"""Changes in a folder through the client: what is told, and what cannot be read."""

import asyncio
import os
import tracemalloc

import pytest
from aiohttp import web
from tests.support import tenant_service

from pve402 import client
from pve402.client import watching
from pve402.client.watching import Change


def tells(text: bytes) -> tenant_service.Handler:
    async def handle(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=text, headers={"Content-Type": "text/event-stream"})

    return handle


async def watched(text: bytes) -> list[Change]:
    async with (
        tenant_service.serving(tells(text)) as service,
        client.Client(service.url, token="t" * 20) as caller,
    ):
        return [change async for change in watching.changes(caller, "10000", "/srv")]


async def test_changes_are_told_with_their_exact_paths() -> None:
    told = await watched(
        b'event: ready\ndata: {"by": "inotify"}\n\n: still here\n\n'
        b'event: created\ndata: {"name": "a", "path": "/srv/a%20%FF"}\n\n'
    )

    assert told == [
        Change(kind="ready"),
        Change(kind="created", path=os.fsdecode(b"/srv/a \xff")),
    ]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (b"data: " + b"x" * 2_000_000, client.UnexpectedAnswer),
        (b"event: created\ndata: {}\n\n", client.UnexpectedAnswer),
        (b'event: error\ndata: {"code": "file_missing", "detail": ""}\n\n', client.Refused),
    ],
    ids=["long", "empty", "gone"],
)
async def test_what_ends_a_watch_is_an_error_of_its_own(text: bytes, kind: type) -> None:
    with pytest.raises(kind):
        await watched(text)


async def test_a_watch_that_ends_is_asked_for_again_after_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paused: list[float] = []

    async def pause(seconds: float) -> None:
        paused.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", pause)
    ready = b'event: ready\ndata: {"by": "inotify"}\n\n'
    gone = b'event: error\ndata: {"code": "file_missing", "detail": ""}\n\n'
    told: list[Change] = []
    read = asyncio.Event()

    async def watch(caller: client.Client) -> None:
        async for change in watching.changes_for_ever(caller, "10000", "/srv"):
            told.append(change)
            read.set()

    breaks = breaks_after(ready, read)  # earlier, it loses what the client has not read
    answers = tenant_service.answers(breaks, tells(b""), tells(ready + gone))
    async with (
        tenant_service.serving(answers) as service,
        client.Client(service.url, token="t" * 20) as caller,
    ):
        with pytest.raises(client.Refused):
            await watch(caller)

    assert told == [Change(kind="ready")] * 2
    assert [seconds for seconds in paused if seconds] == [1.0, 1.0]


def breaks_after(text: bytes, read: asyncio.Event) -> tenant_service.Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        await answer.write(text)
        await read.wait()
        assert request.transport is not None
        request.transport.close()
        return answer

    return handle


async def test_a_service_that_invents_fields_without_end_fills_no_memory() -> None:
    async def handle(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        for number in range(2000):
            await answer.write(b"x%d: " % number + b"y" * 20_000 + b"\n")
        await answer.write(b'event: ready\ndata: {"by": "inotify"}\n\n')
        return answer

    tracemalloc.start()
    try:
        async with (
            tenant_service.serving(handle) as service,
            client.Client(service.url, token="t" * 20) as caller,
        ):
            told = [change async for change in watching.changes(caller, "10000", "/srv")]
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert told == [Change(kind="ready")]
    assert most_bytes < 20_000_000  # of 40,000,000 that were sent
