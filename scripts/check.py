"""Run this project's checks in timed sections, and count the tests.

usage: .venv/bin/python scripts/check.py NAME [pytest options]
  NAME is one of all, fast, lint, types, bench, chaos, conformance

Every section has a time limit, so that a hang becomes a named failure. The last line counts the
tests of all sections.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(".venv/bin")
REPORTS = Path(".cache/reports")
SLOWEST = ("--durations=8", "--durations-min=2")
CORES = os.cpu_count() or 2
# Most tests spend about half their time waiting for processes and sockets, so two workers per core
# keep it busy. An idle worker takes tests from another, so that no long file delays the end.
IN_PARALLEL = ("-n", str(2 * CORES), "--dist", "worksteal")
# A test that its own time limit could not end shows its threads and costs its worker, not the run.
HANGING = ("-o", "faulthandler_timeout=600", "-o", "faulthandler_exit_on_timeout=true")
SOURCES = ("src", "devnet", "tests", "scripts")
_LONGEST_REASON = 300


@dataclass(frozen=True)
class Section:
    """One command with a title and a limit; `tests` if it is a pytest run."""

    title: str
    command: tuple[str, ...]
    limit_seconds: int = 300
    tests: bool = False
    leaves_cores: bool = False  # so the next section runs beside it, and its output comes later


def _pytest(title: str, *options: str, limit_seconds: int) -> Section:
    report = f"--junitxml={REPORTS / title}.xml"
    return Section(
        title=title,
        command=("python", "-m", "pytest", "-q", report, *options),
        limit_seconds=limit_seconds,
        tests=True,
    )


LINT = (
    Section("ruff", ("ruff", "check", *SOURCES)),
    Section("format", ("ruff", "format", "--check", *SOURCES)),
    Section("layers", ("lint-imports", "--cache-dir", ".cache/importlinter")),
)
TYPES = (Section("types", ("mypy",), leaves_cores=True),)
SHARED = (*SLOWEST, *IN_PARALLEL, *HANGING)
UNIT = _pytest(
    "unit",
    "tests/unit",
    "devnet/tests/unit",
    *(*SLOWEST, "-n", str(CORES), "--dist", "worksteal"),
    limit_seconds=1300,
)
INTEGRATION = _pytest(
    "integration", "tests/integration", "devnet/tests/integration", *SHARED, limit_seconds=2400
)
# The kill loop begins first, and waits for half of its time, above all for the last leases to end.
ACCEPTANCE = _pytest("acceptance", "tests/chaos", "tests/acceptance", *SHARED, limit_seconds=2400)

CONFORMANCE = (
    "devnet/tests/integration/pve/test_recordings.py",
    "devnet/tests/integration/pve/test_beside_fakepve.py",
    "devnet/tests/integration/pve/test_same_as_schema.py",
    "tests/integration/proxmox",
    "tests/acceptance/test_contract.py",
    "tests/acceptance/test_official_client.py",
    "tests/acceptance/test_official_clients.py",
    "tests/acceptance/test_facilitators.py",
    "tests/acceptance/test_proxmox_calls.py",
    "tests/acceptance/test_lease_on_fakepve.py",
    "tests/acceptance/test_console_real_vnc.py",
    "tests/acceptance/test_console_accessibility.py",
    "tests/conformance",
)
"""Checks against independent sources: recordings, schema, another fake, official clients and
suites, and clean Debian systems (with root and debootstrap)."""

# New examples each time; in `make test` they are always the same.
EXPLORED = ("tests/unit", "-m", "hypothesis", "--hypothesis-profile=exploring", "-n", str(CORES))

CHECKS: dict[str, tuple[Section, ...]] = {
    "lint": LINT,
    "types": TYPES,
    "fast": (*LINT, *TYPES, UNIT),
    "all": (*LINT, *TYPES, UNIT, INTEGRATION, ACCEPTANCE),
    "bench": (
        Section("table", ("python", "-m", "tests.bench"), limit_seconds=1800),
        _pytest("bench", "tests/bench", "-s", limit_seconds=1800),
    ),
    "chaos": (
        Section("chaos", ("python", "-m", "tests.chaos"), limit_seconds=5400),
        _pytest("properties", *EXPLORED, limit_seconds=2700),
    ),
    "conformance": (_pytest("conformance", *CONFORMANCE, *IN_PARALLEL, limit_seconds=2700),),
}


@dataclass(frozen=True)
class Outcome:
    """The result of one section."""

    section: Section
    ok: bool
    seconds: float


def main(arguments: Sequence[str]) -> int:
    """Run every section of the named check, even after a failure; return 1 if any failed."""
    if not arguments or arguments[0] not in CHECKS:
        print(__doc__, file=sys.stderr)
        return 2
    os.chdir(ROOT)
    REPORTS.mkdir(parents=True, exist_ok=True)
    outcomes = _run_all(CHECKS[arguments[0]], arguments[1:])
    _show(outcomes)
    return 0 if all(outcome.ok for outcome in outcomes) else 1


def _run_all(sections: Sequence[Section], pytest_options: Sequence[str]) -> list[Outcome]:
    """Run sections in turn, the next one beside one that leaves cores."""
    outcomes: list[Outcome] = []
    running: list[_Running] = []
    try:
        for section in sections:
            running.append(_Running(section, pytest_options))
            if not section.leaves_cores:
                outcomes += [each.outcome() for each in reversed(running)]
                running.clear()
        outcomes += [each.outcome() for each in running]
    finally:
        for each in running:
            each.end()
    return sorted(outcomes, key=lambda outcome: sections.index(outcome.section))


class _Running:
    """A section that runs; one that leaves cores prints once its outcome is asked for."""

    def __init__(self, section: Section, pytest_options: Sequence[str]) -> None:
        self._section = section
        self._code, self._seconds = 1, 0.0
        # closed with its outcome
        self._kept = tempfile.TemporaryFile() if section.leaves_cores else None  # noqa: SIM115
        if self._kept is None:
            self._announce()
        _report_of(section).unlink(missing_ok=True)
        program, *rest = section.command
        self._began = time.monotonic()
        self._process = subprocess.Popen(
            [str(BIN / program), *rest, *(pytest_options if section.tests else ())],
            stdin=subprocess.DEVNULL,
            stdout=self._kept,
            stderr=self._kept,
            start_new_session=True,
        )
        self._waiting = threading.Thread(target=self._wait)
        self._waiting.start()

    def outcome(self) -> Outcome:
        """Wait for its end, and say how it came out."""
        self._waiting.join()
        if self._kept is not None:
            self._announce()
            self._kept.seek(0)
            print(self._kept.read().decode(errors="replace"), end="")
            self._kept.close()
        word = "ok" if self._code == 0 else "FAILED"
        print(f"== {self._section.title}: {word} in {self._seconds:.0f} s", flush=True)
        return Outcome(section=self._section, ok=self._code == 0, seconds=self._seconds)

    def end(self) -> None:
        """End it and everything it started, if it still runs."""
        if self._process.poll() is None:
            _end(self._process)

    def _announce(self) -> None:
        print(f"\n== {self._section.title}: {' '.join(self._section.command[:4])}", flush=True)

    def _wait(self) -> None:
        """Note the exit code; at its limit, kill it and everything it started."""
        try:
            self._code = self._process.wait(timeout=self._section.limit_seconds)
        except subprocess.TimeoutExpired:
            limit = self._section.limit_seconds
            print(f"{self._section.title} is not finished after {limit} s, ending it", flush=True)
            self._code = _end(self._process)
        self._seconds = time.monotonic() - self._began


def _end(process: subprocess.Popen[bytes]) -> int:
    os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return 124


def _show(outcomes: Iterable[Outcome]) -> None:
    print("\n== summary")
    for outcome in outcomes:
        word = "ok" if outcome.ok else "FAILED"
        print(f"{outcome.section.title:<12} {word:<7} {outcome.seconds:6.0f} s")
    runs = [outcome.section for outcome in outcomes if outcome.section.tests]
    for section in runs:
        for name, why in _failures(section):  # said again: often only the end is kept
            print(f"failed: {name}\n    {why}")
    counts = [_counts(section) for section in runs]
    if counts:
        passed, failed, skipped = (sum(column) for column in zip(*counts, strict=True))
        print(f"\ntests: {passed} passed, {failed} failed, {skipped} skipped", flush=True)


def _report_of(section: Section) -> Path:
    return REPORTS / f"{section.title}.xml"


def _read_report(section: Section) -> ElementTree.Element | None:
    try:
        return ElementTree.parse(_report_of(section)).getroot()  # noqa: S314 -- our own run's
    except (OSError, ElementTree.ParseError):
        return None


def _failures(section: Section) -> Iterator[tuple[str, str]]:
    """Yield the names of a pytest section's failed tests, each with its reason on one line."""
    report = _read_report(section)
    for case in () if report is None else report.iter("testcase"):
        for problem in (*case.iter("failure"), *case.iter("error")):
            why = " ".join(problem.get("message", "").split())
            yield f"{case.get('classname')}::{case.get('name')}", why[:_LONGEST_REASON]


def _counts(section: Section) -> tuple[int, int, int]:
    """Return a pytest section's passed, failed and skipped tests; one failed without a report."""
    report = _read_report(section)
    if report is None:
        return 0, 1, 0
    suites = list(report.iter("testsuite"))
    total, failures, errors, skipped = (
        sum(int(suite.get(key, "0")) for suite in suites)
        for key in ("tests", "failures", "errors", "skipped")
    )
    return total - failures - errors - skipped, failures + errors, skipped


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
