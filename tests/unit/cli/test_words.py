"""Which program an option is for: ours before the program's name, its own after it."""

from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from pve402.cli import guest_work, inside

NOTHING = {"user": "", "cwd": "", "timeout": 600.0, "with_stdin": False}


def _parsed(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[Any, dict[str, Any]]:
    """The outcome of `pve402 exec`, and what it would run."""
    asked: dict[str, Any] = {}

    def execute(url: str, token: str | None, name: str, wish: Any, **how: bool) -> int:
        asked.update(
            name=name,
            words=wish.argv,
            user=wish.user,
            cwd=wish.cwd,
            timeout=wish.timeout_seconds,
            with_stdin=how["with_stdin"],
        )
        return 0

    monkeypatch.setattr(guest_work, "execute", execute)
    app = typer.Typer()
    inside.add_to(app)
    return CliRunner().invoke(app, ["exec", *arguments]), asked


@pytest.mark.parametrize(
    ("arguments", "name", "words", "ours"),
    [
        (["10001", "uname", "-a"], "10001", ["uname", "-a"], {}),
        (["10001", "--", "uname", "-a"], "10001", ["uname", "-a"], {}),
        (["web2", "ls", "--user", "x"], "web2", ["ls", "--user", "x"], {}),
        (["10001", "--user", "www", "id", "--user"], "10001", ["id", "--user"], {"user": "www"}),
        (["--user=www", "10001", "id", "-u"], "10001", ["id", "-u"], {"user": "www"}),
        (["10001", "-i", "--", "cat", "-"], "10001", ["cat", "-"], {"with_stdin": True}),
        (["10001", "-i", "cat", "-i"], "10001", ["cat", "-i"], {"with_stdin": True}),
        (["10001", "grep", "--", "-x"], "10001", ["grep", "--", "-x"], {}),
        (["10001", "--", "--odd-program"], "10001", ["--odd-program"], {}),
        (["10001", "--timeout", "7", "--", "sleep", "1"], "10001", ["sleep", "1"], {"timeout": 7}),
        (["-", "id"], "-", ["id"], {}),
        (["10001", "sh", "-c", "a --help"], "10001", ["sh", "-c", "a --help"], {}),
        (["10001", "git", "--help"], "10001", ["git", "--help"], {}),
        (["--", "10001", "uname", "-a"], "10001", ["uname", "-a"], {}),
        (
            ["--cwd", "/tmp", "10001", "--timeout", "5", "df", "-h", "--", "/"],
            "10001",
            ["df", "-h", "--", "/"],
            {"cwd": "/tmp", "timeout": 5.0},
        ),
    ],
)
def test_options_behind_the_first_word_are_the_programs(
    monkeypatch, arguments: list[str], name: str, words: list[str], ours: dict[str, Any]
):
    outcome, asked = _parsed(monkeypatch, *arguments)

    assert outcome.exit_code == 0, outcome.output
    assert asked == {**NOTHING, "name": name, "words": words, **ours}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["10001", "--no-such", "id"], "No such option"),
        (["--no-such", "10001", "id"], "No such option"),
        (["10001"], "Missing argument"),
        ([], "Missing argument"),
        (["10001", "--user"], "requires an argument"),
        (["10001", "--timeout", "much", "id"], "as a number"),
    ],
)
def test_what_is_wrong_before_the_first_word_is_wrong_usage(monkeypatch, arguments, said: str):
    outcome, asked = _parsed(monkeypatch, *arguments)

    assert (outcome.exit_code, asked) == (2, {})
    assert said in " ".join(outcome.output.split())


def test_help_is_ours_before_the_first_word(monkeypatch):
    outcome, asked = _parsed(monkeypatch, "--help")

    assert (outcome.exit_code, asked) == (0, {})
    assert "127.0.0.1:4021" in outcome.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["10001", "--timeout", "1e9", "id"], "timeout_seconds: Input should be less"),
        (["10001", "--timeout", "nan", "id"], "timeout"),
        (["10001", "--cwd", "/a" * 4096, "id"], "cwd: String should have at most"),
        (["10001", "echo", "x" * 130_000], "argv.1: String should have at most"),
    ],
)
def test_what_no_service_accepts_is_wrong_usage(monkeypatch, arguments, said: str):
    result, asked = _parsed(monkeypatch, *arguments)

    assert (result.exit_code, asked, said in result.stderr) == (2, {}, True)
