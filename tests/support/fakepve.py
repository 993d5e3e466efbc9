"""fakepve, an independent fake of Proxmox VE, in a process and an environment of its own.

It is under the AGPL: it is run here, and nothing of it is imported or copied.
"""

import contextlib
import json
import queue
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import certificates
from tests.support.certificates import Certificate

PROGRAM = Path(__file__).resolve().parents[2] / ".venv-fakepve" / "bin" / "fakepve"
NODE = "pve1"
USER = "root@pam"
_START_SECONDS = 30
_STOP_SECONDS = 10
_BANNER = "fakepve listening on "


@dataclass(frozen=True, kw_only=True)
class FakePve:
    """A running fake: where it listens and how to log in."""

    url: str
    certificate: Certificate
    user: str = USER
    password: str = field(repr=False)


@contextlib.contextmanager
def running(
    directory: Path, *, guests: Sequence[dict[str, Any]] = (), seconds_per_second: float = 0.02
) -> Iterator[FakePve]:
    """A fake on a free loopback port, stopped at the end.

    `guests` are those that exist from the start; `seconds_per_second` says how long its
    second takes, 0 finishes every task at once.
    """
    if not PROGRAM.exists():
        raise RuntimeError(f"{PROGRAM} is missing: run make setup")
    certificate = certificates.make(directory)
    inventory = directory / "guests.json"
    inventory.write_text(json.dumps({"guests": list(guests)}))
    password = "loopback-only"
    process = subprocess.Popen(
        [
            *(PROGRAM, inventory, "--host", "127.0.0.1", "--port", "0", "--user", USER),
            *("--password", password, "--time-scale", str(seconds_per_second)),
            *("--cert", certificate.certificate, "--key", certificate.key),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield FakePve(url=_wait_for_url(process), certificate=certificate, password=password)
    finally:
        _stop(process)


def _wait_for_url(process: subprocess.Popen[str]) -> str:
    """The address in the fake's first line; the rest of its output is read and dropped."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    output = process.stdout
    assert output is not None

    def read() -> None:
        for line in output:
            lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    seen = ""
    while True:
        line = lines.get(timeout=_START_SECONDS)
        if line.startswith(_BANNER):
            return line.removeprefix(_BANNER).strip()
        seen += line
        if not line:
            raise RuntimeError(f"fakepve did not start: {seen}")


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(timeout=_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
