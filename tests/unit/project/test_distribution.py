"""What `pip install pve402` and its extra `server` declare is what their modules import."""

import pytest
from tests.support import imports, project

OF_TENANTS = ("__init__.py", "__main__.py", "cli", "client", "schemas")
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
    left_out=tuple(f"src/pve402/{room}" for room in OF_TENANTS),
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


@pytest.mark.parametrize("part", [TENANT, SERVER], ids=["tenant", "server"])
def test_every_import_is_declared(part: imports.Distribution) -> None:
    assert imports.undeclared(part) == {}


@pytest.mark.parametrize("part", [TENANT, SERVER], ids=["tenant", "server"])
def test_every_requirement_is_used(part: imports.Distribution) -> None:
    assert imports.unused(part) == set()


def test_what_serves_imports_no_wallet() -> None:
    files = [file for file in project.python_files("src") if file.parts[2] not in OF_TENANTS]

    assert WALLETS.isdisjoint(imports.top_level_imports(files))
