"""What runs before a change lands: the checks, in the shell of an ordinary user."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.support import project

KEPT = {
    "HOME": "/home/somebody's home",
    "https_proxy": "http://proxy:3128",
    "NO_PROXY": "localhost,127.0.0.1",
    "PIP_INDEX_URL": "http://mirror/a b/'c'",
    "npm_config_registry": "http://mirror/npm",
    "SSL_CERT_FILE": "/etc/own.pem",
}
DROPPED = {
    "PYTHONUNBUFFERED": "1",
    "LANG": "C.UTF-8",
    "TERM": "xterm",
    "DATABASE_URL": "sqlite:////somewhere",
    "A_PIP_LIKE": "x",
    "LINES_OF_TEXT": "one\nhttp_proxy=two; touch hacked\nthree",
}


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder whose `make` tells how it was called and what it sees."""
    make = tmp_path / "make"
    make.write_text('#!/bin/sh\necho "make $*"\nexec env -0\n')
    make.chmod(0o755)
    return tmp_path


def test_the_checks_see_only_how_registries_are_reached(programs: Path) -> None:
    path = f"{programs}:/usr/local/bin:/usr/bin:/bin"

    done = subprocess.run(
        [project.ROOT / ".ci" / "run"],
        env={**KEPT, **DROPPED, "PATH": path},
        cwd=programs,
        capture_output=True,
        text=True,
        check=True,
    )

    called, _, rest = done.stdout.partition("\n")
    seen = dict(line.split("=", 1) for line in rest.rstrip("\0").split("\0"))
    of_the_shell = {"PWD", "OLDPWD", "SHLVL", "_"}
    assert called == "make test"
    own = {"PATH": path, "NOTHING_SKIPPED": "1"}
    assert {name: seen[name] for name in set(seen) - of_the_shell} == {**KEPT, **own}
    assert not (programs / "hacked").exists()


def test_what_a_shell_says_is_no_setting_of_the_tests() -> None:
    tests = [
        "tests/unit/config/test_settings.py::test_the_required_variables_are_enough",
        "tests/unit/cli/test_words.py::test_help_is_ours_before_the_first_word",
    ]
    settings = {"DATABASE_URL": "mysql://x", "NETWORK": "nowhere", "RPC_URL": "ftp://x"}
    terminal = {"COLUMNS": "20", "LINES": "5", "FORCE_COLOR": "1", "LC_ALL": "C"}
    folders = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent/a home", "TZ": "Asia/Kolkata"}

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        env={**settings, **terminal, **folders},
        cwd=project.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
