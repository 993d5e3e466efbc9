"""What is published: wheels in empty environments, each with its pinned list and nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from eth_account import Account
from tests.support import processes, project

pytestmark = pytest.mark.timeout(1200)

EARLIER = """
import asyncio, sys
import sqlalchemy as sa
from pve402.storage import migrate
asyncio.run(migrate.upgrade(sa.make_url("sqlite+aiosqlite:///" + sys.argv[1]), "0004"))
"""


@dataclass(frozen=True, kw_only=True)
class Installed:
    """A virtual environment with one of the parts."""

    folder: Path

    @property
    def python(self) -> str:
        """Its interpreter."""
        return str(self.folder / "bin" / "python")

    def run(self, program: str, *arguments: str, **settings: str) -> Any:
        """Run one of its programs to its end."""
        return subprocess.run(
            [self.folder / "bin" / program, *arguments],
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), **settings},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def packages(self) -> dict[str, str]:
        """What is installed, apart from pip and what comes with it."""
        listed = self.run("python", "-m", "pip", "list", "--format=json").stdout
        found = {
            row["name"].lower().replace("_", "-"): row["version"] for row in json.loads(listed)
        }
        return {name: found[name] for name in found.keys() - {"pip", "setuptools"}}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both wheels, built from the tracked files alone."""
    tree, made = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheels")
    for file in project.tracked_files():
        (tree / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(project.ROOT / file, tree / file)
    for folder in (tree, tree / "devnet"):
        build = ["wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", str(made)]
        subprocess.run([sys.executable, "-m", "pip", *build, str(folder)], check=True, timeout=300)
    return made


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> dict[str, Installed]:
    """An environment for each who installs something."""
    parts = {
        "tenant": ("tenant.txt", "pve402-"),
        "server": ("server.txt", "pve402-"),
        "devnet": ("devnet.txt", "pve402_devnet-"),
    }
    return {
        name: _install(tmp_path_factory.mktemp(name), wheels, *what) for name, what in parts.items()
    }


def _install(folder: Path, wheels: Path, pins: str, wheel: str) -> Installed:
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=120)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps"]
    hashed = ["--require-hashes", "--requirement", str(project.ROOT / "requirements" / pins)]
    subprocess.run([*pip, *hashed], check=True, timeout=600)
    (built,) = wheels.glob(f"{wheel}*.whl")
    subprocess.run([*pip, str(built)], check=True, timeout=120)
    return Installed(folder=folder)


def test_a_tenant_gets_nothing_of_the_server(installed: dict[str, Installed]) -> None:
    tenant, server = installed["tenant"], installed["server"]

    assert {"aiohttp", "pydantic", "typer", "x402"} <= tenant.packages().keys()
    assert {"fastapi", "sqlalchemy", "uvicorn"} <= server.packages().keys()
    assert {"fastapi", "sqlalchemy", "uvicorn"}.isdisjoint(tenant.packages())
    assert tenant.packages().items() < server.packages().items()


@pytest.mark.parametrize("part", ["tenant", "server", "devnet"])
def test_nothing_that_a_part_needs_is_missing(installed: dict[str, Installed], part: str) -> None:
    checked = installed[part].run("python", "-m", "pip", "check")

    assert checked.returncode == 0, checked.stdout


def test_whoever_lacks_the_server_is_told_what_to_type(installed: dict[str, Installed]) -> None:
    done = installed["tenant"].run("pve402", "serve")

    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'pve402[server]'" in done.stderr


@pytest.fixture
def settings(installed: dict[str, Installed], tmp_path: Path) -> Iterator[dict[str, str]]:
    """What a tenant needs to know of a service, on an earlier version's database."""
    env_file, database = tmp_path / "devnet.env", tmp_path / "earlier.sqlite3"
    made = installed["server"].run("python", "-c", EARLIER, str(database))
    assert made.returncode == 0, made.stderr
    port = processes.free_port()
    url, wallet = f"http://127.0.0.1:{port}", Account.create()
    own = {"DATABASE_URL": f"sqlite:///{database}", "PVE402_PUBLIC_URL": url}
    options = ("--env-file", str(env_file), "--latency", "0", "--fund", wallet.address)
    serve = ("serve", "--env-file", str(env_file), "--port", str(port))
    with contextlib.ExitStack() as stack:
        devnet = processes.start(
            tmp_path,
            *options,
            program=("-m", "pve402_devnet"),
            python=installed["devnet"].python,
        )
        stack.callback(devnet.end)
        processes.wait_until(env_file.exists, devnet, "up")
        server = processes.start(tmp_path, *serve, python=installed["server"].python, **own)
        stack.callback(server.end)
        processes.wait_until(lambda: _is_ready(url), server, "ready")
        yield {
            "PVE402_URL": url,
            "PVE402_WALLET_KEY": "0x" + wallet.key.hex().removeprefix("0x"),
            "PVE402_ROOT_PASSWORD": "a-good-password",
        }


def _is_ready(url: str) -> bool:
    with contextlib.suppress(requests.ConnectionError):
        return requests.get(f"{url}/readyz", timeout=10).status_code == 200
    return False


def test_the_parts_serve_each_other(
    installed: dict[str, Installed], settings: dict[str, str]
) -> None:
    tenant = installed["tenant"]

    lease = ("lease", "--hostname", "wheels", "--max-usd", "1", "--memory-mb", "256", "--json")
    bought = tenant.run("pve402", *lease, **settings)
    assert bought.returncode == 0, bought.stderr
    ran = tenant.run("pve402", "exec", "wheels", "uname", "-s", **settings)
    ended = tenant.run("pve402", "end", "wheels", "--yes", **settings)

    assert (ran.returncode, ran.stdout) == (0, "Linux\n"), ran.stderr
    assert ended.returncode == 0, ended.stderr
