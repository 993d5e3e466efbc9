"""Programs of ours that start at once: forked by a process that has read their modules before.

Reading them takes a second or two of processor time, more than most tests do with them. A child has
its own arguments, environment, folder and streams, as one that `python -m` starts. That a bare
interpreter can start each program is shown by the tests that start one.

The process that forks ends with the session, however that ends, and so do programs that still run.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import pytest
from tests.support import project, recursion

_NOT_READ = ("__main__", "migrations")
#: What an interpreter reads before any module, when a fork comes too late.
_READ_AT_START = ("PYTHON", "LC_", "LANG")
_LONGEST_ORDER = 2**18
_STREAMS = 3
_MOST_HANDLES = 2**16

_control: socket.socket | None = None  # where orders are sent


class Child:
    """A program that runs, or ran; the part of `subprocess.Popen` that tests use."""

    def __init__(self, pid: int, report: socket.socket, words: list[str]) -> None:
        self.pid = pid
        self.args = words
        self.returncode: int | None = None
        self._report = report

    def poll(self) -> int | None:
        """Its exit code, or -signal; None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, for so many seconds at most: subprocess.TimeoutExpired."""
        if self.returncode is None:
            self._report.settimeout(timeout)
            try:
                said = self._report.recv(16)
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(self.args, timeout or 0) from None
            self.returncode = int(said) if said else -signal.SIGKILL  # with all others
            self._report.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


def can_run(environment: Mapping[str, str]) -> bool:
    """Whether programs are forked here, and nothing in an environment would come too late."""
    return _control is not None and not any(
        name.startswith(_READ_AT_START) and os.environ.get(name) != value
        for name, value in environment.items()
    )


def start(
    module: str,
    *arguments: str,
    environment: Mapping[str, str],
    folder: Path,
    stdout: IO[bytes],
    stderr: IO[bytes],
    own_session: bool = False,
) -> Child:
    """Start a module as a program, with nothing to read."""
    assert _control is not None
    words = [module, *arguments]
    order = {
        "words": words,
        "environment": dict(environment),
        "folder": str(folder),
        "own_session": own_session,
    }
    ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
    with theirs, Path(os.devnull).open("rb") as nothing:
        streams = [each.fileno() for each in (nothing, stdout, stderr, theirs)]
        socket.send_fds(_control, [json.dumps(order).encode()], streams)
    pid = ours.recv(16)
    if not pid:
        raise RuntimeError("the process that forks has ended")
    return Child(int(pid), ours, words)


def run(
    module: str,
    *arguments: str,
    environment: Mapping[str, str],
    folder: Path | None = None,
    timeout: float,
) -> subprocess.CompletedProcess[str]:
    """Run a module as a program to its end, and keep what it prints."""
    with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as said:
        child = start(
            module,
            *arguments,
            environment=environment,
            folder=folder or Path.cwd(),
            stdout=printed,
            stderr=said,
        )
        try:
            code = child.wait(timeout)
        finally:
            child.kill()
        texts = [_text(each) for each in (printed, said)]
    return subprocess.CompletedProcess(child.args, code, *texts)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


@pytest.fixture(scope="session", autouse=True)
def forks() -> Iterator[None]:
    """Let programs be forked; import it into a conftest.py."""
    with forking("pve402", "pve402_devnet", "eth_account"):
        yield


@pytest.fixture(scope="session", autouse=True)
def tenant_forks() -> Iterator[None]:
    """The same where only tenants' commands run."""
    with forking("pve402.cli", "pve402.client", "eth_account"):
        yield


@contextlib.contextmanager
def forking(*packages: str) -> Iterator[None]:
    """Have these packages read: of ours every module, for many are read only when needed."""
    global _control  # noqa: PLW0603 -- one at a time
    before, (_control, theirs) = _control, socket.socketpair(type=socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno()), *packages],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd=project.ROOT,
            pass_fds=[theirs.fileno()],
        )
    try:
        yield
    finally:
        _control.close()
        _control = before
        process.wait()


def _read_modules(packages: Sequence[str]) -> None:
    for package in packages:
        read = importlib.import_module(package)
        ours = read.__path__ if package.startswith("pve402") else ()
        for found in pkgutil.walk_packages(ours, f"{package}."):
            if not any(part in _NOT_READ for part in found.name.split(".")):
                importlib.import_module(found.name)
    gc.freeze()


class _Forks:
    """The process that forks: who runs, and who waits for which end."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._running: dict[int, tuple[int, socket.socket]] = {}
        self._waiting = selectors.DefaultSelector()
        self._waiting.register(control, selectors.EVENT_READ)

    def next_program(self) -> list[str] | None:
        """Return, in a child, what it is to run; in this process None, once nobody can order."""
        while True:
            for key, _ in self._waiting.select():
                if key.fileobj is not self._control:
                    self._report_end(key.fd)
                    continue
                said, handles, _, _ = socket.recv_fds(self._control, _LONGEST_ORDER, _STREAMS + 1)
                if not said:
                    return self._end_all()
                if words := self._fork(json.loads(said), handles):
                    return words

    def _fork(self, order: dict[str, Any], handles: list[int]) -> list[str] | None:
        *streams, report = handles
        pid = os.fork()
        if pid == 0:
            self._waiting.close()
            for ours in (self._control, *(reports for _, reports in self._running.values())):
                ours.detach()
            _become(order, streams)
            words: list[str] = order["words"]
            return words
        for handle in streams:
            os.close(handle)
        reports, end = socket.socket(fileno=report), os.pidfd_open(pid)
        reports.send(str(pid).encode())
        self._running[end] = pid, reports
        self._waiting.register(end, selectors.EVENT_READ)
        return None

    def _report_end(self, end: int) -> None:
        """Bury a child, and tell whoever started it."""
        self._waiting.unregister(end)
        pid, reports = self._running.pop(end)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with reports, contextlib.suppress(BrokenPipeError):  # nobody asks any more
            reports.send(str(code).encode())
        os.close(end)

    def _end_all(self) -> None:
        for pid, _ in self._running.values():
            os.kill(pid, signal.SIGKILL)


def _become(order: dict[str, Any], streams: list[int]) -> None:
    """Take over what a program of its own would have from its start."""
    if order["own_session"]:
        os.setsid()
    for number, handle in enumerate(streams):
        os.dup2(handle, number)
    os.closerange(_STREAMS, _MOST_HANDLES)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.path[0] = order["folder"]
    gc.enable()
    if order["words"][1:2] == ["serve"]:  # a server reads nothing that raises it
        sys.setrecursionlimit(recursion.RECURSION_LIMIT)


def main(handle: int, *packages: str) -> None:
    """Fork for every order, and run in the child what it names."""
    gc.disable()
    _read_modules(packages)
    words = _Forks(socket.socket(fileno=handle)).next_program()
    if words is not None:
        sys.argv[:] = words
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
