"""Runs a command's calls, and turns failures and signals into exit codes."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import typer

from pve402 import client
from pve402.cli import exit_codes, hints, terminal

Result = TypeVar("Result")
Act = Callable[[client.Client], Awaitable[Result]]

_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(Exception):
    """A signal ended the command."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.strsignal(number))
        self.number = number


def run(
    caller: client.Client,
    act: Act[Result],
    *,
    code_of: Callable[[client.ClientError], int] = exit_codes.of,
) -> Result:
    """Run calls, and report a failure as a sentence and an exit code."""
    try:
        return asyncio.run(_until_stopped(caller, act))
    except client.ClientError as error:
        terminal.say(error)
        if hint := hints.of(error):
            terminal.say(hint)
        raise typer.Exit(code_of(error)) from None
    except Stopped as stopped:
        raise typer.Exit(exit_codes.SIGNALLED + stopped.number) from None
    except BrokenPipeError:
        _write_nothing_more()
        raise typer.Exit(exit_codes.SIGNALLED + signal.SIGPIPE) from None
    except OSError as error:
        if error.filename is None:
            _write_nothing_more()
        terminal.say(f"{error.filename or ''}: {error.strerror}".removeprefix(": "))
        raise typer.Exit(exit_codes.FAILED) from None


def _write_nothing_more() -> None:
    """Drop unwritten output; otherwise Python retries at exit, and exits with 120."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


async def _until_stopped(caller: client.Client, act: Act[Result]) -> Result:
    """Cancel the calls on the first signal so that they clean up; exit at once on a second."""
    stopped: list[int] = []
    calls = asyncio.current_task()

    def stop(number: int) -> None:
        if stopped or calls is None:
            os._exit(exit_codes.SIGNALLED + number)
        stopped.append(number)
        calls.cancel()

    for number in _ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup and background jobs ignore it
            asyncio.get_running_loop().add_signal_handler(number, stop, number)
    try:
        async with caller:
            return await act(caller)
    except asyncio.CancelledError:
        if not stopped:
            raise
        raise Stopped(stopped[0]) from None
