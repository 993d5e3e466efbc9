"""What a package imports, beside what its distribution declares.

    undeclared(Distribution(...))  imports that no declared requirement brings
    unused(Distribution(...))      requirements that nothing imports

Modules are matched with distributions by the metadata of what is installed here. Imports under
`if TYPE_CHECKING:` count as well: a type checker needs what they name.
"""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import project

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """Modules of one distribution, or of one of its extras.

    `pyproject` and the folders in `sources` are named from the root; `left_out` are folders or
    files below them that belong to another extra. `own` are packages that come with the
    distribution itself. `extras` are the extras that are installed along.
    `at_run_time` explains requirements that no import shows.
    """

    pyproject: str
    sources: tuple[str, ...]
    own: tuple[str, ...]
    extras: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    at_run_time: Mapping[str, str] = field(default_factory=dict)


def undeclared(distribution: Distribution) -> dict[str, list[str]]:
    """Distributions that are imported and not declared, each with the files that import them."""
    known = requirements(distribution)
    return {
        module: files
        for module, files in _imported(distribution).items()
        if not known & distributions_of(module)
    }


def unused(distribution: Distribution) -> set[str]:
    """Requirements that no module imports and nothing explains."""
    used = {name for module in _imported(distribution) for name in distributions_of(module)}
    return (
        requirements(distribution) - used - {canonical(name) for name in distribution.at_run_time}
    )


def requirements(distribution: Distribution) -> set[str]:
    """The names of what is declared, the extras' requirements too."""
    stated = tomllib.loads((project.ROOT / distribution.pyproject).read_text("utf-8"))["project"]
    lines = list(stated["dependencies"])
    for extra in distribution.extras:
        lines += stated["optional-dependencies"][extra]
    names = {canonical(found[0]) for line in lines if (found := NAME.match(line))}
    return names - {canonical(stated["name"])}


def top_level_imports(files: Iterable[Path]) -> dict[str, list[str]]:
    """First names of all imported modules, each with the files that import it."""
    found: dict[str, list[str]] = {}
    for file in files:
        for name in sorted(set(_names(project.parsed(file)))):
            found.setdefault(name, []).append(str(file))
    return found


@functools.cache
def distributions_of(module: str) -> frozenset[str]:
    """The distributions that bring a module; its own name if none is installed that does."""
    return frozenset(map(canonical, _installed().get(module, [module])))


@functools.cache
def _installed() -> Mapping[str, list[str]]:
    """What brings each module that is installed here, which takes a while to find out."""
    return importlib.metadata.packages_distributions()


def canonical(name: str) -> str:
    """A distribution's name as all tools compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _imported(distribution: Distribution) -> dict[str, list[str]]:
    files = [
        file
        for folder in distribution.sources
        for file in project.python_files(folder)
        if not any(file.is_relative_to(other) for other in distribution.left_out)
    ]
    assert files, f"{distribution.sources} holds no module"
    return _without(top_level_imports(files), {*sys.stdlib_module_names, *distribution.own})


def _without(found: dict[str, list[str]], names: Collection[str]) -> dict[str, list[str]]:
    return {name: files for name, files in found.items() if name not in names}


def _names(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]
