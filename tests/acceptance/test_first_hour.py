"""The tutorial of a tenant's first hour, typed block by block; the browser is ours."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support import openssh, pages, programs
from tests.support.commands import Container
from tests.support.port_names import Port
from tests.support.processes import ServeProcess

from pve402.client import held

PAGE = Path("docs/tutorial/first-hour.md")
SSH = '#!/bin/sh\n[ ! -e ~/.ssh/config ] || set -- -F ~/.ssh/config "$@"\nexec /usr/bin/ssh "$@"\n'


@dataclass(kw_only=True)
class Desk:
    """A tenant's machine: a home folder, and what has been exported in its shell."""

    folder: Path
    environment: dict[str, str]

    @classmethod
    def new(cls, folder: Path, wallet_key: str) -> Desk:
        (folder / "wallet.key").write_text(f"{wallet_key}\n")
        programs = folder / "programs"
        programs.mkdir()
        (programs / "ssh").write_text(SSH)  # OpenSSH takes no other home than the user's
        (programs / "ssh").chmod(0o755)
        path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        kept = {"HOME": str(folder), "PATH": path, "LANG": "C.UTF-8", "COLUMNS": "200"}
        return cls(folder=folder, environment=kept)

    def type(self, block: str) -> str:
        """Type a block; returns what it prints. What it exports stays."""
        typed = f"exec 2>&1\n{block}\nenv -0 >exported"
        done = subprocess.run(
            ["bash", "-eu", "-c", typed],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}"
        pairs = (self.folder / "exported").read_text().rstrip("\0").split("\0")
        self.environment = dict(pair.split("=", 1) for pair in pairs)
        return done.stdout

    def watch(self, block: str, *steps: tuple[str, Callable[[], object]]) -> str:
        """Type a command that goes on; once it has printed a line, do the step. Then Ctrl-C."""
        said = ""
        with programs.started(
            ["bash", "-c", block],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as watching:
            assert watching.stdout is not None
            try:
                for line, act in steps:
                    while not re.search(line, said):
                        said += watching.stdout.readline() or "(it ended)"
                        assert "(it ended)" not in said, said
                    act()
            finally:
                os.killpg(watching.pid, signal.SIGINT)
                watching.wait(20)
        return said


def check_shown(said: str, expected: str) -> None:
    """Check that output has each of these lines, in which `...` stands for anything."""
    for line in expected.splitlines():
        words = [".*".join(map(re.escape, word.split("..."))) for word in line.split()]
        pattern = r"\s+".join(words)
        assert re.search(rf"^\s*{pattern}\s*$", said, re.MULTILINE), f"{line}\n{said}"


@dataclass(kw_only=True)
class Browser:
    """Visits the published port, once it has followed the link."""

    port: Port
    cookie: str = ""

    def follow(self, said: str) -> None:
        """Follow the link that a command has printed."""
        link = re.search(r"http://\S+/\.pve402/login#(\S+)", said)
        assert link is not None, said
        done = self.port.ask("/.pve402/login", "POST", data=link[1])
        self.cookie = done.headers["set-cookie"].partition(";")[0]

    def visit(self) -> str:
        """What the page shows."""
        answer = self.port.ask("/", headers={"Cookie": self.cookie, "Sec-Fetch-Site": "none"})
        assert answer.ok, answer.text
        return answer.text


def leased(service: ServeProcess, home: Path) -> Container:
    """The container that a command has leased, by what it has kept."""
    (kept,) = held.Leases(home / ".local/state/pve402/leases.sqlite3").of(service.url)
    return Container(service=service, ctid=kept.ctid, lease_id=kept.lease_id, token=kept.token)


@pytest.mark.timeout(400)
def test_every_block_does_what_the_page_says(naming: ServeProcess, tmp_path: Path) -> None:
    desk = Desk.new(tmp_path, f"0x{naming.devnet.wallet().key.hex()}")
    typed = {each.number: each.text for each in pages.examples("sh") if each.page == PAGE}
    printed = {each.number: each.text for each in pages.examples("text") if each.page == PAGE}
    blocks = iter(typed.items())

    def follow() -> str:
        number, block = next(blocks)
        said = desk.type(block.replace("https://rent.example.com", naming.url))
        check_shown(said, printed.get(number + 1, ""))
        return said

    follow()
    container = leased(naming, tmp_path)
    openssh.install(container)
    log_in, configure, copy, serve = (follow() for _ in range(4))
    assert (log_in, configure) == ("web\n", "Linux\n")
    browser = Browser(port=Port(container=container, port=8080))
    browser.follow(follow())
    assert browser.visit() in copy
    follow()
    assert "Hello again" in browser.visit()
    number, block = next(blocks)
    said = desk.watch(
        block, (r'(?s)GET / .*"GET / ', browser.visit), (r"(?s)(GET / .*){3}", lambda: None)
    )
    check_shown(said, printed[number + 1])
    follow()
    assert next(blocks, None) is None
    assert serve.startswith("Serving HTTP")
