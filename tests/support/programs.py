"""Running programs, each in a process of its own, until a test is done with them."""

import contextlib
import os
import queue
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

_START_SECONDS = 60
_STOP_SECONDS = 15


@contextlib.contextmanager
def started(command: Sequence[str | Path], **how: Any) -> Iterator[subprocess.Popen[Any]]:
    """Run `command` during the block; `how` is as for Popen.

    A program that still runs at the end is ended by SIGTERM, and by SIGKILL where that does not
    help. Popen's own block would wait for it, for ever where a test has failed.
    """
    with subprocess.Popen(command, **how) as process:
        try:
            yield process
        finally:
            stop(process)


@contextlib.contextmanager
def running(
    command: Sequence[str | Path], *, is_ready: Callable[[list[str]], bool]
) -> Iterator[list[str]]:
    """Run `command` and give the lines it printed until `is_ready` was true of them.

    It is ended as by `started`.
    """
    at_once = {**os.environ, "PYTHONUNBUFFERED": "1"}  # else a pipe gets lines by the thousand
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=at_once
    )
    arriving: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    reader = threading.Thread(target=_read, args=(process, arriving), daemon=True)
    reader.start()
    try:
        yield _first_lines(arriving, is_ready)
    finally:
        stop(process)
        reader.join(timeout=_STOP_SECONDS)


def _read(process: subprocess.Popen[str], arriving: queue.SimpleQueue[str | None]) -> None:
    """Read all the program says, so that it can go on."""
    assert process.stdout is not None
    with process.stdout as output:
        for line in output:
            arriving.put(line.rstrip("\n"))
    arriving.put(None)


def _first_lines(
    arriving: queue.SimpleQueue[str | None], is_ready: Callable[[list[str]], bool]
) -> list[str]:
    lines: list[str] = []
    while not is_ready(lines):
        line = arriving.get(timeout=_START_SECONDS)
        if line is None:
            raise RuntimeError("the program ended: " + "\n".join(lines))
        lines.append(line)
    return lines


def stop(process: subprocess.Popen[Any]) -> None:
    """End a program that still runs, as `started` does."""
    process.terminate()
    try:
        process.wait(timeout=_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
