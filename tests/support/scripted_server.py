"""A TCP server that reads HTTP requests and answers each with the next line of its script.

It works on bytes, so that a test can also break a connection, answer garbage or say nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import parse_qsl, urlsplit


class Behaviour(Enum):
    """What the server can do instead of answering."""

    DROP = "drop"  # read the request, then close the connection
    RESET = "reset"  # read the request, then abort the connection
    SILENCE = "silence"  # read the request, then say nothing


Step = bytes | Behaviour


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request as it came."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: str

    @property
    def path(self) -> str:
        """The path as sent, still percent-encoded."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        """The decoded query."""
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @property
    def form(self) -> dict[str, str]:
        """The decoded form of the body."""
        return dict(parse_qsl(self.body, keep_blank_values=True))


@dataclass(kw_only=True)
class ScriptedServer:
    """Answers by its script, which a test changes at will, and keeps what it was asked."""

    script: list[Step] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    connections: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side ends it."""
        self.connections += 1
        try:
            while await self._serve_one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request = await _read_request(reader)
        self.requests.append(request)
        self.arrived.set()
        step = self.script.pop(0) if self.script else answer(500, "script is over")
        if step is Behaviour.SILENCE:
            await reader.read()
            return False
        if step is Behaviour.RESET:
            writer.transport.abort()
        if not isinstance(step, bytes):
            return False
        writer.write(step)
        await writer.drain()
        return b"\r\nConnection: close\r\n" not in step


def answer(
    status: int, reason: str = "", body: bytes = b"", headers: Mapping[str, str] | None = None
) -> bytes:
    """The bytes of an HTTP answer."""
    fields = {"Content-Type": "application/json;charset=UTF-8", **(headers or {})}
    fields["Content-Length"] = str(len(body))
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {text}" for name, text in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def data(text: str) -> bytes:
    """The bytes of a good answer whose data is the JSON `text`."""
    return answer(200, "OK", f'{{"data":{text}}}'.encode())


@asynccontextmanager
async def running() -> AsyncIterator[ScriptedServer]:
    """A server on a free loopback port."""
    scripted = ScriptedServer()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        await scripted.serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    scripted.port = server.sockets[0].getsockname()[1]
    try:
        yield scripted
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _read_request(reader: asyncio.StreamReader) -> Request:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {
        name.lower(): text for name, _, text in (line.partition(": ") for line in rest) if name
    }
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(method=method, target=target, headers=headers, body=body.decode())
