"""What `pve402` hands over to other packages, and what it says where they are missing."""

import importlib.metadata

import pytest
from typer.testing import CliRunner

from pve402 import __main__ as entry


def _run(*arguments: str) -> tuple[int, str]:
    ended = CliRunner().invoke(entry.app, arguments)
    return ended.exit_code, ended.output


def test_the_devnet_gets_its_options() -> None:
    code, said = _run("devnet", "--chain-port", "70000")

    assert code == 2
    assert "70000 is not a port" in said


def test_without_the_devnet_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = importlib.metadata.EntryPoints()
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **_: nothing)

    code, said = _run("devnet", "--env-file", "x.env")

    assert code == 2
    assert said == "pve402: the devnet is a separate package: pip install pve402-devnet\n"


@pytest.mark.parametrize("options", [("--help",), ("--no-such",)])
def test_a_command_of_operators_is_not_called_as_a_tenants(options: tuple[str, ...]) -> None:
    _, said = _run("ops", "end", *options)

    assert "Usage: pve402 ops end " in said


def test_the_demo_is_in_a_checkout() -> None:
    code, said = _run("demo", "--keep")

    assert code == 2
    assert said == "pve402: the demo runs from a checkout of pve402: type `make demo` there\n"


@pytest.mark.parametrize(
    "option", [("--nameserver", "9.9.9.9"), ("--gateway", "10.0.0.1"), ("--addresses", "a-b")]
)
def test_an_option_of_a_subnet_without_one_is_refused(option: tuple[str, str]) -> None:
    code, said = _run("setup", "--sdn", *option)

    assert code == 2
    assert f"{option[0]} belongs to a network; add --subnet" in said
