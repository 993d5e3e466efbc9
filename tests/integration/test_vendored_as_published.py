"""The web pages' libraries beside what npm installs by the lock file."""

import runpy

import pytest
from tests.support import project

VENDOR = runpy.run_path(str(project.ROOT / "scripts" / "vendor-web"))


def test_the_vendored_files_are_those_that_npm_installs():
    """npm compares each package with the hash in the lock file before it is unpacked."""
    installed = VENDOR["NPM"] / "node_modules"
    if not installed.is_dir():
        pytest.fail(f"{installed} is missing: run make setup")
    pairs = list(VENDOR["_pairs"]())

    assert len(pairs) == len(list(VENDOR["_present"]()))
    assert [str(to) for of, to in pairs if of.read_bytes() != to.read_bytes()] == []
