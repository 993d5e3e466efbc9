"""`make demo` from its start to its end, which takes a lease of a minute."""

import contextlib
import os
import signal
import time

import psutil
import pytest
from tests.support import processes, project

DEMO = str(project.ROOT / "scripts" / "demo")


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
    "words", ["starting the devnet", "starting the server", "What does it cost?", "Lease 'brief'"]
)
def test_an_interrupted_demo_ends_the_server_first_and_leaves_nothing(tmp_path, words):
    files = tmp_path / "files"
    files.mkdir()
    process = processes.start(
        tmp_path, program=[DEMO], own_session=True, TMPDIR=str(files), PYTHONUNBUFFERED="1"
    )
    processes.wait_until(lambda: words in process.said(), process, words)
    demo = psutil.Process(process.popen.pid)
    children = demo.children(recursive=True)

    for _ in range(2):  # as Ctrl-C in a terminal does, pressed twice
        os.killpg(demo.pid, signal.SIGINT)
        time.sleep(0.2)
    for devnet in _called("devnet", children):
        devnet.wait(60)
        assert _called("serve", children) == []

    # the second may meet an interpreter that has nothing left to do, and that dies of it
    assert process.popen.wait(60) in (130, -signal.SIGINT)
    assert "interrupted" in process.said()
    assert _gone(children) == []
    assert list(files.iterdir()) == []


def _called(command: str, children: list[psutil.Process]) -> list[psutil.Process]:
    """Those that live and are this command of ours."""
    found = []
    for child in children:
        with contextlib.suppress(psutil.Error):
            if command in child.cmdline():
                found.append(child)
    return found


def _gone(children: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still live after a while."""
    give_up_at = time.monotonic() + 20
    while (left := [child for child in children if child.is_running()]) and (
        time.monotonic() < give_up_at
    ):
        time.sleep(0.1)
    return left
