"""The settings file: whole, private, and gone with the devnet."""

from __future__ import annotations

import shlex
import stat
from pathlib import Path

import dotenv
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pve402_devnet import envfile

SETTINGS = {"PVE_HOST": "http://127.0.0.1:8006", "PVE_TOKEN_ID": "pve402@pve!devnet"}
values = st.text(st.characters(codec="utf-8", exclude_characters="'\\", exclude_categories=["C"]))


def test_it_can_be_read_back_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "devnet.env"

    envfile.write(path, SETTINGS)

    assert dotenv.dotenv_values(path) == SETTINGS
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_an_old_file_is_replaced_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "devnet.env"
    path.write_text("PVE_HOST=old\n")
    path.chmod(0o644)

    envfile.write(path, SETTINGS)

    assert dotenv.dotenv_values(path) == SETTINGS
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@given(value=values)
def test_shells_and_dotenv_read_the_same(value: str) -> None:
    text = envfile.text_of({"NAME": value})

    line = text.removeprefix(envfile.HEADER).strip()
    assert shlex.split(line) == [f"NAME={value}"]


def test_a_missing_directory_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        envfile.write(tmp_path / "missing" / "devnet.env", SETTINGS)

    assert list(tmp_path.iterdir()) == []


def test_only_its_own_file_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "devnet.env"
    envfile.write(path, SETTINGS)

    envfile.remove(path, SETTINGS | {"PVE_HOST": "other"})
    assert path.exists()
    envfile.remove(path, SETTINGS)
    envfile.remove(path, SETTINGS)

    assert not path.exists()
