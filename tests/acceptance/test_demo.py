"""`make demo` from its start to its end, which takes a lease of a minute."""

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


def test_an_interrupted_demo_leaves_no_process_behind(tmp_path):
    process = processes.start(tmp_path, program=[DEMO])
    own = psutil.Process(process.popen.pid)
    processes.wait_until(lambda: "starting the server" in process.said(), process, "starting")
    children = own.children(recursive=True)

    code = process.end(signal.SIGTERM)

    assert code == 130
    assert children
    assert _gone(children) == []


def _gone(children: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still live after a while."""
    give_up_at = time.monotonic() + 20
    while (left := [child for child in children if child.is_running()]) and (
        time.monotonic() < give_up_at
    ):
        time.sleep(0.1)
    return left
