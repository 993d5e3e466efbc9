"""What comes from npm is committed as it was published."""

import runpy
import shutil
from pathlib import Path

import pytest
from tests.support import project

VENDOR = runpy.run_path(str(project.ROOT / "scripts" / "vendor-web"))


def test_the_vendored_files_are_those_of_their_checksums():
    assert list(VENDOR["check"]()) == []


def test_a_changed_file_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    copy = tmp_path / "vendor"
    shutil.copytree(VENDOR["TARGET"], copy)
    with (copy / "xterm/lib/xterm.mjs").open("a") as file:
        file.write("\n")
    namespace = VENDOR["check"].__globals__
    monkeypatch.setitem(namespace, "TARGET", copy)
    monkeypatch.setitem(namespace, "CHECKSUMS", copy / "checksums.txt")

    found = list(VENDOR["check"]())

    assert "changed: xterm/lib/xterm.mjs" in found


def test_every_library_has_its_licence():
    for folder in VENDOR["FILES"]:
        texts = [path for path in (VENDOR["TARGET"] / folder).iterdir() if "LICENSE" in path.name]
        assert texts, folder


def test_no_lock_file_names_a_registry():
    assert "resolved" not in (VENDOR["NPM"] / "package-lock.json").read_text()
