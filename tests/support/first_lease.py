"""From an empty Proxmox VE to the first paid lease, typed as an operator types it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import ssl
import subprocess
import sys
import termios
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from tests.support import processes, project

DESK = "10.99.0.50"
PASSWORD = "root-of-the-simulator"
LIMIT_SECONDS = 90.0
OUTSIDE = "203.0.113.9"  # where the simulated internet serves, and answers for names
DEEP = "pve402 ops doctor --deep"
PLAIN = ("-m", "pve402")
HASTY = ("-m", "tests.support.hasty")
_CONVERSATION = (
    ("Is it the same?", "y"),
    ("Administrator for this run", ""),
    ("Password of root@pam", PASSWORD),
    ("Make these", "y"),
    ("Make these", "y"),
    ("Has it said that the timer runs?", "y"),
    ("Do both work, and is the timer stopped?", "y"),
)
_NETWORK = ("--sdn", "--subnet", "10.77.0.0/24", "--nameserver", OUTSIDE)
_TARGETS = ("--target", "internet.test:80", "--mail", "mail.test")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_OFFER = ("--hostname", "first", "--minutes", "10", "--max-usd", "0.05", "--json")


@dataclass(kw_only=True)
class Way:
    """What was typed, how long each command took, and what came of it."""

    typed: list[str] = field(default_factory=list)
    answers: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    lease: dict[str, Any] = field(default_factory=dict)

    @contextlib.contextmanager
    def command(self, line: str) -> Iterator[None]:
        """Count a command and take its time."""
        self.typed.append(line)
        before = time.monotonic()
        yield
        self.seconds[line] = time.monotonic() - before


class Terminal:
    """A program at a terminal of its own."""

    def __init__(self, words: Sequence[str], folder: Path) -> None:
        self._end, inner = pty.openpty()
        environment = {**os.environ, "PYTHONPATH": str(project.ROOT), "COLUMNS": "200"}
        self._popen = subprocess.Popen(
            [sys.executable, *words],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
        os.close(inner)
        self.said = ""
        self._seen = 0

    def answer(self, question: str, line: str) -> None:
        """Wait for a question, and type the answer."""
        give_up_at = time.monotonic() + LIMIT_SECONDS
        while (found := self.said.find(question, self._seen)) < 0:
            assert time.monotonic() < give_up_at, self.said[-2000:]
            assert self._read(), f"{question} was not asked:\n{self.said[-2000:]}"
        self._seen = found + len(question)
        while line == PASSWORD and termios.tcgetattr(self._end)[3] & termios.ECHO:
            time.sleep(0.01)  # what is typed before the echo is off is thrown away
        os.write(self._end, f"{line}\n".encode())

    def end(self) -> int:
        """Read to the end, as far as there is one; the exit status."""
        while self._read():
            pass
        os.close(self._end)
        try:
            return self._popen.wait(10)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            return self._popen.wait()

    def _read(self) -> bool:
        """Read what is there within a while; False at the end."""
        ready, _, _ = select.select([self._end], [], [], LIMIT_SECONDS)
        try:
            chunk = os.read(self._end, 65536) if ready else b""
        except OSError:  # a terminal whose program has ended
            chunk = b""
        self.said += chunk.decode(errors="replace").replace("\r\n", "\n")
        return bool(chunk)


@contextlib.contextmanager
def empty_proxmox(folder: Path, latency: str) -> Iterator[str]:
    """Run a Proxmox VE as its installer leaves it; where its API is."""
    flags = ("--tls", "--port", "0", "--network", "--latency", latency, "--callers-address", DESK)
    process = processes.start(folder, "devnet", "pve", *flags, "--root-password", PASSWORD)
    try:
        processes.wait_until(lambda: "PVE_ROOT_PASSWORD=" in process.said(), process, "up")
        found = re.search("PVE_HOST=(.*)", process.said())
        assert found is not None
        yield found[1]
    finally:
        process.end()


def go(
    folder: Path, devnet: processes.DevnetProcess, host: str, program: Sequence[str] = PLAIN
) -> Way:
    """Type everything in order, and stop at the first that goes wrong."""
    way, env_file, port = Way(), folder / "pve402.env", processes.free_port()
    url = f"http://127.0.0.1:{port}"
    given = {
        "PVE_HOST": host,
        "PAY_TO": devnet.settings["PAY_TO"],
        "RPC_URL": devnet.settings["RPC_URL"],
        "FACILITATOR_URL": devnet.settings["FACILITATOR_URL"],
        "PVE_STORAGE": "local-lvm",
        "PVE402_PUBLIC_URL": url,
        "PVE_OS_TEMPLATE": "local:vztmpl/busybox-alpine-3.22_1_amd64.tar.gz",  # it has a ping
    }
    _set_up(way, folder, [f"{name}={value}" for name, value in given.items()], program)
    _ask_doctor(way, "pve402 ops doctor", folder, PLAIN)
    _ask_doctor(way, DEEP, folder, program, *_TARGETS)
    with way.command("pve402 serve"):
        arguments = ("serve", "--env-file", str(env_file), "--port", str(port))
        process = processes.start(folder, *arguments)
        server = processes.ServeProcess(process=process, url=url, devnet=devnet)
        processes.wait_until(server.ready, process, "ready")
    try:
        _lease(way, server)
    finally:
        process.end()
    return way


def _set_up(way: Way, folder: Path, given: Sequence[str], program: Sequence[str]) -> None:
    flags = ("--run", *_NETWORK, "--from", DESK, "--env-file", "pve402.env")
    with way.command("pve402 setup"):
        terminal = Terminal([*program, "setup", *flags, *given], folder)
        try:
            for question, line in _CONVERSATION:
                terminal.answer(question, line)
        finally:
            status = terminal.end()
    way.answers = len(_CONVERSATION)
    way.said["setup"] = terminal.said
    assert status == 0, terminal.said[-3000:]
    way.typed += [
        line.strip()
        for line in terminal.said.splitlines()
        if line.startswith("  systemctl stop")  # the timer and its end, in a shell on the node
    ]


def _ask_doctor(way: Way, line: str, folder: Path, program: Sequence[str], *flags: str) -> None:
    words = [*program, *line.split()[1:], *flags, "--env-file", "pve402.env"]
    with way.command(line):
        terminal = Terminal(words, folder)
        status = terminal.end()
    way.said[line] = _COLOUR.sub("", terminal.said)
    assert status == 0, way.said[line]


def _lease(way: Way, server: processes.ServeProcess) -> None:
    wallet = server.devnet.wallet()
    settings = {
        "PVE402_URL": server.url,
        "PVE402_WALLET_KEY": "0x" + wallet.key.hex().removeprefix("0x"),
        "PVE402_ROOT_PASSWORD": "a-good-password",
    }
    with way.command("pve402 lease"):
        done = processes.run("lease", *_OFFER, **settings)
    assert done.returncode == 0, done.stderr
    way.lease = json.loads(done.stdout)


def settings_of(folder: Path) -> dict[str, str | None]:
    """The settings that were written."""
    return dotenv_values(folder / "pve402.env")


def guests(folder: Path, host: str) -> set[int]:
    """The containers that are on the node."""
    known = settings_of(folder)
    token = f"{known['PVE_TOKEN_ID']}={known['PVE_TOKEN_SECRET']}"
    asked = urllib.request.Request(
        f"{host}/api2/json/nodes/pve/lxc", headers={"Authorization": f"PVEAPIToken={token}"}
    )
    unsigned = ssl.create_default_context()
    unsigned.check_hostname, unsigned.verify_mode = False, ssl.CERT_NONE
    with urllib.request.urlopen(asked, context=unsigned, timeout=30) as answer:
        return {int(row["vmid"]) for row in json.load(answer)["data"]}
