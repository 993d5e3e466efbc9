"""A guest's disk as another's: nothing outside is followed or copied."""

import os
from pathlib import Path

from pve402_devnet.guests import copying


def test_files_links_and_modes_are_copied(tmp_path: Path) -> None:
    source, target = tmp_path / "one", tmp_path / "two"
    (source / "etc").mkdir(parents=True)
    (source / "etc/secret").write_text("key")
    (source / "etc/secret").chmod(0o600)
    (source / "etc/passwd").symlink_to("/etc/passwd")
    (source / "etc").chmod(0o555)
    os.mkfifo(source / "pipe")

    copying.copy_tree(source, target)

    assert (target / "etc/secret").read_text() == "key"
    assert (target / "etc/secret").stat().st_mode & 0o777 == 0o600
    assert (target / "etc").stat().st_mode & 0o777 == 0o555
    assert (target / "etc/passwd").is_symlink()
    assert not (target / "pipe").exists()


def test_a_guest_that_never_ran_has_nothing_to_copy(tmp_path: Path) -> None:
    copying.copy_tree(tmp_path / "one", tmp_path / "two")

    assert not (tmp_path / "two").exists()
