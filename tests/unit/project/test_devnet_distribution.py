"""The devnet is a product of its own: what it declares, and who knows whom."""

import ast
from pathlib import Path

import pytest
from tests.support import imports, project

DEVNET = imports.Distribution(
    pyproject="devnet/pyproject.toml",
    sources=("devnet/src",),
    own=("pve402_devnet",),
    at_run_time={"coincurve": "eth-keys' fast backend, which it uses where it finds it"},
)


def test_whatever_it_imports_is_declared() -> None:
    assert imports.undeclared(DEVNET) == {}


def test_whatever_it_declares_is_imported() -> None:
    assert imports.unused(DEVNET) == set()


@pytest.mark.parametrize("folder", ["devnet/src", "devnet/tests"])
def test_it_imports_nothing_of_the_service(folder: str) -> None:
    files = project.python_files(folder)

    assert files
    assert "pve402" not in imports.top_level_imports(files)


def test_what_its_tests_share_with_others_imports_nothing_of_the_service() -> None:
    seen: set[Path] = set()
    waiting = list(project.python_files("devnet/tests"))
    while waiting:
        file = waiting.pop()
        if file not in seen:
            seen.add(file)
            waiting += _shared_modules(file)

    assert "pve402" not in imports.top_level_imports(seen)


def _shared_modules(file: Path) -> list[Path]:
    """The files of tests/support that a file imports."""
    folder = Path("tests/support")
    names: list[str] = []
    for node in ast.walk(project.parsed(file)):
        if isinstance(node, ast.ImportFrom) and node.module == "tests.support":
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests.support."):
            names.append(str(node.module).split(".")[2])
    return [folder / f"{name}.py" for name in names]


@pytest.mark.parametrize(
    ("name", "knowing"),
    [
        # How the tools of the checkout are set up, and what compiles the devnet's contracts.
        ("pve402_devnet", {"pyproject.toml", "scripts/build-contracts"}),
        # The hand-over, and the list of packages it is locked with.
        ("pve402-devnet", {"src/pve402/__main__.py"}),
    ],
)
def test_nothing_else_knows_it(name: str, knowing: set[str]) -> None:
    found = {
        str(file)
        for file in project.text_files()
        if file.suffix != ".md" and file.parts[0] not in ("devnet", "tests")
        for _, line in project.numbered_lines(file)
        if name in line
    }

    assert found == knowing
