"""Calls an ASGI application in this process, without sockets, and keeps every message it sends."""

import dataclasses
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reply:
    """What the application answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The stable code of a refusal."""
        return self.json()["code"]


class Asgi:
    """A client of one application."""

    def __init__(self, app: Any, *, client: tuple[str, int] = ("203.0.113.7", 50000)) -> None:
        self.app = app
        self.client = client

    async def get(self, path: str, **more: Any) -> Reply:
        """GET a path."""
        return await self.request("GET", path, **more)

    async def post(self, path: str, body: Any = b"", **more: Any) -> Reply:
        """POST bytes as they are, or anything else as JSON."""
        return await self.request("POST", path, body, **more)

    async def put(self, path: str, body: Any = b"", **more: Any) -> Reply:
        """PUT bytes as they are, or anything else as JSON."""
        return await self.request("PUT", path, body, **more)

    async def delete(self, path: str, **more: Any) -> Reply:
        """DELETE a path."""
        return await self.request("DELETE", path, **more)

    async def request(
        self,
        method: str,
        path: str,
        body: Any = b"",
        *,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        chunks: Iterable[bytes] | None = None,
    ) -> Reply:
        """Send one request and collect the answer."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
        incoming = list(chunks) if chunks is not None else [content]
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            chunk = incoming.pop(0) if incoming else b""
            return {"type": "http.request", "body": chunk, "more_body": bool(incoming)}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self.app(self._scope(method, path, pairs, len(content)), receive, send)
        return _reply(sent)

    def _scope(
        self, method: str, path: str, headers: list[tuple[str, str]], length: int
    ) -> dict[str, Any]:
        route, _, query = path.partition("?")
        named = {name.lower() for name, _value in headers}
        pairs = [("host", "testserver"), ("content-length", str(length))]
        defaults = [pair for pair in pairs if pair[0] not in named]
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": route,
            "raw_path": route.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(k.lower().encode(), v.encode()) for k, v in [*defaults, *headers]],
            "client": self.client,
            "server": ("127.0.0.1", 4021),
            "state": {},
        }


def _reply(sent: list[dict[str, Any]]) -> Reply:
    start = next(message for message in sent if message["type"] == "http.response.start")
    body = b"".join(message.get("body", b"") for message in sent if "body" in message)
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    return Reply(status=start["status"], headers=headers, body=body)


@asynccontextmanager
async def running(app: Any) -> AsyncIterator[Asgi]:
    """Run the application's start-up and shut-down around a client of it."""
    async with app.router.lifespan_context(app):
        yield Asgi(app)
