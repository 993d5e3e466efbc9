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
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(".venv/bin")
REPORTS = Path(".cache/reports")
SLOWEST = ("--durations=8", "--durations-min=2")
CORES = os.cpu_count() or 2
#  Most tests spend about half their time waiting for processes and sockets, so two workers per core
# keep it busy. An idle worker takes tests from another, so that no long file delays the end.
IN_PARALLEL = ("-n", str(2 * CORES), "--dist", "worksteal")
# A test that its own time limit could not end shows its threads and costs its worker, not the run.
HANGING = ("-o", "faulthandler_timeout=600", "-o", "faulthandler_exit_on_timeout=true")
SOURCES = ("src", "devnet", "tests", "scripts")


@dataclass(frozen=True)
class Section:
    """One command with a title and a limit; `tests` if it is a pytest run."""

    title: str
    command: tuple[str, ...]
    limit_seconds: int = 300
    tests: bool = False


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
TYPES = (Section("types", ("mypy",)),)
SHARED = (*SLOWEST, *IN_PARALLEL, *HANGING)
UNIT = _pytest(
    "unit", "tests/unit", "devnet/tests/unit", *SLOWEST, "-n", str(CORES), limit_seconds=420
)
INTEGRATION = _pytest(
    "integration", "tests/integration", "devnet/tests/integration", *SHARED, limit_seconds=900
)
# The kill loop begins first, and waits for half of its time, above all for the last leases to end.
ACCEPTANCE = _pytest("acceptance", "tests/chaos", "tests/acceptance", *SHARED, limit_seconds=1000)

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
    outcomes = [_run(section, arguments[1:]) for section in CHECKS[arguments[0]]]
    _show(outcomes)
    return 0 if all(outcome.ok for outcome in outcomes) else 1


def _run(section: Section, pytest_options: Sequence[str]) -> Outcome:
    print(f"\n== {section.title}: {' '.join(section.command[:4])}", flush=True)
    _report_of(section).unlink(missing_ok=True)
    program, *rest = section.command
    command = [str(BIN / program), *rest, *(pytest_options if section.tests else ())]
    started = time.monotonic()
    code = _wait(command, section.limit_seconds)
    seconds = time.monotonic() - started
    print(f"== {section.title}: {'ok' if code == 0 else 'FAILED'} in {seconds:.0f} s", flush=True)
    return Outcome(section=section, ok=code == 0, seconds=seconds)


def _wait(command: Sequence[str], limit_seconds: int) -> int:
    """Return the command's exit code; at its limit, kill it and everything it started."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            return process.wait(timeout=limit_seconds)
        except subprocess.TimeoutExpired:
            print(f"not finished after {limit_seconds} s, ending it", flush=True)
            return _end(process)
        except KeyboardInterrupt:
            _end(process)
            raise


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
    counts = [_counts(outcome.section) for outcome in outcomes if outcome.section.tests]
    if counts:
        passed, failed, skipped = (sum(column) for column in zip(*counts, strict=True))
        print(f"\ntests: {passed} passed, {failed} failed, {skipped} skipped", flush=True)


def _report_of(section: Section) -> Path:
    return REPORTS / f"{section.title}.xml"


def _counts(section: Section) -> tuple[int, int, int]:
    """Return a pytest section's passed, failed and skipped tests; one failed without a report."""
    try:
        report = ElementTree.parse(_report_of(section))  # noqa: S314 -- written by our own run
    except (OSError, ElementTree.ParseError):
        return 0, 1, 0
    suites = list(report.getroot().iter("testsuite"))
    total, failures, errors, skipped = (
        sum(int(suite.get(key, "0")) for suite in suites)
        for key in ("tests", "failures", "errors", "skipped")
    )
    return total - failures - errors - skipped, failures + errors, skipped


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
