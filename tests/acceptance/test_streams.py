"""Streams into a container over the API: bytes both ways, breaks, ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from tests.support import commands
from tests.support.commands import Container
from tests.support.processes import ServeProcess
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from pve402 import schemas
from pve402.client import streams
from pve402.client.client import Client

DATA = bytes(range(256)) * 1000


@pytest.fixture(scope="module")
def container(service: ServeProcess) -> Container:
    """A container for the tests of this module."""
    return commands.lease(service)


@contextmanager
def opened(
    container: Container, **hello: object
) -> Iterator[tuple[ClientConnection, dict[str, Any]]]:
    """Open a stream by hand; yields the socket and what the service answered."""
    with connect(address(container), additional_headers=container.bearer) as socket:
        socket.send(json.dumps(hello))
        yield socket, json.loads(socket.recv(timeout=30))


def address(container: Container) -> str:
    return f"ws{container.service.url.removeprefix('http')}/management/stream/{container.ctid}"


def closing(socket: ClientConnection) -> tuple[int, str]:
    """Read until the service closes; returns its code and reason."""
    with pytest.raises(ConnectionClosed) as closed:  # noqa: PT012 -- whatever comes before
        while True:
            socket.recv(timeout=30)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


def sh(command: str) -> schemas.StreamSocketRequest:
    return schemas.StreamSocketRequest(command=command)


async def collected(stream: streams.Stream) -> bytes:
    return b"".join([piece.data async for piece in stream.output()])


async def test_bytes_pass_both_ways_and_the_exit_code_comes(container: Container):
    async with (
        Client(container.service.url, token=container.token) as service,
        streams.opened(service, container.ctid, sh("cat; exit 3")) as stream,
    ):
        await stream.write(DATA)
        await stream.end_input()
        assert await collected(stream) == DATA
        assert stream.exit_code == 3


@asynccontextmanager
async def breaking_proxy(url: str, after_bytes: int) -> AsyncIterator[str]:
    """A way to the service on which each connection breaks after so many bytes of its answers."""
    target = urlsplit(url)

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = after_bytes
        there_reader, there_writer = await asyncio.open_connection(target.hostname, target.port)

        async def up() -> None:
            while data := await reader.read(65536):
                there_writer.write(data)
                await there_writer.drain()

        going_up = asyncio.create_task(up())
        with suppress(OSError):
            while left > 0 and (data := await there_reader.read(min(65536, left))):
                writer.write(data)
                await writer.drain()
                left -= len(data)
        going_up.cancel()
        for each in (writer, there_writer):
            each.transport.abort()
            with suppress(OSError):
                await each.wait_closed()
        ended.release()

    started, ended = 0, asyncio.Semaphore(0)

    async def counted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal started
        started += 1
        await relay(reader, writer)

    async with await asyncio.start_server(counted, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    for _ in range(started):
        await ended.acquire()
    assert started > 2


async def test_nothing_is_lost_or_doubled_over_broken_connections(container: Container):
    async with (
        breaking_proxy(container.service.url, after_bytes=100_000) as url,
        Client(url, token=container.token) as service,
        streams.opened(service, container.ctid, sh("cat")) as stream,
    ):
        await stream.write(DATA)
        await stream.end_input()
        assert await collected(stream) == DATA
        assert stream.exit_code == 0


def test_a_client_that_confirms_nothing_stops_the_program(container: Container):
    command = "while head -c 4096 /dev/zero; do echo x >>/tmp/written; done"
    with opened(container, command=command) as (socket, _):
        seen = 0
        with suppress(TimeoutError):
            while True:
                seen += len(socket.recv(timeout=2)) - 1
        first = container.output("wc -c </tmp/written")
        assert 0 < seen < 400_000
        assert container.output("wc -c </tmp/written") == first

        socket.send(bytes([6]) + seen.to_bytes(8, "big"))
        assert socket.recv(timeout=10)[0] == 1
        socket.send(b"\xff\xff")


def test_output_that_was_not_sent_cannot_be_confirmed(container: Container):
    with opened(container, command="sleep 30") as (socket, _):
        socket.send(bytes([6]) + (10).to_bytes(8, "big"))
        assert closing(socket) == (4422, "invalid_request")


def test_a_stream_goes_to_who_came_last(container: Container):
    with (
        opened(container, command="cat") as (first, ready),
        opened(container, resume=ready["streamId"]) as (second, again),
    ):
        assert again["streamId"] == ready["streamId"]
        assert closing(first) == (4409, "stream_replaced")
        second.send(b"\x00here")
        assert second.recv(timeout=10) == b"\x01here"
        second.send(b"\xff\xff")


@pytest.mark.parametrize(
    ("hello", "ending"),
    [
        ({"resume": "s" + "0" * 32}, (4404, "stream_not_found")),
        ({"command": "true", "argv": ["true"]}, (4422, "invalid_request")),
        ({"command": "true", "position": -1}, (4422, "invalid_body")),
        ({"command": "cat", "position": 5}, (4422, "invalid_request")),
        ({}, (4422, "invalid_request")),
    ],
)
def test_what_cannot_be_opened_is_refused(container: Container, hello, ending):
    with connect(address(container), additional_headers=container.bearer) as socket:
        socket.send(json.dumps(hello))
        assert closing(socket) == ending


def test_a_stream_ends_with_its_token(service: ServeProcess):
    container = commands.lease(service)
    with opened(container, command="cat") as (socket, _):
        reply = requests.delete(f"{service.url}/auth/token", headers=container.bearer, timeout=30)
        assert reply.ok
        assert closing(socket) == (4401, "token_revoked")
