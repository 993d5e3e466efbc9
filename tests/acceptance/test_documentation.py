"""The documentation's examples, run as a reader would, against a running service."""

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import pages, project
from tests.support.processes import ServeProcess

PRINTED = re.compile(r"^[1-9][0-9]+ \d{4}-\d\d-\d\dT\d\d:\d\d:[\d.]+Z")
BY_HAND = "docs/how-to/pay-by-hand.md"
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


def test_the_javascript_example_leases_and_runs_a_command(
    service: ServeProcess,
) -> None:
    (example,) = _examples("js", BY_HAND, "@x402/fetch")
    with _folder_of_a_wallet(service, project.ROOT / "tests/npm") as folder:
        (folder / "lease.mjs").write_text(_at(example, service))

        run = _run(["node", "lease.mjs"], folder)

    assert re.fullmatch(r"[1-9][0-9]+ Linux\n", run.stdout), run.stdout + run.stderr


def test_the_curl_example_pays_by_hand(service: ServeProcess, tmp_path: Path) -> None:
    (example,) = _examples("sh", BY_HAND, "sign.py")
    (signer,) = _examples("python", BY_HAND, "TransferWithAuthorization")
    with _folder_of_a_wallet(service, tmp_path) as folder:
        (folder / "sign.py").write_text(signer)

        run = _run(["bash", "-e", "-c", _at(example, service)], folder)

    lease = json.loads(run.stdout)
    assert (lease["status"], lease["amount"]) == ("active", "21800"), run.stdout
    assert lease["accessToken"]


@contextlib.contextmanager
def _folder_of_a_wallet(service: ServeProcess, parent: Path) -> Iterator[Path]:
    """A folder with the key of a wallet that has some USDC."""
    with tempfile.TemporaryDirectory(dir=parent, prefix="example-") as name:
        folder = Path(name)
        (folder / "wallet.key").write_text(f"0x{service.devnet.wallet().key.hex()}\n")
        yield folder


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    python = Path(sys.executable).parent
    return subprocess.run(
        command,
        cwd=folder,
        env={"PATH": f"{python}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
