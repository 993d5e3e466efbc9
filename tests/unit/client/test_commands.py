"""Commands through the client: what is told of them, and connections that break."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from tests.support import tenant_service
from tests.support.tenant_service import EXEC_ID, TenantService

from pve402 import client, schemas
from pve402.client import commands

WISH = schemas.ExecRequest(argv=["seq", "3"])
STARTED = json.dumps({"execId": EXEC_ID})
EXIT = b"\x03" + json.dumps({"exitCode": 7, "timedOut": False, "truncated": True}).encode()
Message = str | bytes


def speaks(
    *messages: Message, code: int = 1000, reason: bytes = b"", cut: bool = False
) -> tenant_service.Handler:
    """Say this on the websocket of a command, and close it or cut it off."""

    async def handle(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        hello = await socket.receive()
        assert hello.type is WSMsgType.TEXT
        for message in messages:
            await (socket.send_str if isinstance(message, str) else socket.send_bytes)(message)
        if cut and request.transport is not None:
            request.transport.abort()
        else:
            await socket.close(code=code, message=reason)
        return socket

    return handle


async def followed(service: TenantService) -> list[Any]:
    async with client.Client(service.url, token="t" * 20) as caller:
        return [told async for told in commands.follow(caller, "10000", WISH)]


async def test_output_comes_in_order_and_the_end_last() -> None:
    handler = speaks(STARTED, b"\x01one", b"\x02two", b"\x09new", EXIT)
    async with tenant_service.serving(handler) as service:
        started, *pieces, ending = await followed(service)

    assert started == commands.Started(exec_id=EXEC_ID)
    assert [(piece.stream, piece.data) for piece in pieces] == [
        ("stdout", b"one"),
        ("stderr", b"two"),
    ]
    assert ending == commands.Ending(exit_code=7, timed_out=False, truncated=True)


@pytest.mark.parametrize("cut", [True, False], ids=["broken", "ended"])
async def test_a_command_whose_connection_ends_is_not_started_again(cut: bool) -> None:
    handler = speaks(STARTED, b"\x01one", code=4409, reason=b"guest_closed", cut=cut)
    async with tenant_service.serving(handler) as service:
        with pytest.raises(client.CommandLost, match=r"broke" if cut else "guest_closed"):
            await followed(service)

    assert [asked.method for asked in service.asked] == ["GET", "DELETE"]
    assert service.asked[1].path == f"/management/exec/10000/{EXEC_ID}"


async def test_a_command_whose_session_is_lost_is_said_to_be() -> None:
    lost = json.dumps({"status": "Failure", "message": "the session was lost", "code": "x"})
    async with tenant_service.serving(speaks(STARTED, b"\x03" + lost.encode())) as service:
        with pytest.raises(client.CommandLost, match="the session was lost"):
            await followed(service)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (4401, "unauthenticated"),
        (4404, "lease_not_found"),
        (4409, "guest_not_running"),
        (4429, "too_many_commands"),
        (4502, "session_lost"),
    ],
)
async def test_a_refusal_is_raised_with_its_status_and_code(code: int, reason: str) -> None:
    async with tenant_service.serving(speaks(code=code, reason=reason.encode())) as service:
        with pytest.raises(client.Refused) as caught:
            await followed(service)

    assert (caught.value.status, caught.value.code) == (code - 4000, reason)


async def test_a_command_that_is_too_long_is_said_to_be() -> None:
    async with tenant_service.serving(speaks(code=1009)) as service:
        with pytest.raises(client.Refused, match="longer than the service accepts") as caught:
            await followed(service)

    assert caught.value.status == 413


@pytest.mark.parametrize("status", [200, 400, 404, 426, 502])
async def test_a_proxy_without_websockets_is_named(status: int) -> None:
    async with tenant_service.serving(tenant_service.says({}, status)) as service:
        with pytest.raises(client.UnexpectedAnswer, match="does a proxy block them"):
            await followed(service)


async def test_a_connection_that_breaks_before_the_start_is_no_lost_command() -> None:
    async with tenant_service.serving(speaks(cut=True)) as service:
        with pytest.raises(client.ServiceUnreachable):
            await followed(service)


@pytest.mark.parametrize("pieces", [[], [b"a"], [b"a" * 65536] * 40, [b"\x00", b"\xff"]])
async def test_stdin_is_passed_on_to_its_end(pieces: list[bytes]) -> None:
    read = bytearray()

    async def handle(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        assert json.loads((await socket.receive()).data)["openStdin"] is True
        await socket.send_str(STARTED)
        while (message := await socket.receive_bytes()) != b"\xff\x00":
            assert message[:1] == b"\x00"
            read.extend(message[1:])
        await socket.send_bytes(EXIT)
        await socket.close()
        return socket

    async def stdin() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async with (
        tenant_service.serving(handle) as service,
        client.Client(service.url, token="t" * 20) as caller,
    ):
        told = [it async for it in commands.follow(caller, "10000", WISH, stdin())]

    assert bytes(read) == b"".join(pieces)
    assert isinstance(told[-1], commands.Ending)


async def test_stdin_is_whole_after_an_attempt_that_was_refused() -> None:
    read = bytearray()
    refuses = speaks(code=4401, reason=b"token_revoked")

    async def handle(request: web.Request) -> web.StreamResponse:
        if len(service.asked) == 1:
            return await refuses(request)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        await socket.send_str(STARTED)
        while (message := await socket.receive_bytes()) != b"\xff\x00":
            read.extend(message[1:])
        await socket.send_bytes(EXIT)
        await socket.close()
        return socket

    async def stdin() -> AsyncIterator[bytes]:
        for piece in (b"one", b"two", b"three"):
            yield piece

    async with (
        tenant_service.serving(handle) as service,
        client.Client(service.url, key=tenant_service.KEY) as caller,
    ):
        told = [it async for it in commands.follow(caller, "10000", WISH, stdin())]

    assert [asked.token for asked in service.asked] == ["wallet-1", "wallet-2"]
    assert bytes(read) == b"onetwothree"
    assert isinstance(told[-1], commands.Ending)


async def _never() -> AsyncIterator[bytes]:
    await asyncio.Event().wait()
    yield b""


async def _stop_reading(events: Any) -> None:
    await events.aclose()


async def _fail(events: Any) -> None:
    with pytest.raises(BrokenPipeError):
        await events.athrow(BrokenPipeError())


async def _cancel(events: Any) -> None:
    with pytest.raises(asyncio.CancelledError):
        await events.athrow(asyncio.CancelledError())


@pytest.mark.parametrize("stdin", [None, _never], ids=["alone", "with-stdin"])
@pytest.mark.parametrize("leave", [_stop_reading, _fail, _cancel])
async def test_whoever_leaves_closes_the_connection(
    leave: Callable[[Any], Awaitable[None]], stdin: Callable[[], AsyncIterator[bytes]] | None
) -> None:
    gone = asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        await socket.send_str(STARTED)
        while (await socket.receive()).type is WSMsgType.BINARY:
            continue
        gone.set()
        return socket

    async with (
        tenant_service.serving(handle) as service,
        client.Client(service.url, token="t" * 20) as caller,
    ):
        events = commands.follow(caller, "10000", WISH, stdin() if stdin else None)
        assert isinstance(await anext(events), commands.Started)
        await leave(events)
        async with asyncio.timeout(5):
            await gone.wait()

    assert gone.is_set()
