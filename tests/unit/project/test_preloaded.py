"""Programs that tests fork are what `python -m` starts, and end with the tests."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.support import preloaded

TELLS = """
import json, os, sys
told = {"words": sys.argv[1:], "names": sorted(os.environ), "folder": os.getcwd()}
told |= {"name": __name__, "leads": os.getsid(0) == os.getpid(), "read": sys.stdin.read()}
told |= {"files": len(os.listdir("/proc/self/fd")) - 1}
print(json.dumps(told))
print("said", file=sys.stderr)
sys.exit(3)
"""
WAITS = """
import pathlib, time
pathlib.Path("waits").touch()
time.sleep(600)
"""


@pytest.fixture(scope="module", autouse=True)
def _forks() -> Iterator[None]:
    with preloaded.forking("json"):
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tells.py").write_text(TELLS)
    (tmp_path / "waits.py").write_text(WAITS)
    return tmp_path


def test_a_program_has_what_it_was_given_and_nothing_else(folder: Path) -> None:
    ended = preloaded.run("tells", "-x", "y z", environment={"A": "1"}, folder=folder, timeout=60)

    assert (ended.returncode, ended.stderr) == (3, "said\n")
    assert json.loads(ended.stdout) == {
        "words": ["-x", "y z"],
        "names": ["A"],
        "folder": str(folder),
        "name": "__main__",
        "leads": False,
        "read": "",
        "files": 3,
    }


def waiting(folder: Path) -> preloaded.Child:
    with (folder / "log").open("wb") as log:
        child = preloaded.start(
            "waits", environment={}, folder=folder, stdout=log, stderr=log, own_session=True
        )
    while not (folder / "waits").exists():
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.01)
    return child


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_signal_ends_it_as_any_other(folder: Path, number: signal.Signals) -> None:
    child = waiting(folder)

    child.send_signal(number)

    assert (child.wait(60), child.poll(), child.wait(60)) == (-number, -number, -number)
    assert not psutil.pid_exists(child.pid)


def test_it_ends_with_who_may_order_programs(folder: Path) -> None:
    with preloaded.forking("json"):
        child = waiting(folder)

    assert child.wait(60) == -signal.SIGKILL
    psutil.wait_procs([psutil.Process(child.pid)] if psutil.pid_exists(child.pid) else [], 60)
    assert not psutil.pid_exists(child.pid)


def test_what_an_interpreter_reads_at_its_start_is_not_forked() -> None:
    assert preloaded.can_run({"DATABASE_URL": "x"})
    assert not preloaded.can_run({"PYTHONUNBUFFERED": "other"})
    assert not preloaded.can_run({"LC_ALL": "C"})
