"""The scripts that keep a detached program, run by this machine's own shell."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pve402.hub import guest_scripts

EXEC_ID = "e" + "0" * 24
CAT = "echo $$ >&8;exec 8>&-;exec cat"


class Started:
    """A program whose start cannot be told yet: nobody reads what is told."""

    def __init__(self, base: Path) -> None:
        self.base, self.directory = base, base / EXEC_ID
        self._told, told = os.pipe()
        os.set_blocking(told, False)
        self._full = 0
        while (written := _write(told, b"x" * 4096)) > 0:
            self._full += written
        os.set_blocking(told, True)
        self.process = subprocess.Popen(
            self._command("detach", EXEC_ID, "100000", "0", "9", "open", CAT, "sh"),
            stdout=told,
            start_new_session=True,
        )
        os.close(told)

    def let_start(self) -> bytes:
        """Read what is told."""
        with os.fdopen(self._told, "rb") as told:
            return told.read()[self._full :]

    def ask(self, what: str) -> subprocess.Popen[bytes]:
        """Begin to do something to it."""
        return subprocess.Popen(self._command("detached", what, EXEC_ID), stdin=subprocess.PIPE)

    def write(self, data: bytes) -> int:
        """Write to its stdin; the exit code."""
        asked = self.ask("stdin")
        asked.communicate(data, timeout=20)
        return asked.returncode

    def _command(self, name: str, *arguments: str) -> list[str]:
        return ["sh", "-c", guest_scripts.source(name), "sh", str(self.base), *arguments]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    made = Started(tmp_path)
    _until((made.directory / "keeper").exists)
    yield made
    with made.ask("delete") as deleting:
        deleting.wait(20)
    made.process.wait(20)


def test_stdin_is_held_before_the_start_is_told(started: Started) -> None:
    assert started.write(b"a\0b") == 0
    closing = started.ask("close")
    told = started.let_start()
    closing.communicate(timeout=20)

    _until((started.directory / "exit").exists)
    started.process.wait(20)

    assert (told, closing.returncode) == (b"ok\n", 0)
    assert (started.directory / "out").read_bytes() == b"a\0b"
    assert (started.directory / "exit").read_text().split()[0] == "0"


def test_a_program_that_ended_takes_no_stdin(started: Started) -> None:
    started.let_start()
    _until(lambda: (started.directory / "group").read_text() != "")
    with started.ask("close") as closing:
        closing.wait(20)
    started.process.wait(20)

    assert started.write(b"late") == 5


def _write(pipe: int, data: bytes) -> int:
    try:
        return os.write(pipe, data)
    except BlockingIOError:
        return 0


def _until(true: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 20
    while not true():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)
