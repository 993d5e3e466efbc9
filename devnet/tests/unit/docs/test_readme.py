"""The README names every switch there is."""

import argparse
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pve402_devnet import devnet, main
from pve402_devnet.chain import __main__ as chain
from pve402_devnet.chain import contracts, control
from pve402_devnet.chain.faults import NodeFaultKind
from pve402_devnet.facilitator import FaultKind
from pve402_devnet.facilitator import __main__ as facilitator
from pve402_devnet.pve import __main__ as pve
from pve402_devnet.pve import faults, options, routes
from pve402_devnet.terminal import __main__ as terminal

README = (Path(__file__).resolve().parents[3] / "README.md").read_text(encoding="utf-8")
PARSERS = {
    "all together": devnet.make_parser,
    "`pve`": pve.make_parser,
    "`chain`": chain.make_parser,
    "`facilitator`": facilitator.make_parser,
    "`terminal`": terminal.make_parser,
}


def table(head: str) -> str:
    """The table whose head starts so, to its end."""
    return README[README.index(head) :].partition("\n\n")[0]


@pytest.mark.parametrize("part", PARSERS)
def test_every_option_is_named(part: str) -> None:
    make: Callable[[], argparse.ArgumentParser] = PARSERS[part]
    row = re.search(rf"^\| {part} \| (.*) \|$", README, re.MULTILINE)
    assert row
    known = {name for action in make()._actions for name in action.option_strings}

    assert set(re.findall(r"`(--[a-z-]+)`", row[1])) == known - {"-h", "--help"}


def test_every_part_is_shown() -> None:
    assert all(f"pve402-devnet {part}" in README for part in main.PARTS)


def test_every_control_method_is_named() -> None:
    named = set(re.findall(r"`((?:evm|anvil|devnet)_\w+)`", table("| method |")))

    assert named == set(control.METHODS)


def test_every_fault_of_the_facilitator_is_named() -> None:
    named = re.findall(r"^\| `(\w+)` \|", table("| kind |"), re.MULTILINE)

    assert set(named) == set(FaultKind)


def test_every_fault_of_the_node_is_named() -> None:
    assert set(NodeFaultKind) <= set(re.findall(r"`(\w+)`", table("| fault of the node |")))


def test_every_fault_of_proxmox_is_named() -> None:
    named = set(re.findall(r"`(\w+)`", table("| fault |")))

    assert {kind.value for kind in faults.FaultKind} <= named


def test_every_contract_is_named() -> None:
    assert all(address in README for address in contracts.PLANTED)


def test_every_manner_of_an_awkward_wallet_is_named() -> None:
    named = re.findall(r"^\| (\d) \| `(\w+)` \|", table("| manner |"), re.MULTILINE)

    assert named == [(str(int(manner)), manner.name) for manner in contracts.Manner]


def test_the_number_of_calls_is_right() -> None:
    made = len(routes.every_route(options.SimulatorOptions()))

    assert f"**Proxmox VE**: {made} calls" in README
