"""Rules of a lease's row: it changes by a named move and nowhere else."""

import ast
import inspect
from pathlib import Path

import pytest
from tests.support import project

from pve402.leases import moves

HOME = Path("src/pve402/leases/moves")
QUERIES = Path("src/pve402/storage/lease_rows.py")
MAKE_TABLES = ("src/pve402/storage/tables.py", "src/pve402/storage/migrations")
WRITERS = {"insert", "update", "take_warm"}
STATE = ("LeaseStatus", "Status", "_Path")
STATE_NAMES = {"to", "after", "status", "state", "target", "lease_status"}


def test_nothing_but_a_move_writes_the_lease_table() -> None:
    offences = [
        f"{file}:{offence}"
        for file in project.python_files("src")
        if file != QUERIES and not str(file).startswith((str(HOME), *MAKE_TABLES))
        for offence in writes_in(project.parsed(file))
    ]

    assert offences == []


@pytest.mark.parametrize(
    "source",
    [
        "tables.leases.update().values(status='active')",
        "tables.leases.insert()",
        "sa.update(tables.leases).values(status='active')",
        "queue.update_fenced(tx, tables.leases, key, fence, status='active')",
        "_leases = tables.leases",
        "rows = queue.DueRows(tables.leases)",
        "from pve402.storage.tables import leases",
        "tables.metadata.tables['leases'].update()",
        "getattr(tables, 'leases').delete()",
        "lease_rows.update(tx, {}, {'status': 'active'})",
        "lease_rows.insert(db, tx, row, due=True)",
        "row_moves.move(tx, row, path, {})",
        "from pve402.leases.moves.row_moves import move",
        "from pve402.storage.lease_rows import update",
        "write = lease_rows.update",
        "sa.text('UPDATE leases SET status = 1')",
        "tx.execute('delete  from leases')",
        "sql = f'INSERT INTO leases {what}'",
    ],
)
def test_another_write_is_found(source: str) -> None:
    assert writes_in(ast.parse(source)) != []


@pytest.mark.parametrize(
    "source",
    [
        "sa.select(tables.leases.c.status)",
        "name = tables.leases.name",
        "lease_rows.get(tx, lease_id)",
        "moves.activate(tx, row, 5, now)",
        "parts.leases.update_nothing()",
    ],
)
def test_reading_is_no_write(source: str) -> None:
    assert writes_in(ast.parse(source)) == []


def test_no_move_takes_its_target_state_from_the_caller() -> None:
    functions = [
        node
        for file in project.python_files("src")
        if file.parent == HOME and file.stem != "row_moves"
        for node in project.parsed(file).body
        if isinstance(node, ast.AsyncFunctionDef) and not node.name.startswith("_")
    ]

    assert len(functions) > 20
    assert [one.name for one in functions if takes_a_state(one)] == []


@pytest.mark.parametrize(
    "source",
    [
        "async def move(tx, row, to): ...",
        "async def move(tx, row: lease.Lease, where: lease.LeaseStatus): ...",
        "async def move(tx, row, *, where: 'Status | None' = None): ...",
        "async def move(tx, row, path: _Path): ...",
        "async def move(tx, row, **values): ...",
        "async def move(tx, row, *values): ...",
    ],
)
def test_a_move_to_any_state_is_found(source: str) -> None:
    (function,) = ast.parse(source).body
    assert isinstance(function, ast.AsyncFunctionDef)

    assert takes_a_state(function)


def test_every_move_says_what_it_does() -> None:
    public = inspect.getmembers(moves, inspect.iscoroutinefunction)

    assert [name for name, move in public if not name.startswith("_") and not move.__doc__] == []


def writes_in(module: ast.Module) -> list[str]:
    """Where a module writes the lease table, or has the table in its hands to do so."""
    parents = {child: node for node in ast.walk(module) for child in ast.iter_child_nodes(node)}
    return [
        f"{getattr(node, 'lineno', 0)}: {ast.unparse(node)}"
        for node in ast.walk(module)
        if _is_table(node, parents.get(node)) or _is_writer(node) or _is_sql(node)
    ]


def takes_a_state(function: ast.AsyncFunctionDef) -> bool:
    """Whether a function's caller chooses a state, or any column."""
    named = function.args
    arguments = [*named.posonlyargs, *named.args, *named.kwonlyargs]
    return bool(named.vararg or named.kwarg) or any(
        argument.arg in STATE_NAMES
        or (argument.annotation is not None and _names_a_state(argument.annotation))
        for argument in arguments
    )


def _names_a_state(annotation: ast.AST) -> bool:
    words = ast.unparse(annotation).strip("'").replace(".", " ").replace("|", " ").split()
    return any(word in STATE for word in words)


def _is_table(node: ast.AST, parent: ast.AST | None) -> bool:
    """The table itself; its columns and its name may be read."""
    if isinstance(node, ast.Subscript | ast.Call):
        return "tables" in ast.unparse(node) and "'leases'" in ast.unparse(node)
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").endswith("tables") and _imports(node, {"leases"})
    if not isinstance(node, ast.Attribute) or ast.unparse(node) != "tables.leases":
        return False
    return not (isinstance(parent, ast.Attribute) and parent.attr in {"c", "name"})


def _is_writer(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        module = (node.module or "").rpartition(".")[2]
        return module == "row_moves" or (module == "lease_rows" and _imports(node, WRITERS))
    if not isinstance(node, ast.Attribute):
        return False
    module, _, name = ast.unparse(node).rpartition(".")
    return module.endswith("row_moves") or (module == "lease_rows" and name in WRITERS)


def _imports(node: ast.ImportFrom, names: set[str]) -> bool:
    return any(alias.name in {*names, "*"} for alias in node.names)


def _is_sql(node: ast.AST) -> bool:
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
        return False
    text = " ".join(node.value.lower().split())
    return any(f"{verb} leases" in text for verb in ("update", "insert into", "delete from"))
