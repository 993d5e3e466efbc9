"""A newcomer's Debian: nothing on it but what README asks for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import debian, project

README_ASKS_FOR = ("make", "python3", "git", "ca-certificates")

pytestmark = [
    pytest.mark.skipif(
        not debian.can_be_made(), reason="needs root and debootstrap: apt-get install debootstrap"
    ),
    pytest.mark.timeout(1200),
]


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def machine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The root of a clean Debian 12 or 13."""
    root = tmp_path_factory.mktemp(request.param)
    debian.make(root, request.param, README_ASKS_FOR)
    yield root
    shutil.rmtree(root)


def test_the_demo_runs(machine: Path) -> None:
    done = debian.run(machine, "cd /srv/pve402 && make demo")

    assert done.returncode == 0, done.stdout[-6000:]
    assert "all of it happened" in done.stdout


def test_there_is_a_package_for_every_need(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(project.ROOT / "scripts")
    import system_packages

    packages = sorted({name for need in system_packages.TEST_NEEDS for name in need.packages})

    done = debian.run(machine, f"apt-get install --dry-run {' '.join(packages)}")

    assert done.returncode == 0, done.stdout[-6000:]
