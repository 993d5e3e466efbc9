"""Tools for what is in a box: commands, files, folders."""

import base64
import binascii
import contextlib
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import Field

from pve402 import client, schemas
from pve402.client import commands, detached, files
from pve402.mcp_server import answers, running, texts
from pve402.mcp_server.arguments import Name
from pve402.mcp_server.desk import Desk
from pve402.mcp_server.problems import ToolFailed
from pve402.sdk import wishes
from pve402.sdk.files import AsyncFiles

_DEFAULT_BYTES: Final = 16_000
_MOST_BYTES: Final = 40_000
_MOST_CONTENT: Final = 1_000_000
_MOST_ENTRIES: Final = 300
_MOST_COMMANDS: Final = 64
_STOP_SECONDS: Final = 10.0

ExecId = Annotated[
    str, Field(description="From `run` or `list_commands`.", pattern=f"^{running.EXEC_ID.pattern}$")
]
AbsolutePath = Annotated[
    str, Field(description="Absolute path in the box.", min_length=1, max_length=4096)
]
Folder = Annotated[str, Field(description="Folder to run it in.", max_length=4096)]
MostBytes = Annotated[
    int,
    Field(
        description="The most to show; of longer output the middle is left out.",
        ge=200,
        le=_MOST_BYTES,
    ),
]
Wait = Annotated[
    int, Field(description="Seconds to wait for its end before a handle is returned.", ge=1, le=38)
]
Encoding = Annotated[Literal["text", "base64"], Field(description="base64 for what is no text.")]
Offset = Annotated[int, Field(description="Bytes to skip at the beginning.", ge=0, le=2**40)]
Skipped = Annotated[
    int | None,
    Field(description="Show it from this byte on, instead of beginning and end.", ge=0, le=2**40),
]


class GuestTools:
    """What agents do inside a box."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def run(
        self,
        *,
        lease: Name,
        command: Annotated[
            str, Field(description="Run by `sh` as root.", min_length=1, max_length=100_000)
        ],
        cwd: Folder = "",
        env: Annotated[
            dict[str, str] | None, Field(description="Environment variables to add.")
        ] = None,
        stdin: Annotated[str, Field(description="Text that it reads.", max_length=700_000)] = "",
        timeout_seconds: Annotated[
            float | None,
            Field(description="End it after this; by default never.", ge=1, le=2_592_000),
        ] = None,
        wait_seconds: Wait = 35,
        max_bytes: MostBytes = _DEFAULT_BYTES,
    ) -> answers.Command:
        """Run a shell command in a box. Costs nothing beyond the lease.

        Answers when it ends, or after `wait_seconds` with state `running` and an exec_id: it then
        goes on by itself, for `check_command` and `stop_command`.
        """
        wish = wishes.checked(
            schemas.ExecRequest,
            **wishes.program(command, env, cwd, ""),
            stdin=_base64(stdin.encode()),
            encoding="base64",
            timeout_seconds=timeout_seconds,
        )
        async with self._desk.box(lease) as (service, found):
            started = await running.started(service, found, wish)
            seen = running.Seen(max_bytes)
            await seen.watch(detached.follow(service, found, started.exec_id), wait_seconds)
            if seen.ending and not seen.left_out_bytes:
                with contextlib.suppress(client.ClientError):  # it is only tidied up
                    await commands.end(service, found, started.exec_id)
        return seen.answer(started.exec_id)

    async def check_command(
        self,
        *,
        lease: Name,
        exec_id: ExecId,
        wait_seconds: Wait = 5,
        max_bytes: MostBytes = _DEFAULT_BYTES,
        stdout_from: Skipped = None,
        stderr_from: Skipped = None,
    ) -> answers.Command:
        """Look again at a command that goes on, or read output that was left out. Free."""
        seen = running.Seen(max_bytes, stdout_from=stdout_from, stderr_from=stderr_from)
        async with self._desk.box(lease) as (service, found):
            await seen.watch(detached.follow(service, found, exec_id), wait_seconds)
        return seen.answer(exec_id)

    async def stop_command(
        self,
        lease: Name,
        exec_id: ExecId,
        signal: Annotated[
            Literal["TERM", "INT", "HUP", "KILL"], Field(description="KILL cannot be refused.")
        ] = "TERM",
    ) -> answers.Command:
        """Send a signal to all processes of a command, and show its output so far."""
        seen = running.Seen(_DEFAULT_BYTES)
        async with self._desk.box(lease) as (service, found):
            await detached.signal(service, found, exec_id, signal)
            await seen.watch(detached.follow(service, found, exec_id), _STOP_SECONDS)
        return seen.answer(exec_id)

    async def list_commands(self, lease: Name) -> answers.Commands:
        """List a box's commands that go on or ended recently. Free."""
        async with self._desk.box(lease) as (service, found):
            every = await detached.every(service, found)
        return answers.Commands(
            commands=[
                f"{texts.word(one.exec_id)} {one.state} {_code(one.exit_code)}".rstrip()
                for one in every[:_MOST_COMMANDS]
            ],
            next="`check_command` shows one.",
        )

    async def read_file(
        self,
        lease: Name,
        path: AbsolutePath,
        offset: Offset = 0,
        max_bytes: MostBytes = _DEFAULT_BYTES,
        encoding: Encoding = "text",
    ) -> answers.File:
        """Read a file of a box, or a part of it. Free."""
        is_text = encoding == "text"
        async with self._desk.box(lease) as (service, found):
            part = await _read_part(
                service, found, path, offset, max_bytes if is_text else max_bytes * 3 // 4
            )
        shown = _whole_characters(part.data, part.has_more) if is_text else part.data
        clean = texts.cleaned(shown.decode()) if is_text else None
        following = offset + len(shown) if part.has_more else None
        return answers.File(
            path=path,
            from_container=_base64(shown) if clean is None else clean.text,
            encoding=encoding,
            size_bytes=part.size_bytes,
            next_offset=following,
            replaced_characters=0 if clean is None else clean.replaced,
            next="" if following is None else f"The rest begins at offset {following}.",
        )

    async def write_file(
        self,
        *,
        lease: Name,
        path: AbsolutePath,
        content: Annotated[
            str, Field(description="At most 1,000,000 characters.", max_length=_MOST_CONTENT)
        ],
        encoding: Encoding = "text",
        mode: Annotated[str, Field(description="Octal.", pattern=r"^0?[0-7]{3,4}$")] = "0644",
    ) -> answers.Written:
        """Write a file in a box; it appears whole and replaces what was there. Free."""
        try:
            data = (
                content.encode() if encoding == "text" else base64.b64decode(content, validate=True)
            )
        except binascii.Error:
            raise ToolFailed(
                "invalid_arguments", "the content is not base64", "Correct it and call again."
            ) from None
        async with self._desk.box(lease) as (service, found):
            made = await AsyncFiles(service, found).write(path, data, mode=int(mode, 8))
        return answers.Written(
            path=path,
            size_bytes=made.size_bytes,
            sha256=None if made.sha256 is None else texts.word(made.sha256),
        )

    async def list_files(
        self,
        lease: Name,
        path: AbsolutePath,
        depth: Annotated[int, Field(description="Folders below it to list.", ge=1, le=5)] = 1,
    ) -> answers.Folder:
        """List a folder of a box. Free."""
        entries: list[schemas.EntryItem] = []
        async with self._desk.box(lease) as (service, found):
            pages = client.entries.pages(service, found, path, depth=depth)
            async with aclosing(pages):
                async for page in pages:
                    entries += page.entries
                    if len(entries) > _MOST_ENTRIES:
                        break
        shown = list(_bounded(map(_entry, entries[:_MOST_ENTRIES])))
        is_whole = len(entries) == len(shown)
        return answers.Folder(
            from_container=shown,
            is_whole=is_whole,
            next="" if is_whole else "List a folder further down, or use `run` with `find`.",
        )


