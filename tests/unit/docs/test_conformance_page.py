"""The page on tests against other people's software keeps up with what is run."""

import json
import re

import pytest
from tests.support import project

from pve402_devnet.facilitator import FaultKind

PAGE = (project.ROOT / "docs/conformance.md").read_text(encoding="utf-8")
NPM = json.loads((project.ROOT / "tests/npm/package.json").read_text())["dependencies"]


@pytest.mark.parametrize("kind", list(FaultKind), ids=lambda kind: kind.value)
def test_every_fault_of_the_facilitator_has_its_line(kind: FaultKind) -> None:
    assert re.search(rf"^\| `{kind.value}` \|", PAGE, re.MULTILINE)


@pytest.mark.parametrize("name", ["@x402/fetch", "@x402/axios", "x402-fetch", "x402-axios"])
def test_clients_are_named_with_the_version_that_is_run(name: str) -> None:
    assert f"| {name} | {NPM[name]} |" in PAGE


def test_e2bs_sdk_for_javascript_is_named_with_its_version() -> None:
    wanted = json.loads((project.ROOT / "tests/npm-e2b/package.json").read_text())["dependencies"]

    assert f"| e2b for JavaScript | e2b {wanted['e2b']} |" in PAGE


def test_the_judge_of_accessibility_is_named_with_its_version() -> None:
    assert f"| axe-core | {NPM['axe-core']} |" in PAGE


@pytest.mark.parametrize(
    ("file", "name", "text"),
    [
        ("conformance.txt", "x402-conformance", "x402-conformance, `resource` | {}"),
        ("conformance.txt", "hostile-facilitator", "hostile-facilitator {}"),
        ("ssh-clients.txt", "ansible-core", "ansible-core {}"),
        ("ssh-clients.txt", "paramiko", "paramiko {}"),
        ("fakepve.txt", "fakepve", "fakepve {}"),
        ("e2b.txt", "e2b", "e2b for Python | e2b {}"),
        ("dev.txt", "schemathesis", "schemathesis, unpaid | {}"),
        ("dev.txt", "x402", "Python, requests | x402 {}"),
    ],
)
def test_packages_are_named_with_the_version_that_is_locked(
    file: str, name: str, text: str
) -> None:
    pins = (project.ROOT / "requirements" / file).read_text()
    found = re.search(rf"^{re.escape(name)}(?:\[[a-z,]+\])?==(\S+)", pins, re.MULTILINE)

    assert found
    assert text.format(found[1]) in PAGE
