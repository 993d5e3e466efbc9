"""Terminal output and questions; a service's text cannot control the tenant's terminal."""

import contextlib
import errno
import json
import os
import select
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import UTC, datetime
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


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Report what goes wrong on this machine, and exit with its code."""
    try:
        yield
    except client.ClientError as error:
        say(error)
        raise typer.Exit(exit_codes.of(error)) from None
    except OSError as error:
        say(f"{error.filename or ''}: {error.strerror}".removeprefix(": "))
        raise typer.Exit(exit_codes.FAILED) from None


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """Say what is happening during the block, with a spinner, if somebody watches."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield


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
    if as_json:
        show_facts(answer.model_dump(by_alias=True, mode="json", exclude_none=True))
    else:
        show_columns([*_rows("", answer.model_dump(by_alias=True, exclude_none=True))])


def moment(at: datetime | int | None) -> str:
    """A time, or seconds since 1970, as people read it, in UTC."""
    if at is None:
        return ""
    known = at if isinstance(at, datetime) else datetime.fromtimestamp(at, UTC)
    return f"{known:%Y-%m-%d %H:%M:%S}Z"


def show_facts(facts: Mapping[str, Any]) -> None:
    """Print facts as JSON on one line."""
    _print(json.dumps(facts))


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


def _rows(prefix: str, facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Facts by their names; those within a fact are named after it, as `ssh.command`."""
    for name, value in facts.items():
        if isinstance(value, dict):
            yield from _rows(f"{prefix}{name}.", value)
        else:
            yield f"{prefix}{name}", _value(value)


def _value(value: Any) -> str:
    """A value as people read it; the values of each part of a list stand side by side."""
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    if isinstance(value, dict):
        return " ".join(map(_value, value.values()))
    if isinstance(value, datetime):
        return moment(value)
    return value if isinstance(value, str) else json.dumps(value)
