"""fakepve with its scenarios, in a process and an environment of its own.

See fakepve_scenarios.py for why that is a program of its own.
"""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import certificates, programs, project
from tests.support.certificates import Certificate

PYTHON = project.ROOT / ".venv-fakepve/bin/python"
PROGRAM = Path(__file__).with_name("fakepve_scenarios.py")
NODE = "pve1"
USER = "root@pam"
_PASSWORD = "loopback-only"
_LIMIT_SECONDS = 20
_BANNER = "fakepve listening on "
_ANSWER = "answer "


class Refused(Exception):
    """fakepve knows no such scenario."""


@dataclass(kw_only=True)
class Scenarios:
    """A running fake that does what it is told."""

    url: str
    certificate: Certificate
    user: str = USER
    password: str = field(default=_PASSWORD, repr=False)
    process: subprocess.Popen[str] = field(repr=False)
    lines: queue.SimpleQueue[str] = field(repr=False)

    def __call__(self, name: str, *arguments: Any, **keywords: Any) -> Any:
        """Bring a scenario about, by its name in fakepve."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([name, arguments, keywords]) + "\n")
        self.process.stdin.flush()
        answer = json.loads(_line(self.lines, _ANSWER))
        if isinstance(answer, dict) and "error" in answer:
            raise Refused(answer["error"])
        return answer

    def fail(self, method: str, path: str, **how: Any) -> None:
        """Have calls of a path fail."""
        self("fail", method, path, **how)


@contextlib.contextmanager
def running(
    directory: Path, *, guests: Sequence[dict[str, Any]] = (), seconds_per_second: float = 0.02
) -> Iterator[Scenarios]:
    """Run it on a free port of loopback; `guests` are arguments of its `add_ct`."""
    certificate = certificates.make(directory)
    command = [
        *(PYTHON, "-P", PROGRAM, json.dumps(list(guests))),
        *(certificate.certificate, certificate.key, USER, _PASSWORD, str(seconds_per_second)),
    ]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with programs.started(command, text=True, **pipes) as process:
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        reader = threading.Thread(target=_read, args=(process, lines), daemon=True)
        reader.start()
        try:
            url = _line(lines, _BANNER)
            yield Scenarios(url=url, certificate=certificate, process=process, lines=lines)
        finally:
            programs.stop(process)
            reader.join(timeout=10)


def _read(process: subprocess.Popen[str], lines: queue.SimpleQueue[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line.rstrip("\n"))


def _line(lines: queue.SimpleQueue[str], start: str) -> str:
    """The rest of the next line that starts so; others are warnings and the like."""
    passed = []
    while True:
        try:
            line = lines.get(timeout=_LIMIT_SECONDS)
        except queue.Empty:
            raise RuntimeError("fakepve said only: " + "\n".join(passed)) from None
        if line.startswith(start):
            return line.removeprefix(start)
        passed.append(line)
