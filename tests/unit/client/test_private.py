"""Files of a user alone, which outlast a power cut."""

import os
import stat
from pathlib import Path

import pytest

from pve402.client import private


@pytest.mark.parametrize("replaces", [True, False])
def test_a_file_and_then_its_name_reach_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, replaces: bool
) -> None:
    synced: list[bool] = []
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: synced.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))
    )
    file = tmp_path / "wallets" / "main.key"

    private.write(file, "0x12\n", replaces=replaces)

    assert synced == [False, True]
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == ("0x12\n", 0o600)
    assert [one.name for one in file.parent.iterdir()] == ["main.key"]


def test_a_file_that_is_there_is_not_replaced_unasked(tmp_path: Path) -> None:
    file = tmp_path / "main.key"
    private.write(file, "old")

    with pytest.raises(FileExistsError):
        private.write(file, "new", replaces=False)

    assert file.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["main.key"]
