"""The tests that pages name as `file.py::test`."""

import ast
import re
from pathlib import Path

from tests.support.project import ROOT

_NAMED = re.compile(r"`(test_\w+\.py)::(test_\w+)`")


def named(page: str) -> list[tuple[str, str]]:
    """Every file and test that a page names."""
    return sorted(set(_NAMED.findall((ROOT / page).read_text(encoding="utf-8"))))


def functions_of(file: str) -> set[str]:
    """The functions of all test files of this name."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {
        node.name
        for path in _files(file)
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, kinds)
    }


def _files(name: str) -> list[Path]:
    return list((ROOT / "tests").glob(f"[!n]*/**/{name}"))
