"""What the tenants' commands print."""

import pytest
from pydantic import BaseModel

from pve402 import schemas
from pve402.cli import terminal

TOKEN = "t" * 150


def test_a_token_is_printed_whole_in_a_narrow_window(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    issued = schemas.TokenAnswer(
        access_token=TOKEN, expires_at=None, lease_id="l" + "0" * 25, owner="0x1", scope=["read"]
    )

    terminal.show(issued, as_json=False)

    assert TOKEN in capsys.readouterr().out


def test_facts_within_facts_are_read_without_json(capsys):
    class Answer(BaseModel):
        ssh: dict[str, str] = {"command": "ssh -J a b"}
        addresses: list[dict[str, str]] = [{"family": "ipv4", "address": "10.0.0.2"}] * 2
        ready: bool = True

    terminal.show(Answer(), as_json=False)

    assert capsys.readouterr().out.splitlines() == [
        "ssh.command  ssh -J a b",
        "addresses    ipv4 10.0.0.2, ipv4 10.0.0.2",
        "ready        true",
    ]


STEERING = ["a\x1b[2Jb\n", "\x9b31m", "\x1b]52;c;eA==\x07", "a\rb", "\u202ecod", "\x00\x7f"]


@pytest.mark.parametrize("text", STEERING)
@pytest.mark.parametrize("as_json", [False, True])
def test_no_answer_steers_the_terminal(capsys, text: str, as_json: bool):
    issued = schemas.TokenAnswer(
        access_token=text, expires_at=None, lease_id=text, owner=text, scope=[text]
    )

    terminal.show(issued, as_json=as_json)

    assert all(line.isprintable() for line in capsys.readouterr().out.split("\n"))


@pytest.mark.parametrize("text", STEERING)
def test_no_message_steers_the_terminal(capsys, text: str):
    terminal.say(text)

    said = capsys.readouterr().err
    assert said.startswith("pve402: ")
    assert all(line.isprintable() for line in said.split("\n"))


@pytest.mark.parametrize(("value", "shown"), [("[red]", "[red]"), (["x", 1], "x, 1"), (1, "1")])
def test_values_are_shown_as_they_are(value: object, shown: str):
    assert terminal._value(value) == shown


def test_a_huge_value_does_not_fill_the_window(capsys):
    terminal.show_columns([("name", "x" * 1_000_000)])

    assert len(capsys.readouterr().out) < 3000
