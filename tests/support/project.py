"""The project's own files, for tests that hold them to its rules."""

import ast
import functools
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT_SUFFIXES = {
    "", ".cfg", ".css", ".html", ".in", ".ini", ".js", ".json", ".jsonl", ".mako", ".md",
    ".override", ".py", ".sh", ".toml", ".txt", ".yaml", ".yml",
}  # fmt: skip


@functools.cache
def tracked_files() -> tuple[Path, ...]:
    """Every file that git keeps and that is still in the work tree, relative to the root."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
    )
    names = [Path(name) for name in listed.stdout.split("\0") if name]
    return tuple(name for name in names if (ROOT / name).is_file())


def text_files() -> tuple[Path, ...]:
    """The tracked files that hold text somebody wrote or a tool locked."""
    return tuple(file for file in tracked_files() if file.suffix in TEXT_SUFFIXES)


def python_files(folder: str) -> tuple[Path, ...]:
    """Tracked Python files below a folder, which is named from the root."""
    return tuple(
        file for file in tracked_files() if file.suffix == ".py" and file.is_relative_to(folder)
    )


def numbered_lines(file: Path) -> Iterator[tuple[int, str]]:
    """The lines of a tracked file with their numbers, from 1."""
    text = (ROOT / file).read_text(encoding="utf-8", errors="replace")
    return enumerate(text.splitlines(), start=1)


def parsed(file: Path) -> ast.Module:
    """The syntax tree of a tracked Python file."""
    return ast.parse((ROOT / file).read_text(encoding="utf-8"), filename=str(file))
