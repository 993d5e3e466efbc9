"""Connections: heads are bounded in size and time, and so is their number."""

import asyncio
import contextlib
import functools
import json
from collections.abc import AsyncIterator

import pytest
import structlog
import uvicorn
from uvicorn.server import ServerState

from pve402.api.transport import connections, open_files


async def hello(scope, receive, send):
    """Answer anything, once it is there."""
    while (await receive()).get("more_body"):
        pass
    seen = b",".join(name for name, _ in scope["headers"])
    headers = [(b"content-length", b"5"), (b"seen", seen)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hello"})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """A server of nothing but our connections."""
    async with serving(connections.BoundedHttp) as number:
        yield number


@contextlib.asynccontextmanager
async def serving(kind: type[connections.BoundedHttp]) -> AsyncIterator[int]:
    """Serve nothing but connections of a kind; the port."""
    config = uvicorn.Config(hello, http=kind, log_config=None, lifespan="off")
    config.load()
    protocol = functools.partial(kind, config, ServerState(), {})
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


async def talk(port: int, *pieces: bytes) -> bytes:
    """Send pieces one by one and return everything that comes until the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_a_usual_request_is_answered(port: int):
    answer = await talk(port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200")


async def test_a_head_in_pieces_is_answered(port: int):
    head = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    assert (await talk(port, head[:9], head[9:20], head[20:])).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("piece", [b"a" * 8192, b"X-One: more\r\n" * 700])
async def test_a_head_without_end_is_refused(port: int, piece: bytes):
    answer = await talk(port, b"GET / HTTP/1.1\r\nX-First: ", *[piece] * 6)

    assert b"200" not in answer
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431")


async def test_a_large_body_is_no_large_head(port: int):
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 60000\r\n\r\n"

    assert (await talk(port, head, b"x" * 30_000, b"x" * 30_000)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nX-Slow: "])
async def test_a_head_that_does_not_come_closes_the_connection(
    port: int, begun: bytes, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connections, "HEAD_LIMIT_SECONDS", 0.05)

    assert await talk(port, begun) == b""


async def test_a_second_request_has_a_limit_of_its_own(port: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connections, "HEAD_LIMIT_SECONDS", 0.05)

    answer = await talk(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HTT")

    assert answer.count(b"HTTP/1.1 200") == 1


async def test_connections_over_the_bound_are_closed_and_told_once(
    port: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(open_files, "MAX_CONNECTIONS", 0)
    monkeypatch.setattr(connections.BoundedHttp, "full_told_at", float("-inf"))

    with structlog.testing.capture_logs() as lines:
        answers = [await talk(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(2)]

    assert answers == [b"", b""]
    assert [line["event"] for line in lines] == ["connections_refused"]


@pytest.mark.parametrize(
    "pieces", [[b"0\r\nX-Forwarded-For: 6.6.6.6\r\nHost: y\r\n\r\n"], [b"0\r\nX-", b"A: b\r\n\r\n"]]
)
async def test_trailers_are_no_headers(port: int, pieces: list[bytes]):
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"

    answer = await talk(port, head + pieces[0], *pieces[1:])

    assert b"\r\nseen: host,connection,transfer-encoding\r\n" in answer


async def test_trailers_without_end_are_refused(port: int):
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"

    answer = await talk(port, head, *[b"X-One: more\r\n" * 700] * 6)

    assert b"200" not in answer


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        (b"http://X:1/a?b", b"x:1", b"200"),
        (b"https://x/?//y", b"x", b"200"),
        (b"http://y/", b"x", b"400"),
        (b"http://x:1/", b"x", b"400"),
        (b"http://x@y/", b"x", b"400"),
    ],
)
async def test_a_target_with_a_host_must_agree_with_the_header(
    port: int, target: bytes, host: bytes, status: bytes
):
    head = b"GET %b HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % (target, host)

    assert (await talk(port, head)).startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize("framing", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
async def test_a_websocket_has_no_body(port: int, framing: bytes):
    asked = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"

    answer = await talk(port, asked + framing + b"\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 400")


GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    "head",
    [
        GET + b"X-Long: " + b"a" * 70_000 + b"\r\n\r\n",
        GET + b"X-Long: " + b"a" * 33_000 + b"\r\n\r\n",
        GET + b"X-One: more\r\n" * 4_000 + b"\r\n",
        GET + b"X" * 40_000 + b": a\r\n\r\n",
        b"GET /?" + b"a" * 33_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        GET.replace(b"GET /", b"POST /") + b"Cookie: " + b"a=1; " * 8_000 + b"\r\n\r\nbody",
    ],
    ids=lambda head: head[:12].decode() + str(len(head)),
)
@pytest.mark.parametrize("pieces", [1, 3])
async def test_a_head_too_large_is_431_however_it_comes(port: int, head: bytes, pieces: int):
    step = len(head) // pieces + 1

    answer = await talk(port, *(head[at : at + step] for at in range(0, len(head), step)))

    assert answer.startswith(b"HTTP/1.1 431 ") or answer == b""  # a reset may overtake it
    assert pieces > 1 or b'"code": "head_too_large"' in answer


@pytest.mark.parametrize("length", [1, 8_000, 31_000])
async def test_a_long_head_within_the_bound_is_served(port: int, length: int):
    answer = await talk(port, GET + b"X-Long: " + b"a" * length + b"\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200")


async def test_many_requests_on_one_connection_are_no_large_head(port: int):
    request = b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 9_000 + b"\r\n\r\n"

    answer = await talk(port, request * 4 + GET + b"\r\n")

    assert answer.count(b"HTTP/1.1 200") == 5


async def test_one_address_has_half_of_the_connections(port: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(open_files, "MAX_CONNECTIONS", 10)
    idle = [
        await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0))
        for _ in range(8)
    ]
    await asyncio.sleep(0.05)

    closed = [reader.at_eof() for reader, _writer in idle]
    answer = await talk(port, GET + b"\r\n")
    for _reader, writer in idle:
        writer.close()

    assert closed == [False] * 5 + [True] * 3
    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("proxies", "open_ones"),
    [
        ((), 5),
        (("127.0.0.2",), 8),
        (("127.0.0.0/30", "10.0.0.0/8"), 8),
        (("::ffff:127.0.0.2",), 5),
        (("127.0.0.3", "::1"), 5),
    ],
)
async def test_a_trusted_proxy_may_have_more_than_half(
    monkeypatch: pytest.MonkeyPatch, proxies: tuple[str, ...], open_ones: int
):
    monkeypatch.setattr(open_files, "MAX_CONNECTIONS", 10)
    async with serving(connections.behind(proxies)) as port:
        idle = [
            await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0))
            for _ in range(8)
        ]
        answer = await talk(port, GET + b"\r\n")
        closed = [reader.at_eof() for reader, _writer in idle]
        for _reader, writer in idle:
            writer.close()

    assert closed.count(False) == open_ones
    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("head", [b"nonsense\r\n\r\n", GET + b"No colon\r\n\r\n"])
async def test_what_is_no_http_is_refused_in_json_as_all_else_is(port: int, head: bytes):
    answer = await talk(port, head)

    headers, _, content = answer.partition(b"\r\n\r\n")
    assert headers.startswith(b"HTTP/1.1 400 ")
    assert json.loads(content)["code"] == "invalid_request"
