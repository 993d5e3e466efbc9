"""The work on detached commands: start, list, show output, follow, signal."""

import base64
import re
from contextlib import aclosing
from typing import Final

from pve402 import client, schemas
from pve402.cli import calls, credentials, guest_work, terminal

_HEADS: Final = ("command", "state", "exit code", "started", "output")
_EXEC_ID: Final = re.compile(r"[A-Za-z0-9-]{1,64}")


def start(
    url: str,
    token: str | None,
    name: str,
    wish: schemas.ExecRequest,
    *,
    with_stdin: bool,
    as_json: bool,
) -> int:
    """Start a command that runs on, and print its id. Returns the exit code for this command."""
    if with_stdin:
        terminal.misused("a detached command has no stdin of ours; give --detach or --stdin")

    async def started(service: client.Client) -> str:
        ctid = await client.names.resolve(service, name)
        exec_id = (await client.detached.start(service, ctid, wish)).exec_id
        if not _EXEC_ID.fullmatch(exec_id):
            raise client.UnexpectedAnswer("the service gave the command no usable id")
        return exec_id

    caller = credentials.holder(url, token)
    exec_id = calls.run(caller, started, code_of=lambda _: guest_work.NOT_RUN)
    if as_json:
        terminal.show_facts({"execId": exec_id})
        return 0
    terminal.show_columns([(exec_id,)])
    terminal.say(f"next: `pve402 logs {client.plain(name, 64)} {exec_id} --follow`")
    return 0


def show_all(url: str, token: str | None, name: str, *, as_json: bool) -> None:
    """Show a container's commands."""

    async def listed(service: client.Client) -> list[schemas.ExecItem]:
        return await client.detached.every(service, await client.names.resolve(service, name))

    found = calls.run(credentials.holder(url, token), listed)
    if as_json:
        terminal.show_list(found)
    elif found:
        terminal.show_columns([_HEADS, *map(_row, found)])
    else:
        terminal.say("no command runs in this container, and none has ended recently")


def show(url: str, token: str | None, name: str, exec_id: str, *, as_json: bool) -> None:
    """Show a command's output so far."""
    _check(exec_id)

    async def shown(service: client.Client) -> None:
        ctid = await client.names.resolve(service, name)
        found = await client.detached.show(service, ctid, exec_id)
        if as_json:
            terminal.show(found, as_json=True)
            return
        for descriptor, text in ((1, found.stdout), (2, found.stderr)):
            data = base64.b64decode(text) if found.encoding == "base64" else text.encode()
            await terminal.write(descriptor, data)
        if found.truncated:
            terminal.say("part of the output is missing: the service had no room for it")

    calls.run(credentials.holder(url, token), shown)


def follow(url: str, token: str | None, name: str, exec_id: str) -> int:
    """Show a command's output until it ends. Returns its exit code, as `exec` does."""
    _check(exec_id)

    async def followed(service: client.Client) -> client.commands.Ending:
        ctid = await client.names.resolve(service, name)
        async with aclosing(client.detached.follow(service, ctid, exec_id)) as events:
            return await guest_work.shown(events)

    caller = credentials.holder(url, token)
    ending = calls.run(caller, followed, code_of=lambda _: guest_work.NOT_RUN)
    return guest_work.code_of(ending)


def kill(url: str, token: str | None, name: str, exec_id: str, signal: str) -> None:
    """Send a signal to a command."""
    _check(exec_id)

    async def sent(service: client.Client) -> None:
        ctid = await client.names.resolve(service, name)
        await client.detached.signal(service, ctid, exec_id, signal)

    calls.run(credentials.holder(url, token), sent)


def _check(exec_id: str) -> None:
    if not _EXEC_ID.fullmatch(exec_id):
        terminal.misused(
            f"{client.plain(exec_id, 80)!r} is not the id of a command; see `pve402 ps`"
        )


def _row(item: schemas.ExecItem) -> tuple[str, ...]:
    code = "" if item.exit_code is None else str(item.exit_code)
    if item.timed_out:
        code = "timed out"
    started = terminal.moment(item.started_at)
    output = f"{item.stdout_bytes + item.stderr_bytes} bytes"
    return (item.exec_id, item.state, code, started, output)
