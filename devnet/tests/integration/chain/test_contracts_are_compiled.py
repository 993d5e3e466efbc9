"""The contracts that ship are what their sources compile to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]


def test_the_committed_code_is_what_the_sources_compile_to() -> None:
    command = [sys.executable, str(ROOT / "scripts/build-contracts"), "--check"]

    checked = subprocess.run(command, capture_output=True, text=True, check=False)

    assert checked.returncode == 0, checked.stderr
