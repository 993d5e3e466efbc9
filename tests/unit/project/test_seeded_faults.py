"""Faults that are planted on purpose: each is one change, and the same whenever it is asked for."""

import ast
from pathlib import Path
from types import ModuleType

import pytest
from tests.support import project

SOURCE = b"""def settle(payer, payee, amount):
    if amount < 1 and payer is not payee:
        raise ValueError("\xc3\xa4")
    return pay(payer, payee, amount + 1)
"""


@pytest.fixture
def seeded_faults(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(project.ROOT / "scripts")
    import seeded_faults

    return seeded_faults


def test_each_fault_changes_one_place(seeded_faults: ModuleType) -> None:
    faults = list(seeded_faults.faults_in(Path("module.py"), SOURCE))

    wrong = {fault.name.partition(": ")[2]: fault.planted(SOURCE).decode() for fault in faults}
    lines = {fault.name.split(": ")[1]: fault.planted(SOURCE).decode() for fault in faults}
    assert len(wrong) == 6
    assert "if (amount <= 1) and" in wrong["flipped comparison: amount < 1"]
    assert "and (payer is payee)" in wrong["flipped comparison: payer is not payee"]
    assert "if (amount < 1 or payer is not payee):" in lines["or for and"]
    assert "        pass\n" in lines["dropped guard"]
    assert "pay(payee, payer, amount + 1)" in lines["swapped arguments"]
    assert "amount + 1 + 1" in lines["off by one"]
    assert all(ast.parse(text) for text in wrong.values())


def test_a_fault_has_the_same_name_wherever_its_code_is(seeded_faults: ModuleType) -> None:
    here = seeded_faults.faults_in(Path("a.py"), SOURCE)
    there = seeded_faults.faults_in(Path("b.py"), b"# moved\n\n" + SOURCE)

    assert [fault.name for fault in here] == [fault.name for fault in there]


def test_there_is_a_test_for_every_package(seeded_faults: ModuleType) -> None:
    found = seeded_faults.faults_of(project.ROOT).values()

    assert {fault.file.parts[2] for fault in found} == set(seeded_faults.PACKAGES)
    assert all(seeded_faults.tests_of(project.ROOT, fault) for fault in list(found)[::50])
