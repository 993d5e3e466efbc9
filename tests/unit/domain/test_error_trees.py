"""The trees of errors: drawn as they are, and with words that no interpreter option takes away."""

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from types import ModuleType

import pytest

import pve402
from pve402.api.transport import errors as statuses
from pve402.domain import errors, private_images, published, snapshots

_TREES = ("domain", "hub", "payments", "proxmox")
_BRANCH = re.compile(r"^(?P<lead>[ │]*)[├└]── (?P<names>\w+(?:, \w+)*)")
_DETAILS = """
import importlib
from pve402.domain import errors
for name in {modules!r}:
    importlib.import_module(name)
def walk(kind):
    assert kind.__doc__ is None, kind
    print(kind.__name__, kind.detail, sep="|")
    for child in kind.__subclasses__():
        walk(child)
walk(errors.Pve402Error)
"""


def _module(package: str) -> ModuleType:
    return importlib.import_module(f"pve402.{package}.errors")


def _drawn(module: ModuleType) -> set[tuple[str, str]]:
    """Pairs of child and parent in the tree that a module's docstring draws."""
    path: dict[int, str] = {}
    pairs = set()
    for line in (module.__doc__ or "").splitlines():
        branch = _BRANCH.match(line)
        if branch is None:
            if re.fullmatch(r" *\w+Error", line):
                path = {len(line) - len(line.lstrip()): line.strip()}
            continue
        depth = len(branch["lead"])
        for name in branch["names"].split(", "):
            path[depth + 4] = name
            pairs.add((name, path[depth]))
    return pairs


def _classes(module: ModuleType) -> set[tuple[str, str]]:
    found = inspect.getmembers(module, inspect.isclass)
    own = [kind for _, kind in found if kind.__module__ == module.__name__]
    return {
        (kind.__name__, kind.__base__.__name__)
        for kind in own
        if issubclass(kind, Exception) and kind.__base__.__module__ == module.__name__
    }


def _all_modules() -> list[str]:
    found = pkgutil.walk_packages(pve402.__path__, "pve402.")
    rooms = ("api", "domain", "guests", "hub", "leases", "payments", "proxmox", "storage")
    named = (module.name for module in found)
    return [name for name in named if name.split(".")[1] in rooms and "migrations" not in name]


def _refusals(kind: type[errors.Pve402Error]) -> list[type[errors.Pve402Error]]:
    return [kind, *(one for child in kind.__subclasses__() for one in _refusals(child))]


@pytest.mark.parametrize("package", _TREES)
def test_the_tree_that_is_drawn_is_the_tree_of_classes(package: str) -> None:
    module = _module(package)

    assert _drawn(module) == _classes(module)


def test_each_refusal_keeps_its_words_without_docstrings() -> None:
    script = _DETAILS.format(modules=_all_modules())

    ran = subprocess.run(
        [sys.executable, "-OO", "-c", script], capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stderr
    told = dict(line.split("|") for line in ran.stdout.splitlines())
    assert len(told) > 50
    assert all(detail.endswith(".") for detail in told.values()), told


def test_each_refusal_says_its_own_words() -> None:
    for name in _all_modules():
        importlib.import_module(name)
    kinds = [kind for kind in _refusals(errors.Pve402Error) if kind.__module__.startswith("pve402")]

    silent = [kind.__name__ for kind in kinds if "detail" not in vars(kind)]

    assert silent == []


@pytest.mark.parametrize(
    ("kind", "seconds"),
    [
        (errors.OrderPending, 5),
        (errors.LeaseBusy, 5),
        (errors.Overloaded, 10),
        (errors.WalletMustWait, 30),
        (errors.ProxmoxUnavailable, 10),
        (errors.LeaseOver, None),
        (snapshots.TooManySnapshots, None),  # these wait for the tenant, not for time
        (private_images.TooManyImages, None),
        (published.TooManyPorts, None),
    ],
)
def test_a_class_says_when_to_come_back(
    kind: type[errors.Pve402Error], seconds: int | None
) -> None:
    answered = statuses.answer(kind()).headers.get("retry-after")

    assert answered == (None if seconds is None else str(seconds))


def test_a_raiser_that_knows_better_says_so() -> None:
    error = errors.WalletMustWait(retry_after_seconds=77)

    assert statuses.answer(error).headers["retry-after"] == "77"
    assert errors.WalletMustWait().retry_after_seconds == 30
