"""What `pip install pve402` and its extras declare is what their modules import."""

import pytest
from tests.support import imports, project

OF_TENANTS = ("__init__.py", "__main__.py", "cli", "client", "schemas", "sdk")
AGENTS = "mcp_server"
ROOMS = sorted({file.parts[2] for file in project.python_files("src")})
OWN = ("pve402",)
#: They take a second to import and are no part of what serves.
WALLETS = {"eth_abi", "eth_account", "eth_keys", "eth_utils", "web3", "x402"}

TENANT = imports.Distribution(
    pyproject="pyproject.toml",
    sources=("src",),
    left_out=tuple(f"src/pve402/{room}" for room in ROOMS if room not in OF_TENANTS),
    own=OWN,
)
SERVER = imports.Distribution(
    pyproject="pyproject.toml",
    sources=("src",),
    left_out=tuple(f"src/pve402/{room}" for room in (*OF_TENANTS, AGENTS, "jump")),
    own=OWN,
    extras=("server",),
    at_run_time={
        "aiosqlite": "SQLAlchemy's driver for SQLite, by its address",
        "asyncpg": "SQLAlchemy's driver for PostgreSQL, by its address",
        "eth-account": "of the tenants' part",
        "httptools": "uvicorn's parser, by its name",
        "websockets": "uvicorn's websockets, by their name",
        "x402": "of the tenants' part",
    },
)

JUMP_HOST = imports.Distribution(
    pyproject="pyproject.toml",
    sources=("src",),
    left_out=tuple(f"src/pve402/{room}" for room in (*OF_TENANTS, AGENTS)),
    own=OWN,
    extras=("server", "ssh"),
    at_run_time=SERVER.at_run_time,
)
SERVED_TO_AGENTS = imports.Distribution(
    pyproject="pyproject.toml",
    sources=("src",),
    left_out=tuple(f"src/pve402/{room}" for room in ROOMS if room not in (*OF_TENANTS, AGENTS)),
    own=OWN,
    extras=("mcp",),
)
PARTS = pytest.mark.parametrize(
    "part",
    [TENANT, SERVER, JUMP_HOST, SERVED_TO_AGENTS],
    ids=["tenant", "server", "jump host", "agents"],
)


@PARTS
def test_every_import_is_declared(part: imports.Distribution) -> None:
    assert imports.undeclared(part) == {}


@PARTS
def test_every_requirement_is_used(part: imports.Distribution) -> None:
    assert imports.unused(part) == set()


def test_what_serves_imports_no_wallet() -> None:
    files = [file for file in project.python_files("src") if file.parts[2] not in OF_TENANTS]

    assert WALLETS.isdisjoint(imports.top_level_imports(files))
