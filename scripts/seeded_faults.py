"""Plant faults in the code, one at a time, and report which of them the tests catch.

usage: .venv/bin/python scripts/seeded_faults.py [--seed 402] [--count 40] [--also TREE] [--limit S]

A fault is a flipped comparison, a dropped guard, a number that is off by one, swapped arguments,
or a call that is not made. `--also` names another checkout (with a `.venv` of its own): then only
faults are planted that both trees have, in the same words within a function of the same name, and
one that this tree misses is tried in the other. The same seed and trees give the same faults. Work
is done in temporary copies; a fault counts as caught when a test of what uses its module fails or
does not end.
"""

from __future__ import annotations

import argparse
import ast
import functools
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CAUGHT = frozenset({"caught", "hangs"})
PACKAGES = ("api", "config", "domain", "guests", "hub", "leases", "payments", "proxmox", "storage")
INSTALLED = (".venv-fakepve", ".venv-x402-legacy", "tests/npm/node_modules")
COPIED = ("src", "devnet", "tests", "scripts", "docs", "pyproject.toml", "README.md")
FLIPPED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
Functions = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Fault:
    """One change of one place; `name` is the same wherever the code has moved to."""

    name: str
    file: Path
    line: int
    old: str
    new: str
    start: int
    end: int

    def planted(self, text: bytes) -> bytes:
        """The file with the fault in it."""
        return text[: self.start] + self.new.encode() + text[self.end :]


def faults_of(tree: Path) -> dict[str, Fault]:
    """Every fault that can be planted in a tree, by its name; ambiguous ones are left out."""
    found: dict[str, list[Fault]] = {}
    for package in PACKAGES:
        for file in sorted((tree / "src/pve402" / package).rglob("*.py")):
            for fault in faults_in(file.relative_to(tree), file.read_bytes()):
                found.setdefault(fault.name, []).append(fault)
    return {name: faults[0] for name, faults in found.items() if len(faults) == 1}


def faults_in(file: Path, text: bytes) -> Iterator[Fault]:
    """The faults that can be planted in one file."""
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    module = ast.parse(text)
    functions = [node for node in ast.walk(module) if isinstance(node, Functions)]
    for function in functions:
        for statement in function.body:
            for node in ast.walk(statement):
                for kind, new in _changes(node):
                    assert isinstance(node, ast.expr | ast.stmt)  # noqa: S101 -- has a place
                    start = starts[node.lineno - 1] + node.col_offset
                    end = starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
                    old = text[start:end].decode()
                    words = ast.unparse(node)
                    name = f"{function.name}: {kind}: {words}"
                    yield Fault(name, file, node.lineno, old, new, start, end)


def _changes(node: ast.AST) -> Iterator[tuple[str, str]]:
    """The kinds of faults that a piece of code can have, each with the wrong code."""
    match node:
        case ast.Compare(left=left, ops=[operator], comparators=[right]):
            flipped = ast.Compare(left, [FLIPPED[type(operator)]()], [right])
            yield "flipped comparison", f"({ast.unparse(flipped)})"
        case ast.BoolOp(op=ast.And(), values=values):
            yield "or for and", f"({ast.unparse(ast.BoolOp(ast.Or(), values))})"
        case ast.BoolOp(op=ast.Or(), values=values):
            yield "and for or", f"({ast.unparse(ast.BoolOp(ast.And(), values))})"
        case ast.Raise():
            yield "dropped guard", "pass"
        case ast.Expr(value=ast.Await()):
            yield "call not made", "pass"
        case ast.BinOp(op=ast.Add() | ast.Sub(), right=ast.Constant(value=int())):
            yield "off by one", f"({ast.unparse(node)} + 1)"
        case ast.Call(func=called, args=[ast.Name() as one, ast.Name() as two, *rest]):
            swapped = ast.Call(called, [two, one, *rest], node.keywords)
            yield "swapped arguments", ast.unparse(swapped)


