"""Rules for our code that no linter checks."""

import ast
import importlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

from tests.support import project

MOST_LINES = 400
SOURCES = ("src", "devnet/src")
TESTS = ("tests", "devnet/tests")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")
BROAD = {"Exception", "BaseException"}
CHECKING_CALLS = (
    *("assert", "check", "expect", "fail", "raises", "read_until", "wait_", "warns"),
    "given",  # of hypothesis: that nothing else is raised, whatever comes, is a check
)
PATCHING_CALLS = ("setattr", "delattr", "patch", "patch.object")
REASONED_NOQA = re.compile(r"#\s*noqa: [A-Z0-9, ]+?\s*(-|#)\s*\S")
SKIP = re.compile(r"mark\.(skip|xfail)\b(?!\(.*reason=)|mark\.skipif\((?!.*reason=).*\)\s*$")


def _offences(folders: tuple[str, ...], is_offence: Callable[[str], bool]) -> list[str]:
    return [
        f"{file}:{number}: {line.strip()}"
        for folder in folders
        for file in project.python_files(folder)
        for number, line in project.numbered_lines(file)
        if is_offence(line)
    ]


def test_a_module_is_read_in_one_sitting() -> None:
    lengths = {
        str(file): sum(1 for _ in project.numbered_lines(file))
        for folder in SOURCES
        for file in project.python_files(folder)
    }

    assert {file: lines for file, lines in lengths.items() if lines > MOST_LINES} == {}


def test_nothing_is_left_unfinished() -> None:
    assert _offences(SOURCES, lambda line: bool(UNFINISHED.search(line))) == []


def test_a_broad_except_raises_again_or_logs_or_says_why() -> None:
    offences = [
        f"{file}:{handler.lineno}"
        for folder in (*SOURCES, "scripts")
        for file in project.python_files(folder)
        for handler in ast.walk(project.parsed(file))
        if isinstance(handler, ast.ExceptHandler) and _is_broad(handler)
        if not _passes_on(handler) and not REASONED_NOQA.search(_line(file, handler.lineno))
    ]

    assert offences == []


def test_a_skipped_test_says_why() -> None:
    assert _offences(TESTS, lambda line: bool(SKIP.search(line))) == []


def test_every_test_checks_something() -> None:
    idle = [
        f"{file}: {name}"
        for folder in TESTS
        for file in project.python_files(folder)
        if file.name.startswith("test_")
        for name in _idle_tests(project.parsed(file))
    ]

    assert idle == []


def test_no_private_name_is_patched() -> None:
    """What a test changes is handed in, or is a bound with a public name."""
    offences = [
        f"{file}:{node.lineno}: {name}"
        for file in _test_files()
        for node in ast.walk(project.parsed(file))
        for name in _patched(node)
        if name.startswith("_") and not name.endswith("__")
    ]

    assert offences == []


def test_no_test_waits_for_ever_for_a_program() -> None:
    """The block of Popen waits for its program, also after a failure: see `programs.started`."""
    waiting = [
        f"{file}:{node.lineno}"
        for file in _test_files()
        if file.name != "programs.py"
        for node in ast.walk(project.parsed(file))
        if isinstance(node, ast.With)
        for item in node.items
        if isinstance(item.context_expr, ast.Call)
        and ast.unparse(item.context_expr.func).endswith("Popen")
    ]

    assert waiting == []


def test_names_of_our_modules_are_there() -> None:
    """Also in code that runs rarely: the long proofs, the benchmarks, the scripts."""
    missing = [
        f"{file}:{node.lineno}: {ast.unparse(node)}"
        for file in (*_test_files(), *project.python_files("scripts"))
        for node, module in _uses_of_modules(project.parsed(file))
        if not hasattr(module, node.attr)
    ]

    assert missing == []


