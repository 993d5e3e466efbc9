"""Commands for tenants inside their containers: exec, put, get.

`pve402 exec` ends with the command's own exit code; 124 where its time ran out, 255 where it could
not be run or its end is not known.
"""

import asyncio
import base64
import contextlib
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from pve402 import schemas
from pve402.cli import exit_codes, tenant
from pve402.cli.tenant import Ctid, Token, Url
from pve402.client import client
from pve402.client import guests as client_guests

OUT_OF_TIME = 124
NOT_RUN = 255
#: In base64 it is as long as the service takes it.
LARGEST_STDIN_BYTES = 768 * 1024
_END_SECONDS = 5.0

Words = Annotated[list[str], typer.Argument(help="The program and its arguments, behind `--`.")]
Environment = Annotated[
    list[str] | None, typer.Option("--env", help="NAME=VALUE; may be repeated.")
]
PassStdin = Annotated[bool, typer.Option("--stdin", "-i", help="Pass stdin on, up to its end.")]
Remote = Annotated[str, typer.Argument(help="Absolute path of the file in the container.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(name="exec")(execute)
    app.command()(put)
    app.command()(get)


def execute(  # noqa: PLR0913 -- one option each
    ctid: Ctid,
    words: Words,
    *,
    user: Annotated[str, typer.Option(help="Who runs it; root if not given.")] = "",
    cwd: Annotated[str, typer.Option(help="Where it runs.")] = "",
    env: Environment = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds until it is ended.")] = 600,
    stdin: PassStdin = False,
    token: Token = None,
    url: Url = tenant.DEFAULT_URL,
) -> None:
    """Run a program in a container, and end with its exit code."""
    wish = schemas.ExecRequest(
        argv=words,
        user=user,
        cwd=cwd,
        env=_environment(env or []),
        timeout_seconds=timeout,
        stdin=base64.b64encode(_stdin()).decode() if stdin else None,
        encoding="base64",
    )
    try:
        ending = tenant.run_for_holder(url, token, lambda service: _shown(service, ctid, wish))
    except typer.Exit:
        raise typer.Exit(NOT_RUN) from None
    if ending.truncated:
        typer.echo("pve402: output beyond the service's limit is missing", err=True)
    if ending.timed_out:
        typer.echo(f"pve402: ended after {timeout:g} s", err=True)
        raise typer.Exit(OUT_OF_TIME)
    raise typer.Exit(NOT_RUN if ending.exit_code is None else ending.exit_code)


def put(
    ctid: Ctid,
    local: Annotated[Path, typer.Argument(help="File on this machine.")],
    remote: Remote,
    mode: Annotated[str, typer.Option(help="Octal; else that of the file.")] = "",
    token: Token = None,
    url: Url = tenant.DEFAULT_URL,
) -> None:
    """Copy a file into a container, checked by its SHA-256."""
    permissions = _permissions(mode)

    async def copied(service: client.Client) -> schemas.FileAnswer:
        return await client_guests.put_file(service, ctid, local, remote, mode=permissions)

    try:
        tenant.run_for_holder(url, token, copied)
    except OSError as error:
        _failed(error)


def get(
    ctid: Ctid,
    remote: Remote,
    local: Annotated[Path, typer.Argument(help="File on this machine, or - for stdout.")],
    token: Token = None,
    url: Url = tenant.DEFAULT_URL,
) -> None:
    """Copy a file out of a container, checked by its SHA-256."""
    target = local / Path(remote).name if local.is_dir() else local

    async def copied(service: client.Client) -> int:
        if str(local) == "-":
            return await client_guests.read_file(service, ctid, remote, sys.stdout.buffer)
        return await client_guests.get_file(service, ctid, remote, target)

    try:
        tenant.run_for_holder(url, token, copied)
    except OSError as error:
        _failed(error)


async def _shown(
    service: client.Client, ctid: str, wish: schemas.ExecRequest
) -> client_guests.Ending:
    """Run a command and show its output; if we are interrupted, it ends too."""
    exec_id = ""
    following = client_guests.follow(service, ctid, wish)
    try:
        async with contextlib.aclosing(following):
            async for told in following:
                match told:
                    case client_guests.Started():
                        exec_id = told.exec_id
                    case client_guests.Output():
                        _write(told)
                    case client_guests.Ending():
                        return told
    except asyncio.CancelledError:
        if exec_id:
            await _end(service, ctid, exec_id)
        raise
    raise client_guests.CommandLost("the command's end is not known")


async def _end(service: client.Client, ctid: str, exec_id: str) -> None:
    with contextlib.suppress(client.ClientError, TimeoutError):
        async with asyncio.timeout(_END_SECONDS):
            await client_guests.end(service, ctid, exec_id)


def _write(output: client_guests.Output) -> None:
    stream = sys.stdout.buffer if output.stream == "stdout" else sys.stderr.buffer
    stream.write(output.data)
    stream.flush()


def _stdin() -> bytes:
    data = sys.stdin.buffer.read(LARGEST_STDIN_BYTES + 1)
    if len(data) > LARGEST_STDIN_BYTES:
        _misused("stdin is longer than 768 KiB: put a file there instead")
    return data


def _environment(pairs: list[str]) -> dict[str, str]:
    split = [pair.partition("=") for pair in pairs]
    if not all(name and equals for name, equals, _ in split):
        _misused("--env takes NAME=VALUE")
    return {name: value for name, _, value in split}


def _permissions(mode: str) -> int | None:
    try:
        return int(mode, 8) if mode else None
    except ValueError:
        _misused("--mode takes octal permissions such as 0644")


def _misused(message: str) -> NoReturn:
    typer.echo(f"pve402: {message}", err=True)
    raise typer.Exit(exit_codes.USAGE)


def _failed(error: OSError) -> NoReturn:
    typer.echo(f"pve402: {error.filename or ''}: {error.strerror}", err=True)
    raise typer.Exit(exit_codes.FAILED)
