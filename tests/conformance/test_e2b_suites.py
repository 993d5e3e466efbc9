"""E2B's own suites and its SDK for JavaScript against `pve402 e2b`.

`make conformance E2B_SUITES=PATH` names a checkout of github.com/e2b-dev/E2B (MIT); without it only
the SDK as published is run. Nothing of the checkout is part of this project.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import e2b_gateway, e2b_suites
from tests.support.e2b_gateway import Command
from tests.support.processes import ServeProcess

SUITES = os.environ.get("E2B_SUITES", "")
MOST_EXCLUDED = 0.15
LEAST_PASSED = 0.95

needs_suites = pytest.mark.skipif(not SUITES, reason="make conformance E2B_SUITES=PATH")
pytestmark = pytest.mark.timeout(1600)


@pytest.fixture(scope="module")
def gateway(service: ServeProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """A gateway whose wallet can pay for all of their sandboxes."""
    key = f"0x{service.devnet.wallet(100_000_000).key.hex()}"
    with e2b_gateway.command(service, tmp_path_factory.mktemp("e2b"), key=key) as made:
        yield made


@needs_suites
@pytest.mark.parametrize("run", [e2b_suites.python, e2b_suites.javascript])
def test_the_suites_of_e2b(
    gateway: Command, tmp_path: Path, run: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(run)
    found = run(Path(SUITES).resolve(), gateway.settings, tmp_path)

    with capsys.disabled():
        print("", *found.lines(), sep="\n")
    counted = len(found.passed) + len(found.failed)
    assert found.collected > 100
    assert found.excluded.total() <= MOST_EXCLUDED * found.collected
    assert len(found.passed) >= LEAST_PASSED * counted


def test_the_published_sdk_for_javascript(gateway: Command, tmp_path: Path) -> None:
    program = tmp_path / "try.mjs"
    (tmp_path / "node_modules").symlink_to(e2b_suites.NPM / "node_modules")
    program.write_text(
        """
import { Sandbox } from 'e2b'
const box = await Sandbox.create({ timeoutMs: 60_000 })
await box.files.write('a/b', 'in a file')
const said = await box.commands.run('cat a/b; echo err >&2; id -un')
console.log(said.stdout, said.stderr, await box.isRunning(), (await box.files.list('a')).length)
console.log(await box.kill(), await box.isRunning())
"""
    )

    done = subprocess.run(
        ["node", program],
        env={"PATH": os.environ["PATH"], **gateway.settings},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert done.stdout == "in a fileuser\n err\n true 1\ntrue false\n", done.stderr
