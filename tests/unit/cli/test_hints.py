"""What a tenant is told to type after a refusal."""

import asyncio
from typing import Any

import pytest
import typer
from typer.main import get_command

from pve402 import client
from pve402.cli import calls, hints, private_images, reinstalls, size_changes
from pve402.client import refusals


def _refused(code: str) -> client.ClientError:
    return refusals.of(409, code, "No.")


def test_a_refusal_comes_with_what_to_type_next(capsys: pytest.CaptureFixture[str]) -> None:
    async def refused(_: client.Client) -> None:
        await asyncio.sleep(0)
        raise _refused("has_snapshots")

    with pytest.raises(typer.Exit):
        calls.run(client.Client("http://127.0.0.1:9"), refused)

    assert "pve402: --delete-snapshots deletes them with it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("code", "command"),
    [
        ("credential_required", "reinstall"),
        ("has_snapshots", "reinstall"),
        ("needs_restart", "change"),
        ("stop_first", "save"),
    ],
)
def test_a_hint_names_an_option_of_the_command(code: str, command: str) -> None:
    app = typer.Typer()
    for home in (private_images, reinstalls, size_changes):
        home.add_to(app)
    commands: Any = get_command(app)

    hint = hints.of(_refused(code)) or ""

    known = {flag for one in commands.commands[command].params for flag in one.opts}
    assert {word.strip(",") for word in hint.split() if word.startswith("--")} <= known
    assert "--" in hint


@pytest.mark.parametrize(
    ("code", "command"), [("lease_not_ready", "renew"), ("unknown_template", "images")]
)
def test_a_hint_names_a_command(code: str, command: str) -> None:
    assert f"`pve402 {command}`" in (hints.of(_refused(code)) or "")


def test_other_refusals_stand_alone() -> None:
    assert hints.of(_refused("no_capacity")) is None
    assert hints.of(client.ServiceUnreachable("away")) is None
