"""The command line of `pve402 devnet`."""

from __future__ import annotations

from pathlib import Path

import pytest

from pve402_devnet import main


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--chain-port", "70000"], "no port"),
        (["--pve-port", "x"], "invalid"),
        (["--latency", "-1"], "scale"),
        (["--latency", "nan"], "scale"),
        (["--fund", "0x12"], "no address"),
        (["--env-file", "/nowhere/at/all/devnet.env"], "no directory"),
        (["--what"], "unrecognized"),
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
    chosen = main._parser().parse_args(
        ["--latency", "0", "--old-proxmox", "--fund", account, "--chain-port", "8545"]
    )

    options = main._options(chosen)

    assert (options.latency_scale, options.old_proxmox, options.exec_api) == (0, True, False)
    assert (options.fund, options.chain_port, options.pve_port) == ((account,), 8545, 0)
