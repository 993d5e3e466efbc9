"""E2B's own public suites, run from a checkout beside the project against a gateway."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from tests.support import e2b_gateway, project

#: The commit of github.com/e2b-dev/E2B that the figures in docs/conformance.md are of.
COMMIT: Final = "b8029973aa7da5f741f7bb1a9f833b38a0885438"
NPM: Final = project.ROOT / "tests/npm-e2b"
#: What the gateway does not offer, by the names of tests.
EXCLUDED: Final = {
    "metadata of files": re.compile(r"files[./](test_)?metadata\b"),
    "pause": re.compile(r"paused?\b|_paused?_|api[./](snapshot|test_sbx_snapshot)|_snapshot[./]"),
}
_PYTHON: Final = tuple(
    f"tests/{kind}/{folder}"
    for kind in ("sync", "async")
    for folder in (
        *(f"sandbox_{kind}/{part}" for part in ("commands", "files", "pty")),
        f"api_{kind}",
    )
)
_VITEST: Final = """
import { defineConfig } from 'vitest/config'
export default defineConfig({ test: {
  include: ['tests/sandbox/{commands,files,pty}/**/*.test.ts', 'tests/api/**/*.test.ts'],
  setupFiles: ['tests/globalFetchFallback.setup.ts'], isolate: true, globals: false,
  testTimeout: 60000, environment: 'node', maxWorkers: 2, env: { ...process.env },
} })
"""
_LIMIT_SECONDS: Final = 1500


@dataclass(kw_only=True)
class Results:
    """How the tests of a suite ended."""

    suite: str
    passed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    excluded: Counter[str] = field(default_factory=Counter)

    def note(self, name: str, problem: str | None) -> None:
        """Note a test; a problem of None is none."""
        for why, names in EXCLUDED.items():
            if names.search(name):
                self.excluded[why] += 1
                return
        if problem is None:
            self.passed.append(name)
        else:
            number = sum(known.partition(" #")[0] == name for known in self.failed)
            self.failed[f"{name} #{number}" if number else name] = problem

    @property
    def collected(self) -> int:
        """All tests of the suite."""
        return len(self.passed) + len(self.failed) + self.excluded.total()

    def lines(self) -> Iterator[str]:
        """What is told of it."""
        out = ", ".join(f"{count} {why}" for why, count in self.excluded.items())
        yield f"{self.suite}: {self.collected} collected, {self.excluded.total()} excluded ({out})"
        yield f"  {len(self.passed)} passed, {len(self.failed)} failed"
        yield from (
            f"  FAILED {name}: {why.strip().partition(chr(10))[0][:200]}"
            for name, why in self.failed.items()
        )


def python(checkout: Path, settings: dict[str, str], folder: Path) -> Results:
    """Run the suites for Python with the SDK that is installed."""
    report = folder / "python.xml"
    done = subprocess.run(
        [
            e2b_gateway.SDK.with_name("pytest"),
            *("-q", "-p", "no:cacheprovider", "-n", "2", "--timeout", "60", "--tb", "line"),
            *("-o", "junit_family=xunit1", f"--junitxml={report}", *_PYTHON),
        ],
        cwd=checkout / "packages/python-sdk",
        env={**_environment(settings), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_LIMIT_SECONDS,
        check=False,
    )
    assert report.exists(), done.stdout[-3000:]
    found = Results(suite="Python")
    for case in ET.parse(report).iter("testcase"):
        problems = [part for part in case if part.tag in {"failure", "error", "skipped"}]
        why = problems[0].get("message") or problems[0].tag if problems else None
        found.note(f"{case.get('classname')}.{case.get('name')}", why)
    return found


def javascript(checkout: Path, settings: dict[str, str], folder: Path) -> Results:
    """Run the suites for JavaScript, which bring the SDK of their checkout."""
    source = checkout / "packages/js-sdk"
    for name in ("src", "tests"):
        shutil.copytree(source / name, folder / name)
    for name in ("package.json", "tsconfig.json"):
        shutil.copy(source / name, folder / name)
    (folder / "vitest.config.mts").write_text(_VITEST)
    (folder / "node_modules").symlink_to(NPM / "node_modules")
    report = folder / "javascript.json"
    done = subprocess.run(
        [
            "node",
            NPM / "node_modules/vitest/vitest.mjs",
            "run",
            "--reporter=json",
            f"--outputFile={report}",
        ],
        cwd=folder,
        env=_environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_LIMIT_SECONDS,
        check=False,
    )
    assert report.exists(), done.stdout[-3000:]
    found = Results(suite="JavaScript")
    for file in json.loads(report.read_text())["testResults"]:
        path = file["name"].rpartition("/tests/")[2]
        if not file["assertionResults"]:
            found.note(path, f"could not run: {file['message']}")
        for test in file["assertionResults"]:
            why = "; ".join(test["failureMessages"]) or test["status"]
            problem = None if test["status"] == "passed" else why
            found.note(f"{path}: {test['fullName']}", problem)
    return found


def _environment(settings: dict[str, str]) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**kept, **settings}
