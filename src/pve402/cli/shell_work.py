"""The work of `shell` and `exec --tty`: this terminal becomes one of the container's."""

import asyncio
import contextlib
import os
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from typing import Any

from pve402 import client, schemas
from pve402.cli import calls, credentials, exit_codes, guest_work, terminal


def shell(url: str, token: str | None, name: str) -> int:
    """Run an interactive shell in the container. Returns its exit code."""
    if not sys.stdin.isatty() or not sys.stdout.isatty():
        terminal.misused("shell needs a terminal; without one, use exec")
    code = calls.run(credentials.holder(url, token), lambda service: _run(service, name))
    return exit_codes.FAILED if code is None else code


def program(
    url: str, token: str | None, name: str, wish: schemas.ExecRequest, seconds: float | None
) -> int:
    """Run a program on a terminal in the container. Returns its exit code for this command."""
    if not sys.stdin.isatty() or not sys.stdout.isatty():
        terminal.misused("--tty needs a terminal; leave it out to read or pipe the output")
    if wish.user not in {"", "root"}:
        terminal.misused("--tty and --user do not go together: run su in the terminal")

    async def run(service: client.Client) -> int | None:
        try:
            async with asyncio.timeout(seconds):
                return await _run(service, name, argv=wish.argv, cwd=wish.cwd, env=wish.env)
        except TimeoutError:
            terminal.say(f"ended after {seconds:g} s")
            return guest_work.OUT_OF_TIME

    failed = guest_work.NOT_RUN
    code = calls.run(credentials.holder(url, token), run, code_of=lambda _: failed)
    return failed if code is None else code


async def _run(
    service: client.Client, name: str, *, env: dict[str, str] | None = None, **program: Any
) -> int | None:
    size = os.get_terminal_size()
    wish = schemas.StreamSocketRequest(
        service="shell",
        columns=_bounded(size.columns),
        rows=_bounded(size.lines),
        env={"TERM": os.environ.get("TERM") or "xterm", **(env or {})},
        **program,
    )
    ctid = await client.names.resolve(service, name)
    async with client.streams.opened(service, ctid, wish) as stream:
        return await _attached(stream)


async def _attached(stream: client.streams.Stream) -> int | None:
    """Type into the shell and show its output until it ends."""
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    def resize() -> None:
        size = os.get_terminal_size()
        told = stream.resize(_bounded(size.columns), _bounded(size.lines))
        tasks.add(asyncio.create_task(told))

    typing = asyncio.create_task(_type(stream))
    tasks.add(typing)
    loop.add_signal_handler(signal.SIGWINCH, resize)
    try:
        with _raw():
            async with contextlib.aclosing(stream.output()) as output:
                async for piece in output:
                    await terminal.write(1, piece.data)
    finally:
        loop.remove_signal_handler(signal.SIGWINCH)
        typing.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return stream.exit_code


async def _type(stream: client.streams.Stream) -> None:
    async for data in terminal.stdin():
        await stream.write(data)


@contextlib.contextmanager
def _raw() -> Iterator[None]:
    """Pass every key on during the block, Ctrl-C too."""
    before = termios.tcgetattr(0)
    tty.setraw(0, termios.TCSADRAIN)  # what is typed ahead stays
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def _bounded(count: int) -> int:
    return min(max(count, 1), 1000)