@dataclass(frozen=True, kw_only=True)
class _Part:
    """A part of a file, and the size of the whole if that is known."""

    data: bytes
    has_more: bool
    size_bytes: int | None


async def _read_part(
    service: client.Client, lease: str, path: str, offset: int, most_bytes: int
) -> _Part:
    """Read bytes from `offset` on; the rest is not fetched."""
    data, at, size_bytes = bytearray(), 0, None

    def note(_done: int, whole: int | None) -> None:
        nonlocal size_bytes
        size_bytes = whole

    async with aclosing(files.read_file(service, lease, path, on_progress=note)) as reading:
        async for piece in reading:
            data += piece[max(0, offset - at) :]
            at += len(piece)
            if len(data) > most_bytes:
                return _Part(data=bytes(data[:most_bytes]), has_more=True, size_bytes=size_bytes)
    return _Part(data=bytes(data), has_more=False, size_bytes=at)


def _whole_characters(data: bytes, has_more: bool) -> bytes:
    """The bytes up to the last whole character. Raises ToolFailed for what is not UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        if has_more and error.reason == "unexpected end of data" and error.start:
            return data[: error.start]
        raise ToolFailed(
            "not_text",
            "this part of the file is not UTF-8 text",
            "Call again with encoding base64.",
        ) from None
    return data


def _bounded(entries: Iterable[answers.Entry]) -> Iterator[answers.Entry]:
    """As many entries as their names leave room for."""
    room = _MOST_BYTES
    for entry in entries:
        room -= len(entry.path)
        if room < 0:
            return
        yield entry


def _entry(one: schemas.EntryItem) -> answers.Entry:
    clean = texts.cleaned(client.entries.path_of(one)[:4096])
    moment = one.modified_at
    return answers.Entry(
        path=clean.text,
        kind=one.kind,
        size_bytes=one.size_bytes,
        mode=texts.word(one.mode),
        modified_at=None if moment is None else f"{moment:%Y-%m-%dT%H:%M:%SZ}",
        is_exact=clean.replaced == 0,
    )


def _code(exit_code: int | None) -> str:
    return "" if exit_code is None else str(exit_code)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