def tests_of(tree: Path, fault: Fault) -> list[list[str]]:
    """Test files to run, in turns: those that name the module, its package's, and integration's."""
    word = re.compile(rf"\b{re.escape(fault.file.stem)}\b")
    package = fault.file.parts[2]
    unit = sorted((tree / "tests/unit").rglob("test_*.py"))
    integration = sorted((tree / "tests/integration").rglob("test_*.py"))
    naming = [file for file in unit if word.search(_text_of(file))]
    beside = [file for file in unit if package in file.parts and file not in naming]
    whole = [file for file in integration if package in file.parts or word.search(_text_of(file))]
    turns = (naming, beside, whole)
    return [[str(file.relative_to(tree)) for file in turn] for turn in turns if turn]


@functools.cache
def _text_of(test: Path) -> str:
    return test.read_text()


class Copy:
    """A copy of a tree in which one fault at a time is planted."""

    def __init__(self, tree: Path, folder: Path, limit_seconds: float) -> None:
        self.tree, self.folder, self.limit_seconds = tree, folder, limit_seconds
        unneeded = shutil.ignore_patterns("node_modules", "__pycache__")
        for name in filter(lambda name: (tree / name).exists(), COPIED):
            if (tree / name).is_dir():
                shutil.copytree(tree / name, folder / name, ignore=unneeded)
            else:
                shutil.copy(tree / name, folder / name)
        for words in (["init", "-q"], ["add", "--all"]):  # some tests ask which files are tracked
            subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)
        for name in INSTALLED:
            (folder / name).symlink_to((tree / name).resolve())

    def verdict(self, fault: Fault) -> str:
        """How a fault is caught: `caught`, `hangs`, or `MISSED`.

        `unsure` where the test that failed does so without the fault as well.
        """
        file = self.folder / fault.file
        honest = file.read_bytes()
        for turn in tests_of(self.folder, fault):
            file.write_bytes(fault.planted(honest))
            verdict = self._run(turn)
            file.write_bytes(honest)
            if verdict == "caught" and self._run([*turn, "--last-failed"]) != "passed":
                return "unsure"
            if verdict != "passed":
                return verdict
        return "MISSED"

    def _run(self, arguments: Sequence[str]) -> str:
        command = [str(self.tree / ".venv/bin/python"), "-m", "pytest", "-x", "-q", *arguments]
        quiet = ("-o", "cache_dir=.pytest_cache", "-n", "2")
        places = [str(self.folder / "src"), str(self.folder / "devnet/src"), str(self.folder)]
        with subprocess.Popen(
            [*command, *quiet],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            try:
                return "passed" if process.wait(self.limit_seconds) == 0 else "caught"
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                return "hangs"


def main() -> int:
    """Plant the faults and print a line for each; 1 where a tree misses what the other catches."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--seed", type=int, default=402)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--also", type=Path, help="another checkout to try the same faults in")
    parser.add_argument("--limit", type=float, default=300, help="seconds for a run of tests")
    chosen = parser.parse_args()
    trees = [tree.resolve() for tree in (chosen.also, ROOT) if tree is not None]
    known = [faults_of(tree) for tree in trees]
    names = sorted(set(known[0]).intersection(*known))
    picked = random.Random(chosen.seed).sample(names, min(chosen.count, len(names)))  # noqa: S311
    print(f"{len(picked)} of {len(names)} faults, seed {chosen.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="pve402-faults-") as folder:
        copies = [Copy(tree, Path(folder, str(n)), chosen.limit) for n, tree in enumerate(trees)]
        return _try_all(picked, known, copies)


def _try_all(picked: Sequence[str], known: Sequence[dict[str, Fault]], copies: list[Copy]) -> int:
    """Try each fault here, and in the other tree if it is missed here; 1 if it was caught there."""
    caught = worse = 0
    for number, name in enumerate(picked, start=1):
        here = known[-1][name]
        verdict = copies[-1].verdict(here)
        caught += verdict in CAUGHT
        elsewhere = ""
        if verdict not in CAUGHT and len(copies) > 1:
            elsewhere = copies[0].verdict(known[0][name])
            worse += elsewhere in CAUGHT
            elsewhere = f" ({elsewhere} in the other)"
        words = f"{number:3} {verdict:7}{elsewhere} {here.file}:{here.line} {name}"
        print(words, flush=True)
    print(f"{caught} of {len(picked)} caught; {worse} more are caught in the other tree")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
