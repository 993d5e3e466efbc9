"""fakepve, an independent fake of Proxmox VE, in a process and an environment of its own.

It is under the AGPL: it is run here, and nothing of it is imported or copied.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import certificates, programs
from tests.support.certificates import Certificate

PROGRAM = Path(__file__).resolve().parents[2] / ".venv-fakepve" / "bin" / "fakepve"
NODE = "pve1"
USER = "root@pam"
_PASSWORD = "loopback-only"
_BANNER = "fakepve listening on "


@dataclass(frozen=True, kw_only=True)
class FakePve:
    """A running fake: where it listens and how to log in."""

    url: str
    certificate: Certificate
    user: str = USER
    password: str = field(default=_PASSWORD, repr=False)


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
    command = [
        *(PROGRAM, inventory, "--host", "127.0.0.1", "--port", "0", "--user", USER),
        *("--password", _PASSWORD, "--time-scale", str(seconds_per_second)),
        *("--cert", certificate.certificate, "--key", certificate.key),
    ]
    with programs.running(command, is_ready=_is_listening) as lines:
        yield FakePve(url=lines[-1].removeprefix(_BANNER), certificate=certificate)


def _is_listening(lines: list[str]) -> bool:
    return bool(lines) and lines[-1].startswith(_BANNER)
