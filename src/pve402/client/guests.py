"""What tenants do inside a container, with a `client.Client`: run commands, put and get files.

async with Client("https://rent.example.com", token="...") as service:
    answer = await client_guests.run(service, "10001", schemas.ExecRequest(argv=["uptime"]))
    print(answer.stdout, answer.exit_code)
"""

import asyncio
import base64
import hashlib
import json
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, Literal
from urllib.parse import urlencode

import aiohttp

from pve402 import schemas
from pve402.client import client

_LARGEST_TRIES: Final = 5
PAUSE_SECONDS: Final = 1.0
_CHUNK_BYTES: Final = 64 * 1024


class CommandLost(client.ClientError):
    """A command was started, and how it ends cannot be known any more."""


class FileDamaged(client.ClientError):
    """A file did not arrive with the checksum it has in the container."""


@dataclass(frozen=True, kw_only=True)
class Started:
    """A command runs, by this name."""

    exec_id: str


@dataclass(frozen=True, kw_only=True)
class Output:
    """A piece of what a command wrote."""

    stream: Literal["stdout", "stderr"]
    data: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a command ended; `truncated` where output beyond its limit was dropped."""

    exit_code: int | None
    timed_out: bool
    truncated: bool


@dataclass(frozen=True, kw_only=True)
class _Event:
    kind: str
    #: Names the command and a place in its events; empty where there is none.
    position: str
    data: str = field(repr=False)


async def run(service: client.Client, ctid: str, wish: schemas.ExecRequest) -> schemas.ExecAnswer:
    """Run a command to its end. Raises Refused, ServiceUnreachable, OverCap, KeyNeeded."""
    document = _document(wish)
    async with service.opened("POST", f"/management/exec/{ctid}", document=document) as answer:
        return client.parsed(await answer.read(), schemas.ExecAnswer.model_validate_json)


async def follow(
    service: client.Client, ctid: str, wish: schemas.ExecRequest
) -> AsyncGenerator[Started | Output | Ending]:
    """Run a command and yield its name, its output as it comes, and at last how it ended.

    A stream that breaks is taken up again where it was, and the command is not started twice.
    Raises CommandLost, and what `run` raises.
    """
    position = ""
    for _ in range(_LARGEST_TRIES):
        try:
            async with aclosing(_events(service, ctid, wish, position)) as events:
                async for event in events:
                    position = event.position or position
                    told = _told(event)
                    if told is not None:
                        yield told
                    if isinstance(told, Ending):
                        return
        except client.ServiceUnreachable:
            if not position:
                raise
        if not position:
            raise CommandLost("the service did not say what the command is called")
        await asyncio.sleep(PAUSE_SECONDS)
    raise CommandLost("the connection breaks again and again")


async def end(service: client.Client, ctid: str, exec_id: str) -> None:
    """End a command: TERM, then KILL. Raises what `run` raises."""
    async with service.opened("DELETE", f"/management/exec/{ctid}/{exec_id}"):
        pass


async def put_file(
    service: client.Client, ctid: str, local: Path, remote: str, *, mode: int | None = None
) -> schemas.FileAnswer:
    """Copy a file into a container, checked by its SHA-256; with its permissions unless `mode`.

    Raises OSError for the local file, and what `run` raises.
    """
    digest, permissions = await asyncio.to_thread(_look_at, local)
    query = urlencode({"path": remote, "mode": f"{permissions if mode is None else mode:04o}"})
    async with service.opened(
        "PUT",
        f"/management/files/{ctid}?{query}",
        body=lambda: local.open("rb"),
        headers={"Content-Digest": f"sha-256=:{base64.b64encode(digest).decode()}:"},
    ) as answer:
        return client.parsed(await answer.read(), schemas.FileAnswer.model_validate_json)


async def get_file(service: client.Client, ctid: str, remote: str, local: Path) -> int:
    """Copy a file out of a container; the local file appears whole or not at all.

    Returns its size. Raises FileDamaged, OSError for the local file, and what `run` raises.
    """
    partial = local.with_name(f".{local.name}.{secrets.token_hex(4)}.part")
    try:
        with partial.open("xb") as file:
            size = await read_file(service, ctid, remote, file)
        partial.replace(local)
    finally:
        partial.unlink(missing_ok=True)
    return size


async def read_file(service: client.Client, ctid: str, remote: str, into: IO[bytes]) -> int:
    """Write a container's file to an open one. Returns its size; raises as `get_file`."""
    digest, size = hashlib.sha256(), 0
    path = f"/management/files/{ctid}?{urlencode({'path': remote})}"
    async with service.opened("GET", path) as answer:
        if answer.content_type != "application/octet-stream":
            raise client.UnexpectedAnswer("the answer is no file; is the address right?")
        async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
            digest.update(chunk)
            into.write(chunk)
            size += len(chunk)
        expected = answer.headers.get("Repr-Digest")
    found = f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
    if expected is not None and expected != found:
        raise FileDamaged(f"{remote} changed while it was read, or was damaged on its way")
    return size


async def _events(
    service: client.Client, ctid: str, wish: schemas.ExecRequest, position: str
) -> AsyncGenerator[_Event]:
    """Start a command, or take up its events behind a position."""
    path, headers = f"/management/exec/{ctid}", {"Accept": "text/event-stream"}
    if not position:
        opened = service.opened("POST", path, document=_document(wish), headers=headers)
    else:
        headers["Last-Event-ID"] = position
        opened = service.opened("GET", f"{path}/{position.partition(':')[0]}", headers=headers)
    async with opened as answer:
        async for event in _read_events(answer.content):
            yield event


async def _read_events(lines: aiohttp.StreamReader) -> AsyncIterator[_Event]:
    """Read server-sent events, each with one line of data."""
    fields: dict[str, str] = {}
    async for raw in lines:
        line = raw.decode().rstrip("\n")
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
            continue
        if "event" in fields:
            position, data = fields.get("id", ""), fields.get("data", "")
            yield _Event(kind=fields["event"], position=position, data=data)
        fields = {}


def _told(event: _Event) -> Started | Output | Ending | None:
    """What an event says to whoever runs the command. Raises CommandLost, UnexpectedAnswer."""
    try:
        return _read_event(event)
    except (LookupError, TypeError, ValueError):
        raise client.UnexpectedAnswer("an event of the command cannot be read") from None


def _read_event(event: _Event) -> Started | Output | Ending | None:
    match event.kind:
        case "start":
            return Started(exec_id=json.loads(event.data)["execId"])
        case "stdout" | "stderr" as stream:
            return Output(stream=stream, data=base64.b64decode(event.data))
        case "exit":
            facts = json.loads(event.data)
            return Ending(
                exit_code=facts["exitCode"],
                timed_out=facts["timedOut"],
                truncated=facts["truncated"],
            )
        case "error" if event.position:  # without a position the events can be taken up again
            raise CommandLost(json.loads(event.data)["detail"])
        case _:
            return None


def _document(wish: schemas.ExecRequest) -> object:
    return wish.model_dump(by_alias=True, mode="json", exclude_none=True)


def _look_at(file: Path) -> tuple[bytes, int]:
    """The SHA-256 and the permissions of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").digest(), file.stat().st_mode & 0o777
