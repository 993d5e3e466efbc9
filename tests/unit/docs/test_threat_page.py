"""The threat model: each party, and a test that is there for each thing they may try."""

import re

import pytest
from tests.support import named_tests
from tests.support.project import ROOT

PAGE = "docs/explanation/threat-model.md"
TEXT = (ROOT / PAGE).read_text(encoding="utf-8")
ROWS = [line for line in TEXT.splitlines() if re.match(r"\| (?!tries to|---)", line)]


@pytest.mark.parametrize(
    "party",
    [
        "A tenant",
        "A neighbour",
        "A facilitator",
        "A thief of the Proxmox token",
        "A page in a tenant's browser, and others on their machine",
        "An agent, and what talks it into things",
    ],
)
def test_each_party_has_rows(party: str) -> None:
    section = TEXT.partition(f"## {party}\n")[2].partition("\n## ")[0]

    assert section.count("::test_") >= 5


@pytest.mark.parametrize("row", ROWS)
def test_each_row_says_what_comes_of_it_and_names_a_test(row: str) -> None:
    tries, comes, shown = row.strip("| ").split(" | ")

    assert tries
    assert comes
    assert "::test_" in shown


@pytest.mark.parametrize(("file", "test"), named_tests.named(PAGE), ids="::".join)
def test_each_test_it_names_is_there(file: str, test: str) -> None:
    assert test in named_tests.functions_of(file)


def test_no_row_stands_twice() -> None:
    assert len(ROWS) == len(set(ROWS)) >= 25
