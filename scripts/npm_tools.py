"""Install npm packages for tests: programs to run, and the web pages' libraries to compare.

The programs (a real EVM node, the JavaScript clients) stay in tests/npm/node_modules; what the
pages are made with stays in web/npm/node_modules, where a test holds the committed copies to it.
Both match their lock files exactly. The packages' install scripts are not run.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

from system_packages import SetupError

FOLDERS = (Path("tests/npm"), Path("web/npm"))
#: E2B's SDK and what its suites need, for `make conformance` alone.
E2B = Path("tests/npm-e2b")
OPTIONS = ("--ignore-scripts", "--no-audit", "--no-fund")


def provide(folders: Iterable[Path], say: Callable[[str], None]) -> None:
    """Run `npm ci` in each folder whose lock file changed since the last time."""
    for folder in folders:
        _provide(folder, say)


def _provide(folder: Path, say: Callable[[str], None]) -> None:
    lock = folder / "package-lock.json"
    if not lock.exists():
        return
    stamp = folder / "node_modules" / ".pve402-setup"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    say(f"{folder}: the packages of {lock}")
    done = subprocess.run(
        ["npm", "ci", *OPTIONS],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SetupError(f"npm ci failed in {folder}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    stamp.write_text(digest)
