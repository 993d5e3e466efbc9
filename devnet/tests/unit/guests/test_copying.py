"""A guest's disk as another's: nothing outside is followed or copied."""

import os
from pathlib import Path
from typing import Any

import pytest

from pve402_devnet.guests import copying


def test_files_links_modes_and_times_are_copied(tmp_path: Path) -> None:
    source, target = tmp_path / "one", tmp_path / "two"
    (source / "etc").mkdir(parents=True)
    (source / "etc/secret").write_text("key")
    (source / "etc/secret").chmod(0o600)
    os.utime(source / "etc/secret", ns=(0, 1_234_567_891))
    (source / "etc/passwd").symlink_to("/etc/passwd")
    (source / "etc").chmod(0o555)
    os.mkfifo(source / "pipe")

    copying.copy_tree(source, target)

    assert (target / "etc/secret").read_text() == "key"
    assert (target / "etc/secret").stat().st_mode & 0o777 == 0o600
    assert (target / "etc/secret").stat().st_mtime_ns == 1_234_567_891
    assert (target / "etc").stat().st_mode & 0o777 == 0o555
    assert (target / "etc/passwd").is_symlink()
    assert not (target / "pipe").exists()


def test_a_guest_that_never_ran_has_nothing_to_copy(tmp_path: Path) -> None:
    copying.copy_tree(tmp_path / "one", tmp_path / "two")

    assert not (tmp_path / "two").exists()


def test_a_link_that_takes_a_directorys_place_meanwhile_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside, source, target = (tmp_path / name for name in ("outside", "one", "two"))
    outside.mkdir()
    (outside / "secret").touch()
    (source / "folder").mkdir(parents=True)
    (source / "beside").touch()
    opening = os.open

    def swap_first(path: str, flags: int, **how: Any) -> int:
        if path == "folder":
            (source / "folder").rmdir()
            (source / "folder").symlink_to(outside)
        return opening(path, flags, **how)

    monkeypatch.setattr(os, "open", swap_first)
    copying.copy_tree(source, target)

    assert (source / "folder/secret").exists()
    assert [*target.iterdir()] == [target / "beside"]
