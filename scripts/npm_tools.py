"""Install the programs from npm that tests meet: a real EVM node and the JavaScript clients.

They stay in tests/npm/node_modules, exactly as its lock file pins them. Install scripts of the
packages are not run.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path

from system_packages import SetupError

FOLDER = Path("tests/npm")
STAMP = FOLDER / "node_modules" / ".pve402-setup"
OPTIONS = ("--ignore-scripts", "--no-audit", "--no-fund")


def provide(say: Callable[[str], None]) -> None:
    """Run `npm ci` when the lock file changed since the last time; needs a lock file."""
    lock = FOLDER / "package-lock.json"
    if not lock.exists():
        return
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    if STAMP.exists() and STAMP.read_text() == digest:
        return
    say(f"{FOLDER}: the packages of {lock}")
    done = subprocess.run(
        ["npm", "ci", *OPTIONS],
        cwd=FOLDER,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SetupError(f"npm ci failed in {FOLDER}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    STAMP.write_text(digest)
