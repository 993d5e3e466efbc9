"""Terminal output and questions; a service's text cannot control the tenant's terminal."""

import contextlib
import errno
import json
import os
import select
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, NoReturn

import typer
from pydantic import BaseModel

from pve402 import client
from pve402.cli import exit_codes
from pve402.client import threads

_LONGEST_VALUE: Final = 2000
_LONGEST_MESSAGE: Final = 2000
_CHUNK_BYTES: Final = 64 * 1024


def say(message: object) -> None:
    """Print a message on stderr; a closed terminal is not an error."""
    for line in str(message).splitlines() or [""]:
        with contextlib.suppress(OSError):
            typer.echo(f"pve402: {client.plain(line, _LONGEST_MESSAGE)}", err=True)


def misused(message: str) -> NoReturn:
    """Report wrong usage of a command, and exit with 2."""
    say(message)
    raise typer.Exit(exit_codes.USAGE)


def can_ask() -> bool:
    """Whether we can ask the user a question."""
    return sys.stdin.isatty()


async def confirm(question: str) -> bool:
    """Ask without blocking signals; no answer means no."""
    try:
        return await threads.run(typer.confirm, client.plain(question), err=True)
    except typer.Abort:
        return False


def show(answer: BaseModel, *, as_json: bool) -> None:
    """Print an answer, one fact per line."""
    facts = answer.model_dump(by_alias=True, mode="json", exclude_none=True)
    if as_json:
        _print(json.dumps(facts))
    else:
        show_columns([(name, _value(value)) for name, value in facts.items()])


def show_list(answers: Sequence[BaseModel]) -> None:
    """Print answers as JSON."""
    _print(json.dumps([answer.model_dump(by_alias=True, mode="json") for answer in answers]))


def show_columns(rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns without wrapping: a wrapped token cannot be copied."""
    cleaned = [[client.plain(value, _LONGEST_VALUE) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cleaned, strict=True)]
    lines = [
        "  ".join(f"{value:<{width}}" for value, width in zip(row, widths, strict=True)).rstrip()
        for row in cleaned
    ]
    _print("\n".join(lines))


async def write(descriptor: int, data: bytes) -> None:
    """Write raw bytes. Raises BrokenPipeError if the reader has gone."""
    await threads.run(_write_all, descriptor, data)


async def stdin() -> AsyncIterator[bytes]:
    """Yield stdin in pieces until it ends."""
    while chunk := await threads.run(os.read, 0, _CHUNK_BYTES):
        yield chunk


def _print(text: str) -> None:
    """Print and flush, so that a broken pipe raises here, and a closed stdout too."""
    if sys.stdout is None:
        raise OSError(errno.EBADF, "standard output is closed")
    typer.echo(text)
    sys.stdout.flush()


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:  # another process made it non-blocking
            select.select([], [descriptor], [])


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
