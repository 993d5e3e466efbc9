"""The page about money: every end of a settlement for every payer, and tests that are there."""

import pytest
from tests.support import named_tests
from tests.support.project import ROOT

PAGE = (ROOT / "docs" / "explanation" / "money.md").read_text(encoding="utf-8")
ENDS = ("settled", "refused before broadcast", "mined and reverted", "dropped", "replaced")
PAYERS = ("EOA", "EIP-1271", "ERC-6492, deployed", "ERC-6492, not deployed", "EIP-7702")
NAMED = named_tests.named("docs/explanation/money.md")


@pytest.mark.parametrize("payer", PAYERS)
@pytest.mark.parametrize("end", [*ENDS, "unknown"])
def test_each_end_for_each_payer_has_one_row(end: str, payer: str) -> None:
    rows = [line.split(" | ") for line in PAGE.splitlines() if line.startswith(f"| {end} | ")]

    (row,) = [cells for cells in rows if cells[1] == payer]

    assert len(row) == 5
    assert all(cell.strip("| ") for cell in row)
    assert "::" in row[-1]


@pytest.mark.parametrize(("file", "test"), NAMED, ids="::".join)
def test_each_test_it_names_is_there(file: str, test: str) -> None:
    assert test in named_tests.functions_of(file)