def test_only_the_meter_moves_the_end_of_a_lease() -> None:
    """Moves take `expires_at` from the facts of a meter, and never write it by its name."""
    offences = [
        f"{file}:{line}"
        for file in project.python_files("src/pve402/leases/moves")
        for line in _writes_of("expires_at", project.parsed(file))
    ]

    assert offences == []


def test_such_a_write_is_seen() -> None:
    ways = ("move(row, expires_at=now)", "{'expires_at': now}", "values['expires_at'] = now")

    found = [list(_writes_of("expires_at", ast.parse(text))) for text in ways]

    assert found == [[1]] * len(ways)
    assert list(_writes_of("expires_at", ast.parse("due = row.expires_at"))) == []


def _writes_of(name: str, tree: ast.AST) -> Iterator[int]:
    """The lines that name a column to write it: as an argument, or as a key."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == name:
            yield node.value.lineno
        if isinstance(node, ast.Constant) and node.value == name:
            yield node.lineno


def _test_files() -> list[Path]:
    files = (*project.python_files("tests"), *project.python_files("devnet"))
    return [file for file in files if "tests" in file.parts]


def _patched(node: ast.AST) -> list[str]:
    """The names that a call or an assignment changes on something else."""
    if isinstance(node, ast.Assign | ast.AugAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        changed = [target for target in targets if isinstance(target, ast.Attribute)]
        return [it.attr for it in changed if ast.unparse(it.value) not in {"self", "cls"}]
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(PATCHING_CALLS):
        words = [it.value for it in node.args[:2] if isinstance(it, ast.Constant)]
        return [word.rpartition(".")[2] for word in words if isinstance(word, str)]
    return []


def _uses_of_modules(tree: ast.Module) -> Iterator[tuple[ast.Attribute, ModuleType]]:
    """Every `module.name` of ours, where no variable of that file has the module's name."""
    nodes = list(ast.walk(tree))
    stored = {it.id for it in nodes if isinstance(it, ast.Name) and isinstance(it.ctx, ast.Store)}
    stored |= {it.arg for it in nodes if isinstance(it, ast.arg)}
    modules = {
        (alias.asname or alias.name): found
        for node in nodes
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pve402")
        for alias in node.names
        if (found := _module(node, alias))
    }
    uses = [it for it in nodes if isinstance(it, ast.Attribute) and isinstance(it.value, ast.Name)]
    for use in uses:
        name = ast.unparse(use.value)
        if name in modules and name not in stored:
            yield use, modules[name]


def _module(node: ast.ImportFrom, alias: ast.alias) -> ModuleType | None:
    """What an import gives, if it is a module; an import of what is not there fails."""
    package = importlib.import_module(node.module or "")
    if hasattr(package, alias.name):
        found = getattr(package, alias.name)
        return found if isinstance(found, ModuleType) else None
    return importlib.import_module(f"{node.module}.{alias.name}")


def _idle_tests(module: ast.Module) -> list[str]:
    """Tests that check nothing, neither by themselves nor through a function of their module."""
    functions = [
        node
        for node in ast.walk(module)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    helpers = {function.name for function in functions if _checks_something(function, set())}
    return [
        function.name
        for function in functions
        if function.name.startswith("test") and not _checks_something(function, helpers)
    ]


def _checks_something(function: ast.AST, helpers: set[str]) -> bool:
    """An assert, an expected exception or warning, or a call of what fails when it should."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assert):
            return True
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func).rpartition(".")[2]
            if called in helpers or called.lstrip("_").startswith(CHECKING_CALLS):
                return True
    return False


def _is_broad(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(name is None or ast.unparse(name) in BROAD for name in caught)


def _passes_on(handler: ast.ExceptHandler) -> bool:
    """Whether the exception goes on, to the caller or with its traceback to the log."""
    nodes = list(ast.walk(handler))
    logs = [node for node in nodes if isinstance(node, ast.Attribute) and node.attr == "exception"]
    return bool(logs) or any(isinstance(node, ast.Raise) for node in nodes)


def _line(file: Path, number: int) -> str:
    return dict(project.numbered_lines(file))[number]
