"""The documentation's pages and the examples in them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support import project

_BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Example:
    """One fenced block of a page."""

    page: Path
    language: str
    number: int
    text: str

    def __str__(self) -> str:
        return f"{self.page}-{self.number}"


def pages() -> list[Path]:
    """Every page of the documentation, relative to the root."""
    return [file for file in project.tracked_files() if file.suffix == ".md"]


def examples(language: str) -> list[Example]:
    """All blocks of one language, such as `json`, page by page."""
    return [found for page in pages() for found in _of(page) if found.language == language]


def _of(page: Path) -> Iterator[Example]:
    text = (project.ROOT / page).read_text(encoding="utf-8")
    for number, match in enumerate(_BLOCK.finditer(text), start=1):
        indent, language, body = match.groups()
        lines = [line.removeprefix(indent) for line in body.splitlines()]
        yield Example(page=page, language=language, number=number, text="\n".join(lines) + "\n")
