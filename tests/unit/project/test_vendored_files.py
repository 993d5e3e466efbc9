"""What comes from npm is committed as it was published."""

import runpy

from tests.support import project

VENDOR = runpy.run_path(str(project.ROOT / "scripts" / "vendor-web"))


def test_the_vendored_files_are_those_of_their_checksums():
    assert list(VENDOR["check"]()) == []


def test_every_library_has_its_licence():
    for folder in VENDOR["FILES"]:
        texts = [path for path in (VENDOR["TARGET"] / folder).iterdir() if "LICENSE" in path.name]
        assert texts, folder


def test_no_lock_file_names_a_registry():
    assert "resolved" not in (VENDOR["NPM"] / "package-lock.json").read_text()
