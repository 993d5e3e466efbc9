"""Hostile services: what they say about streams and commands."""

import asyncio
import base64
import gzip
import json
import re
from collections.abc import Sequence

import pytest
from aiohttp import web
from tests.support import tenant_service
from tests.support.tenant_service import EXEC_ID, LEASE_ID, Handler

from pve402 import client, schemas
from pve402.client import transport

READY = {"streamId": "s" * 33, "received": 0, "window": 1000}
CAT = schemas.StreamSocketRequest(argv=["cat"])
#: What no exit code of a program can be.
NO_EXIT_CODES = ["256", "-1", "1e400", str(2**80), "9" * 5000, "[]", '"much"', "NaN", "1.5"]


def _speaks(messages: Sequence[str | bytes]) -> Handler:
    async def speak(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        for message in messages:
            await (socket.send_str if isinstance(message, str) else socket.send_bytes)(message)
        await socket.close()
        return socket

    return speak


async def _streamed(handler: Handler) -> int | None:
    """Write to a stream, and read it to its end."""
    async with (
        asyncio.timeout(20),
        tenant_service.tenant_of(handler) as tenant,
        client.streams.opened(tenant, LEASE_ID, CAT) as stream,
    ):
        await stream.write(b"x" * 10)
        async for _piece in stream.output():
            pass
        return stream.exit_code


@pytest.mark.parametrize(
    "ready",
    [
        "no json",
        "[1]",
        "{}",
        "null",
        "[" * 100_000,
        json.dumps({**READY, "streamId": "s" * 1_000_000}),
        json.dumps({**READY, "window": "much"}),
        json.dumps({**READY, "window": -1}),
        json.dumps({**READY, "received": -5}),
        json.dumps({**READY, "received": 500}),
        '{"streamId": "s", "received": 0, "window": 1e400}',
        f'{{"streamId": "s", "received": 0, "window": {"9" * 5000}}}',
    ],
    ids=lambda text: text[:45],
)
async def test_a_stream_that_is_opened_in_nonsense_is_an_error_of_ours(ready: str) -> None:
    with pytest.raises(client.UnexpectedAnswer):
        await _streamed(_speaks([ready]))


@pytest.mark.parametrize("exit_code", NO_EXIT_CODES, ids=lambda text: text[:10])
async def test_what_is_no_exit_code_ends_no_program(exit_code: str) -> None:
    ended = b"\x03" + f'{{"exitCode": {exit_code}}}'.encode()

    with pytest.raises(client.UnexpectedAnswer):
        await _streamed(_speaks([json.dumps(READY), ended]))


@pytest.mark.parametrize("exit_code", [0, 1, 143, 255])
async def test_an_exit_code_is_the_programs(exit_code: int) -> None:
    ended = b"\x03" + json.dumps({"exitCode": exit_code}).encode()

    assert await _streamed(_speaks([json.dumps(READY), ended])) == exit_code


async def test_output_that_nobody_asked_for_is_not_kept() -> None:
    async def flood(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        await socket.send_str(json.dumps(READY))
        for _ in range(50):
            await socket.send_bytes(b"\x01" + b"y" * 1_000_000)
        return socket

    async with (
        asyncio.timeout(20),
        tenant_service.tenant_of(flood) as tenant,
        client.streams.opened(tenant, LEASE_ID, CAT) as stream,
    ):
        reading = stream.output()
        await anext(reading)
        for _ in range(2):  # the second waits until the stream is over
            await stream.write(b"x" * 1_000_000)
        with pytest.raises(client.UnexpectedAnswer):
            async for _piece in reading:
                pass


@pytest.mark.parametrize("exit_code", NO_EXIT_CODES, ids=lambda text: text[:10])
async def test_what_is_no_exit_code_ends_no_command(exit_code: str) -> None:
    facts = f'{{"exitCode": {exit_code}, "timedOut": false, "truncated": false}}'
    messages = [json.dumps({"execId": EXEC_ID}), b"\x03" + facts.encode()]
    async with tenant_service.tenant_of(_speaks(messages)) as tenant:
        with pytest.raises(client.UnexpectedAnswer):
            async for _told in client.commands.follow(
                tenant, LEASE_ID, schemas.ExecRequest(argv=["true"])
            ):
                pass


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_an_answer_that_unpacks_without_end_is_not_read_to_its_end(
    monkeypatch: pytest.MonkeyPatch, coding: str
) -> None:
    monkeypatch.setattr(transport, "LARGEST_ANSWER_BYTES", 300_000)
    packed = gzip.compress(b"[" * 30_000_000)

    async def bomb(_request: web.Request) -> web.StreamResponse:
        headers = {"Content-Encoding": coding, "Content-Type": "application/json"}
        return web.Response(body=packed, headers=headers)

    async with tenant_service.tenant_of(bomb) as tenant:
        with pytest.raises((client.UnexpectedAnswer, client.ServiceUnreachable)):
            await tenant.leases()


@pytest.mark.parametrize(
    "receipt",
    [
        '{"success": true, "transaction": "\\u001b[2J", "network": "n", "payer": "p"}',
        '{"success": true, "transaction": ["0x1"], "network": "n", "payer": "p"}',
        '{"success": "yes, \\u202e", "transaction": "0x1", "network": "n", "payer": "p"}',
        json.dumps(
            {**dict.fromkeys(("transaction", "network", "payer"), "x" * 1500), "success": 1}
        ),
        "[]",
        "[" * 3000,
    ],
    ids=["steering", "list", "text", "long", "no object", "deep"],
)
async def test_a_receipt_is_words_that_are_safe_to_print(receipt: str) -> None:
    header = base64.b64encode(receipt.encode()).decode()

    found = client.receipt.read({"PAYMENT-RESPONSE": header})

    for word in () if found is None else (found.transaction, found.network, found.payer):
        assert isinstance(word, str)
        assert re.fullmatch(r"[\x20-\x7e]{0,200}", word)
    assert found is None or isinstance(found.success, bool)
