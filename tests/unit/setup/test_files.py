"""Settings files: what is ours to set is set, every other line stays, nobody else can read it."""

import io
import stat
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import given
from hypothesis import strategies as st

from pve402.setup import files

VALUES = st.text(
    st.characters(min_codepoint=32, max_codepoint=0x17F, exclude_characters="\x7f\x85")
)


def _mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def _names(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


def test_a_new_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "new.env"

    files.write(file, "A=1\n")

    assert (_mode(file), file.read_text(), _names(tmp_path)) == (0o600, "A=1\n", ["new.env"])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (0o640, 0o640),
        (0o600, 0o600),
        (0o644, 0o640),
        (0o666, 0o640),
        (0o400, 0o600),
        (0o777, 0o640),
    ],
)
def test_an_existing_file_keeps_its_group_but_is_not_for_everybody(
    tmp_path: Path, before: int, after: int
) -> None:
    file = tmp_path / "old.env"
    file.write_text("A=1\n")
    file.chmod(before)

    files.write(file, "A=2\n")

    assert (_mode(file), file.read_text()) == (after, "A=2\n")


def test_other_lines_stay_as_they_are() -> None:
    text = "# mine\nPVE_HOST=old\n\nexport pay_to = 0x1 # note\nMETRICS=1\nPVE_HOST=older\n"

    changed = files.with_variables(text, {"PVE_HOST": "new", "PAY_TO": "0x2", "NETWORK": "base"})

    assert changed == (
        "# mine\nPVE_HOST=new\n\nPAY_TO=0x2\nMETRICS=1\nPVE_HOST=new\nNETWORK=base\n"
    )


def test_once_more_changes_nothing() -> None:
    wanted = {"PVE_HOST": "pve.example.net", "PVE_POOL": "a b"}
    once = files.with_variables("OTHER=1\n", wanted)

    assert files.with_variables(once, wanted) == once


@given(VALUES)
def test_the_service_reads_what_was_written(value: str) -> None:
    text = files.with_variables("", {"X": value})

    assert dotenv_values(stream=io.StringIO(text), interpolate=False) == {"X": value}


def test_what_is_written_stays_when_the_next_write_fails(tmp_path: Path) -> None:
    file = tmp_path / "x.env"
    files.write(file, "A=1\n")

    with pytest.raises(UnicodeEncodeError):
        files.write(file, "A=\udc80\n")

    assert (file.read_text(), _names(tmp_path)) == ("A=1\n", ["x.env"])
