"""The tutorial of the command line, typed line by line on the devnet."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import programs, project
from tests.support.processes import ServeProcess

PAGE = project.ROOT / "docs" / "tutorial" / "command-line.md"
NOT_TYPED = ("pip install",)


def lines() -> Iterator[str]:
    """The lines of the page that are typed."""
    for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        yield from (line for line in block.splitlines() if not line.startswith(NOT_TYPED))


@pytest.fixture
def environment(service: ServeProcess, tmp_path: Path) -> dict[str, str]:
    """A newcomer's: an empty home, and `pve402` in the path."""
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "pve402"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m pve402 "$@"\n')
    command.chmod(0o755)
    return {
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PVE402_RPC_URL": service.devnet.settings["RPC_URL"],
        "COLUMNS": "200",
    }


@pytest.mark.timeout(240)
def test_a_container_from_the_command_line(
    service: ServeProcess, environment: dict[str, str], tmp_path: Path
):
    said: dict[str, str] = {}
    with programs.started(
        ["bash"],
        env=environment,
        cwd=tmp_path,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as shell:
        for line in lines():
            said[line] = _typed(shell, line.replace("https://rent.example.com", service.url))
            if line == "pve402 wallet new":
                (address,) = re.findall(r"0x[0-9a-fA-F]{40}", said[line])
                service.devnet.rpc("devnet_mintUsdc", address, hex(1_000_000))
        assert shell.stdin
        shell.stdin.close()

    assert "1.00" in said["pve402 wallet balance"] or "1" in said["pve402 wallet balance"]
    leased = said["pve402 lease --hostname web --minutes 10 --ssh-key demo_key.pub --yes"]
    assert "pve402 shell web" in leased
    assert "accessToken" not in leased
    assert "web" in said["pve402 ls"]
    assert said["pve402 exec web -- uname -n"].split() == ["web"]
    assert "greeting.txt" in said["pve402 ls web /root"]
    assert (tmp_path / "back.txt").read_text() == "hello\n"
    assert said["pve402 logs web $JOB --follow"].split() == ["working", "done"]
    assert "paid" in said["pve402 wallet spent"]


def _typed(shell: "subprocess.Popen[str]", line: str) -> str:
    """Type a line, and read what it says until it has ended well."""
    assert shell.stdin
    assert shell.stdout
    shell.stdin.write(f"{line}\n__code=$?; echo; echo ended with $__code\n")
    shell.stdin.flush()
    said = ""
    while not (ended := re.search(r"^ended with (\d+)$", said, re.MULTILINE)):
        more = shell.stdout.readline()
        assert more, said
        said += more
    assert ended[1] == "0", f"{line}:\n{said}"
    return said[: ended.start()]
