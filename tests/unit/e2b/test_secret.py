"""The gateway's key: made once, for this user alone."""

import re
import stat
from pathlib import Path

import pytest

from pve402 import client
from pve402.e2b import secret


def test_a_key_is_made_once_and_is_this_users_alone(tmp_path: Path) -> None:
    made = secret.load(tmp_path / "new" / "e2b.key")

    assert re.fullmatch(r"e2b_[0-9a-f]{40}", made)
    assert secret.load(tmp_path / "new" / "e2b.key") == made
    assert stat.S_IMODE((tmp_path / "new" / "e2b.key").stat().st_mode) == 0o600


def test_a_key_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "e2b.key"
    made = secret.load(path)
    path.chmod(0o644)

    assert secret.load(path) == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["short", "e2b_" + "g" * 40, "e2b_" + "0" * 41, "\xff"])
def test_another_file_is_not_taken_for_a_key(tmp_path: Path, text: str) -> None:
    path = tmp_path / "e2b.key"
    path.write_text(text, encoding="latin-1")

    with pytest.raises(client.NotesUnusable) as caught:
        secret.load(path)
    assert text not in str(caught.value)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("e2b_" + "0" * 40)
    (tmp_path / "e2b.key").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(client.NotesUnusable):
        secret.load(tmp_path / "e2b.key")


def test_each_sandbox_has_a_token_of_its_own() -> None:
    keys, names = ("e2b_1", "e2b_2"), ("l1", "l2")

    assert len({secret.token_of(key, name) for key in keys for name in names}) == 4
