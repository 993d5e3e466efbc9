"""`make demo` from its start to its end, which takes a lease of a minute."""

import contextlib
import os
import re
import signal
import time
from pathlib import Path

import psutil
import pytest
from tests.support import processes, project

DEMO = str(project.ROOT / "scripts" / "demo")


class Demos:
    """Starts demos whose files are all in one folder."""

    def __init__(self, folder: Path) -> None:
        self.files = folder / "files"
        self.files.mkdir()
        self._folder = folder

    def __call__(self, words: str) -> processes.Process:
        """Start one, and wait until it has said these words."""
        process = processes.start(
            self._folder,
            program=[DEMO],
            own_session=True,
            TMPDIR=str(self.files),
            PYTHONUNBUFFERED="1",
        )
        processes.wait_until(lambda: words in process.said(), process, words)
        return process


@pytest.fixture
def demo(tmp_path: Path) -> Demos:
    """Starts demos."""
    return Demos(tmp_path)


@pytest.mark.timeout(300)
def test_the_demo_walks_a_lease_from_quote_to_expiry(tmp_path):
    process = processes.start(tmp_path, program=[DEMO], COLUMNS="200")
    try:
        code = process.popen.wait(240)
    finally:
        process.end()

    said = process.said()
    assert code == 0, said
    for words in ("HTTP 402", "is running", "both leases are listed", "is stopped", "earned"):
        assert words in said
    assert said.count("in 0x") == 3


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("starting the devnet", signal.SIGHUP),
        ("starting the server", signal.SIGQUIT),
        ("What does it cost?", signal.SIGTERM),
        ("Lease 'brief'", signal.SIGINT),
    ],
)
def test_an_interrupted_demo_ends_the_server_first_and_leaves_nothing(demo, words, number):
    process = demo(words)
    children = psutil.Process(process.popen.pid).children(recursive=True)

    for _ in range(2):  # as Ctrl-C in a terminal does, pressed twice
        os.killpg(process.popen.pid, number)
        time.sleep(0.2)
    for devnet in _called("devnet", children):
        devnet.wait(60)
        assert _called("serve", children) == []

    # the second may meet an interpreter that has nothing left to do, and that dies of it
    assert process.popen.wait(60) in (130, -number)
    assert "interrupted" in process.said()
    assert "Traceback" not in process.said()
    assert _gone(children) == []
    assert list(demo.files.iterdir()) == []


def test_a_demo_that_is_killed_takes_its_processes_along(demo):
    process = demo("starting the server")
    children = psutil.Process(process.popen.pid).children(recursive=True)
    assert _called("devnet", children)

    process.popen.kill()
    process.popen.wait(60)

    assert _gone(children) == []


@pytest.mark.parametrize("delay_seconds", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_has_not_begun_ends_without_a_word(demo, delay_seconds, number):
    process = demo("")
    # before it, an interpreter says itself that it was interrupted, whatever it was to run
    processes.wait_until(lambda: _catches_sigterm(process.popen.pid), process, "its own end")
    time.sleep(delay_seconds)

    os.killpg(process.popen.pid, number)

    assert process.popen.wait(60) in (130, -number)
    assert "Traceback" not in process.said()
    assert list(demo.files.iterdir()) == []


def _catches_sigterm(pid: int) -> bool:
    """Whether a process has a handler for SIGTERM, which Python sets only when told to."""
    status = Path(f"/proc/{pid}/status").read_text()
    (caught,) = re.findall(r"^SigCgt:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return bool(int(caught, 16) >> signal.SIGTERM - 1 & 1)


def _called(command: str, children: list[psutil.Process]) -> list[psutil.Process]:
    """The living processes that run this command of ours."""
    found = []
    for child in children:
        with contextlib.suppress(psutil.Error):
            if command in child.cmdline():
                found.append(child)
    return found


def _gone(children: list[psutil.Process]) -> list[psutil.Process]:
    """The processes that are still alive after a while."""
    give_up_at = time.monotonic() + 20
    while (left := [child for child in children if child.is_running()]) and (
        time.monotonic() < give_up_at
    ):
        time.sleep(0.1)
    return left
