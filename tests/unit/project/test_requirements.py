"""The lists that environments are made from."""

import re
from pathlib import Path

import pytest
from tests.support import project

LISTS = sorted((project.ROOT / "requirements").glob("*.txt"))
PIN = re.compile(r"^[a-z0-9][a-z0-9._-]*(\[[a-z,]+\])?==[^ ]+( ;.*)? \\$")


def _pins(path: Path) -> dict[str, str]:
    names = [line.partition(" ")[0] for line in path.read_text().splitlines() if line[0].isalnum()]
    return dict(name.split("==") for name in names)


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.name)
def test_every_package_is_pinned_and_hashed(path: Path) -> None:
    lines = path.read_text().splitlines()
    packages = [index for index, line in enumerate(lines) if not line.startswith(" ")]

    assert [lines[index] for index in packages if not PIN.match(lines[index])] == []
    assert all(lines[index + 1].lstrip().startswith("--hash=sha256:") for index in packages)


@pytest.mark.parametrize(
    ("smaller", "larger"),
    [
        ("tenant.txt", "server.txt"),
        ("tenant.txt", "mcp.txt"),
        ("mcp.txt", "dev.txt"),
        ("server.txt", "ssh.txt"),
        ("ssh.txt", "dev.txt"),
        ("server.txt", "devnet.txt"),
        ("devnet.txt", "dev.txt"),
        ("build.txt", "dev.txt"),
    ],
)
def test_a_larger_list_contains_the_smaller(smaller: str, larger: str) -> None:
    folder = project.ROOT / "requirements"

    assert _pins(folder / smaller).items() <= _pins(folder / larger).items()
