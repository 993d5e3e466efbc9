"""The wheels of both distributions: they build offline, hold every file, and run alone."""

import os
import shutil
import site
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support import project


@dataclass(frozen=True, kw_only=True)
class Product:
    """One distribution: its folder from the root, its package, and a command that shows it runs."""

    folder: str
    package: str
    command: tuple[str, ...]
    says: str


PRODUCTS = (
    Product(folder=".", package="pve402", command=("--version",), says="pve402 0."),
    Product(
        folder="devnet",
        package="pve402_devnet",
        command=("pve", "--help"),
        says="usage: pve402-devnet pve",
    ),
)


@pytest.fixture(scope="module", params=PRODUCTS, ids=lambda product: product.package)
def product(request: pytest.FixtureRequest) -> Product:
    found: Product = request.param
    return found


@pytest.fixture(scope="module")
def wheel(product: Product, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the tracked files alone, as the build of a release is."""
    folder = tmp_path_factory.mktemp(product.package)
    for file in _tracked(product):
        target = folder / "tree" / file.relative_to(product.folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(project.ROOT / file, target)
    _pip("wheel", "--no-build-isolation", "--wheel-dir", str(folder), str(folder / "tree"))
    (made,) = folder.glob("*.whl")
    return made


def test_every_file_of_the_package_is_in_the_wheel(product: Product, wheel: Path) -> None:
    source = Path(product.folder) / "src"
    files = {str(f.relative_to(source)) for f in _tracked(product) if f.is_relative_to(source)}

    with zipfile.ZipFile(wheel) as opened:
        held = {name for name in opened.namelist() if ".dist-info/" not in name}

    assert held == files


def test_its_command_runs_without_the_checkout(
    product: Product, wheel: Path, tmp_path: Path
) -> None:
    _pip("install", "--target", str(tmp_path / "installed"), str(wheel))
    # Dependencies come from this environment; its links to the checkout are not followed.
    path = os.pathsep.join([str(tmp_path / "installed"), *site.getsitepackages()])
    program = tmp_path / "installed" / "bin" / product.package.replace("_", "-")

    ran = subprocess.run(
        [sys.executable, "-P", "-S", str(program), *product.command],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith(product.says)


def _tracked(product: Product) -> list[Path]:
    """What a build looks at: the sources and the files that pyproject.toml names."""
    folder = Path(product.folder)
    named = {folder / name for name in ("pyproject.toml", "README.md", "LICENSE")}
    tracked = project.tracked_files()
    return [file for file in tracked if file in named or file.is_relative_to(folder / "src")]


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", *arguments, "--no-deps", "--no-index", "--quiet"]
    subprocess.run(command, check=True, capture_output=True, text=True)
