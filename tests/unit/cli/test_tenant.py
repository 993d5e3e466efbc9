"""What the tenants' commands print."""

import pytest

from pve402 import schemas
from pve402.cli import tenant

TOKEN = "t" * 150


def test_a_token_is_printed_whole_in_a_narrow_window(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    issued = schemas.TokenAnswer(
        access_token=TOKEN, expires_at=None, lease_id="l" + "0" * 25, owner="0x1", scope=["read"]
    )

    tenant._show(issued, as_json=False)

    assert TOKEN in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "shown"), [("a\x1b[2Jb\n", "a?[2Jb?"), ("[red]", "[red]"), (["x"], '["x"]')]
)
def test_no_answer_steers_the_terminal(value: object, shown: str):
    assert tenant._plain(value) == shown
