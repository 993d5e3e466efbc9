"""The command line of `pve402-devnet` and of its parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from pve402_devnet import devnet, main
from pve402_devnet.chain import __main__ as chain
from pve402_devnet.pve import __main__ as pve
from pve402_devnet.pve import options as pve_options


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--chain-port", "70000"], "not a port"),
        (["--pve-port", "x"], "invalid"),
        (["--latency", "-1"], "scale"),
        (["--latency", "nan"], "scale"),
        (["--fund", "0x12"], "not an address"),
        (["--env-file", "/nowhere/at/all/devnet.env"], "no directory"),
        (["--what"], "unrecognized"),
        (["pve", "--port", "70000"], "not a port"),
        (["pve", "--progress", "never"], "invalid choice"),
        (["chain", "--fund", "me"], "not an address"),
        (["facilitator", "--what"], "unrecognized"),
        (["terminal", "--more", "x"], "invalid"),
    ],
)
def test_a_bad_command_line_is_explained(
    arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(arguments) == 2
    assert word in capsys.readouterr().err


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--help"]) == 0

    shown = capsys.readouterr().out
    for option in ("--env-file", "--pve-port", "--chain-port", "--facilitator-port", "--latency"):
        assert option in shown
    for option in ("--unsafe-shells", "--old-proxmox", "--exec-api", "--fund"):
        assert option in shown


def test_options_are_understood(tmp_path: Path) -> None:
    account = "0x" + "ab" * 20
    chosen = devnet.make_parser().parse_args(
        ["--latency", "0", "--old-proxmox", "--fund", account, "--chain-port", "8545"]
    )

    options = devnet.options_of(chosen)

    assert (options.latency_scale, options.old_proxmox, options.exec_api) == (0, True, False)
    assert (options.fund, options.chain_port, options.pve_port) == ((account,), 8545, 0)


@pytest.mark.parametrize("part", main.PARTS)
def test_every_part_has_its_own_help(part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([part, "--help"]) == 0

    assert f"usage: pve402-devnet {part}" in capsys.readouterr().out


def test_help_names_the_parts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--help"]) == 0

    shown = capsys.readouterr().out
    assert all(f"pve402-devnet {part}" in shown for part in main.PARTS)


def test_options_of_a_part_are_understood() -> None:
    made = pve.options_of(pve.make_parser().parse_args(["--nodes", "a,b", "--progress", "tick"]))
    blocks = chain.options_of(chain.make_parser().parse_args(["--block-seconds", "0"]))

    assert [node.name for node in made.nodes] == ["a", "b"]
    assert made.progress is pve_options.Progress.BY_TICK
    assert (blocks.block_interval_seconds, blocks.automine, blocks.port) == (None, True, 8545)
