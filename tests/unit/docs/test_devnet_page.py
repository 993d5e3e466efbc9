"""The devnet's page names every switch there is."""

import re

from tests.support import project

from pve402_devnet.chain import contracts, control
from pve402_devnet.facilitator import FaultKind

PAGE = (project.ROOT / "docs" / "reference" / "devnet.md").read_text(encoding="utf-8")


def test_every_control_method_is_named() -> None:
    assert set(re.findall(r"`((?:evm|anvil|devnet)_\w+)`", PAGE)) == set(control.METHODS)


def test_every_fault_is_named() -> None:
    table = PAGE[PAGE.index("| kind |") :]

    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(FaultKind)


def test_every_contract_is_named() -> None:
    assert all(address in PAGE for address in contracts.PLANTED)
