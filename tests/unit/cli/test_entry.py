"""The command line as a tenant has it, who installed nothing of the server."""

import dataclasses
import subprocess
import sys

import pytest
from tests.support import imports

import pve402

#: The import names of what `pve402[server]` brings and `pve402` does not.
SERVER_ONLY = (
    "aiosqlite", "alembic", "asyncpg", "coincurve", "cryptography", "dotenv", "fastapi", "h11",
    "httptools", "prometheus_client", "publicsuffixlist", "pydantic_settings", "sqlalchemy",
    "starlette", "structlog", "uvicorn", "uvloop", "pve402_devnet",
)  # fmt: skip
NO_SDK = "`pve402 mcp` needs the SDK of MCP ({} is not installed): pip install 'pve402[mcp]'"
TENANT = imports.Distribution(pyproject="pyproject.toml", sources=(), own=())
SERVER = dataclasses.replace(TENANT, extras=("server",))
ALONE = """
import runpy, sys
for name in {missing!r}:
    sys.modules[name] = None  # as if it were not installed
sys.argv[1:] = {arguments!r}
runpy.run_module("pve402", run_name="__main__", alter_sys=True)
"""


def run_alone(*arguments: str, missing: tuple[str, ...] = SERVER_ONLY) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command where some packages are missing."""
    script = ALONE.format(missing=missing, arguments=list(arguments))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "command",
    [("serve",), ("serve", "--port", "1"), ("setup",), ("ops",), ("ops", "doctor"), ("openapi",)],
)
def test_what_needs_the_server_says_what_to_install(command: tuple[str, ...]) -> None:
    code, printed, said = run_alone(*command)

    assert (code, printed) == (2, "")
    assert "pip install 'pve402[server]'" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("missing", ["uvicorn", "sqlalchemy", "structlog", "fastapi", "uvloop"])
def test_any_missing_package_of_the_server_is_named(missing: str) -> None:
    code, _, said = run_alone("serve", missing=(missing,))

    assert code == 2
    assert missing in said


@pytest.mark.parametrize("missing", ["mcp", "starlette"])
def test_what_serves_agents_says_what_to_install(missing: str) -> None:
    code, printed, said = run_alone("mcp", missing=(missing,))

    assert (code, printed) == (2, "")
    assert said.splitlines() == [f"pve402: {NO_SDK.format(missing)}"]


def test_a_configuration_needs_no_sdk_of_mcp() -> None:
    code, printed, _ = run_alone("mcp", "--config", "vscode", missing=("mcp", "mcp_types"))

    assert code == 0
    assert '"servers"' in printed


def test_a_module_of_ours_that_is_missing_is_a_fault() -> None:
    _, _, said = run_alone("serve", missing=("pve402.api",))

    assert "ModuleNotFoundError" in said


@pytest.mark.parametrize(
    "command",
    [
        "quote",
        "lease",
        "renew",
        "list",
        "show",
        "start",
        "stop",
        "pause",
        "reboot",
        "end",
        "exec",
        "put",
        "get",
        "",
    ],
)
def test_tenants_commands_need_nothing_of_the_server(command: str) -> None:
    code, printed, said = run_alone(*filter(None, [command]), "--help")

    assert (code, said) == (0, "")
    assert "Usage" in printed


def test_the_list_of_what_tenants_lack_is_whole() -> None:
    server = imports.requirements(SERVER) - imports.requirements(TENANT)
    named = {name for module in SERVER_ONLY for name in imports.distributions_of(module)}

    # these come along with the wallet and with typer
    brought = {"eth-hash", "pydantic-core", "typing-extensions", "websockets", "yarl"}
    assert server - named == brought


def test_the_version_is_printed() -> None:
    assert run_alone("--version") == (0, f"pve402 {pve402.__version__}\n", "")
