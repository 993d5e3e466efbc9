"""`make test` runs its sections in turn, and one that leaves cores beside the next."""

from pathlib import Path
from types import ModuleType

import pytest
from tests.support import project

WAIT = """
import pathlib, sys, time
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.02)
print("the first has ended")
sys.exit(int(sys.argv[2]))
"""
GO = "import pathlib, sys; pathlib.Path(sys.argv[1]).touch(); print('the second has ended')"


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.chdir(project.ROOT)
    monkeypatch.syspath_prepend(project.ROOT / "scripts")
    import check

    return check


@pytest.mark.parametrize(("code", "words"), [(0, "ok"), (3, "FAILED")])
def test_a_section_that_leaves_cores_runs_beside_the_next_and_is_shown_after_it(
    check: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    code: int,
    words: str,
) -> None:
    sign = str(tmp_path / "sign")
    first = check.Section(
        "first", ("python", "-c", WAIT, sign, str(code)), limit_seconds=60, leaves_cores=True
    )
    second = check.Section("second", ("python", "-c", GO, sign))
    monkeypatch.setitem(check.CHECKS, "both", (first, second))

    ended = check.main(["both"])

    said = capfd.readouterr().out
    assert ended == (1 if code else 0)
    assert said.index("the second has ended") < said.index("the first has ended")
    assert f"== first: {words} in" in said
    assert said.index("\nfirst ") < said.index("\nsecond ")


def test_a_section_that_does_not_end_is_ended_and_fails(
    check: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    endless = check.Section(
        "endless", ("python", "-c", "import time; time.sleep(600)"), limit_seconds=1
    )
    monkeypatch.setitem(check.CHECKS, "endless", (endless,))

    assert check.main(["endless"]) == 1

    assert "endless is not finished after 1 s" in capfd.readouterr().out


REPORT = """
import pathlib, sys
pathlib.Path(sys.argv[1]).write_text('''<testsuites><testsuite tests="3" failures="1" errors="1">
<testcase classname="unit.test_a" name="test_one[x]"><failure message="assert 1&#10; == 2"/>
</testcase><testcase classname="unit.test_a" name="test_two"><error message="no room"/></testcase>
<testcase classname="unit.test_a" name="test_three"/></testsuite></testsuites>''')
sys.exit(1)
"""


def test_the_summary_names_what_failed_and_why(
    check: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(check, "REPORTS", tmp_path)
    report = str(tmp_path / "some.xml")
    some = check.Section("some", ("python", "-c", REPORT, report), tests=True)
    monkeypatch.setitem(check.CHECKS, "some", (some,))

    assert check.main(["some"]) == 1

    summary = capfd.readouterr().out.partition("== summary")[2]
    assert "failed: unit.test_a::test_one[x]\n    assert 1 == 2" in summary
    assert "failed: unit.test_a::test_two\n    no room" in summary
    assert "test_three" not in summary
    assert "tests: 1 passed, 2 failed, 0 skipped" in summary
