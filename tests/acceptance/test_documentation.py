"""The documentation's examples, run as a reader would, against a running service."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support import pages
from tests.support.processes import ServeProcess

PRINTED = re.compile(r"^[1-9][0-9]+ \d{4}-\d\d-\d\dT\d\d:\d\d:[\d.]+Z")
ADDRESSES = ("http://127.0.0.1:4021", "https://rent.example.com", "$SERVICE")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEJ1c3kgZXhhbXBsZSBrZXksIG5vdCBhIHJlYWwga2V5 reader"


def _examples(language: str, page: str, needle: str) -> list[str]:
    """The examples of a page that have a word in them; an empty list would test nothing."""
    found = [example for example in pages.examples(language) if example.page == Path(page)]
    return [example.text for example in found if needle in example.text]


def _at(text: str, service: ServeProcess) -> str:
    for address in ADDRESSES:
        text = text.replace(address, service.url)
    return text


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial/tenant.md"])
def test_the_python_example_leases_a_container(
    service: ServeProcess, tmp_path: Path, page: str
) -> None:
    (example,) = _examples("python", page, "lease/container")
    (tmp_path / "wallet.key").write_text(f"0x{service.devnet.wallet().key.hex()}\n")
    (tmp_path / "id_ed25519.pub").write_text(f"{KEY}\n")

    run = subprocess.run(
        [sys.executable, "-c", _at(example, service)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert PRINTED.match(run.stdout), run.stdout + run.stderr


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial/tenant.md"])
def test_the_curl_example_gives_a_quote(service: ServeProcess, page: str) -> None:
    (example,) = _examples("sh", page, "/lease/quote")

    run = subprocess.run(
        ["bash", "-e", "-c", _at(example, service)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert '"accepts"' in run.stdout, run.stdout + run.stderr
    assert '"21800"' in run.stdout
