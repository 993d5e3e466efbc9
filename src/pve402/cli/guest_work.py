"""The work of `exec`, `put` and `get` in a container."""

import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from pve402 import client, schemas
from pve402.cli import calls, credentials, terminal

OUT_OF_TIME: Final = 124
OUTPUT_CUT: Final = 125
NOT_RUN: Final = 255
_DESCRIPTORS: Final = {"stdout": 1, "stderr": 2}

Kept = dict[str, bytearray]


def execute(
    url: str,
    token: str | None,
    name: str,
    wish: schemas.ExecRequest,
    *,
    with_stdin: bool,
    as_json: bool = False,
) -> int:
    """Run a program and show its output. Returns the exit code for this command.

    As JSON the output is text, of at most 16 MiB.
    """
    kept: Kept | None = None
    if as_json:
        kept = {"stdout": bytearray(), "stderr": bytearray()}
        wish = wish.model_copy(update={"max_output_bytes": schemas.MAX_OUTPUT_BYTES})

    async def run(service: client.Client) -> client.commands.Ending:
        ctid = await client.names.resolve(service, name)
        stdin = terminal.stdin() if with_stdin else None
        async with aclosing(client.commands.follow(service, ctid, wish, stdin)) as following:
            return await shown(following, kept)

    ending = calls.run(credentials.holder(url, token), run, code_of=lambda _: NOT_RUN)
    if kept is not None:
        facts = {"exitCode": ending.exit_code, "timedOut": ending.timed_out}
        output = {stream: data.decode(errors="replace") for stream, data in kept.items()}
        terminal.show_facts({**facts, "truncated": ending.truncated, **output})
    if ending.timed_out:
        terminal.say(f"ended after {wish.timeout_seconds:g} s")
    return code_of(ending)


async def shown(
    following: AsyncIterator[object], kept: Kept | None = None
) -> client.commands.Ending:
    """Show the output of a command until it ends, or keep it. Raises CommandLost."""
    async for told in following:
        if isinstance(told, client.commands.Output) and kept is not None:
            kept[told.stream] += told.data
        elif isinstance(told, client.commands.Output):
            await terminal.write(_DESCRIPTORS[told.stream], told.data)
        elif isinstance(told, client.commands.Ending):
            return told
    raise client.CommandLost("the outcome of the command is not known")


def code_of(ending: client.commands.Ending) -> int:
    """The exit code for a command's end; says what is missing of its output."""
    if ending.truncated:
        terminal.say("part of the output is missing: the service had no room for it")
    if ending.timed_out:
        return OUT_OF_TIME
    if ending.truncated and ending.exit_code == 0:
        return OUTPUT_CUT
    return NOT_RUN if ending.exit_code is None else ending.exit_code


def put(url: str, token: str | None, name: str, local: Path, remote: str, mode: int | None) -> None:
    """Copy a file in; `-` is stdin."""
    source = Path("/dev/stdin") if str(local) == "-" else local

    async def copied(service: client.Client) -> None:
        ctid = await client.names.resolve(service, name)
        await client.files.put_file(service, ctid, source, remote, mode=mode)

    calls.run(credentials.holder(url, token), copied)


def get(url: str, token: str | None, name: str, remote: str, local: Path, most_bytes: int) -> None:
    """Copy a file out; `-` is stdout."""
    target = local / Path(remote).name if local.is_dir() else local

    async def copied(service: client.Client) -> None:
        ctid = await client.names.resolve(service, name)
        if str(local) != "-":
            await client.files.get_file(service, ctid, remote, target, most_bytes=most_bytes)
            return
        reading = client.files.read_file(service, ctid, remote, most_bytes=most_bytes)
        async with aclosing(reading):
            async for chunk in reading:
                await terminal.write(1, chunk)

    calls.run(credentials.holder(url, token), copied)


def request(**fields: Any) -> schemas.ExecRequest:
    """What is to be run. Exits with 2 if no service accepts it."""
    try:
        return schemas.ExecRequest(**fields)
    except ValidationError as error:
        (first, *_) = error.errors()
        terminal.misused(f"{'.'.join(map(str, first['loc']))}: {first['msg']}")


def environment(pairs: list[str]) -> dict[str, str]:
    """Parse NAME=VALUE pairs. Exits with 2 if one is invalid."""
    split = [pair.partition("=") for pair in pairs]
    if not all(name and equals for name, equals, _ in split):
        terminal.misused("--env takes NAME=VALUE")
    return {name: value for name, _, value in split}


def lease_environment(pairs: list[str]) -> dict[str, str] | None:
    """Parse NAME=VALUE pairs, and names of our own variables. Exits with 2 if one is invalid."""
    if not pairs:  # a service of before knows no such field
        return None
    own = [pair for pair in pairs if "=" not in pair]
    missing = next((name for name in own if name not in os.environ), None)
    if missing is not None:
        terminal.misused(f"--env {missing}: there is no such variable; give NAME=VALUE")
    return environment([pair if "=" in pair else f"{pair}={os.environ[pair]}" for pair in pairs])


def permissions(mode: str) -> int | None:
    """Parse octal permissions. Exits with 2 if they are invalid."""
    try:
        found = int(mode, 8) if mode else None
    except ValueError:
        found = -1
    if found is not None and not 0 <= found <= 0o7777:
        terminal.misused("--mode takes octal permissions such as 0644")
    return found
