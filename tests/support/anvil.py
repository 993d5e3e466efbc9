"""A real EVM node, anvil, with the devnet's contracts planted on it.

The program comes from npm (tests/npm/package-lock.json pins it, `make setup` installs it); it
runs in a process of its own on a free port of loopback.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import subprocess
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.support import programs

from pve402_devnet.chain import contracts
from pve402_devnet.facilitator.node import HttpNode

PROGRAM = (
    Path(__file__).resolve().parents[1] / "npm/node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil"
)
LISTENING = re.compile(r"Listening on 127\.0\.0\.1:(\d+)")
ETH = 10**18


@dataclass(frozen=True, kw_only=True)
class Anvil:
    """A running anvil on chain 84532 with USDC at its canonical address."""

    url: str
    node: HttpNode = field(repr=False)

    def rpc(self, method: str, *params: Any) -> Any:
        """Call a JSON-RPC method; raises node.NodeRefused as the node answers."""
        return self.node(method, *params)

    def fund(self, address: str, *, usdc_atomic: int = 0, eth: int = 0) -> None:
        """Give an account USDC (atomic units) and set its balance of whole ETH."""
        if eth:
            self.rpc("anvil_setBalance", address, hex(eth * ETH))
        if usdc_atomic:
            call = "0x40c10f19" + address[2:].rjust(64, "0") + f"{usdc_atomic:064x}"
            minter = contracts.MINTER_ADDRESS
            transaction = {"from": minter, "to": contracts.USDC_ADDRESS, "data": call}
            self.rpc("eth_sendTransaction", transaction)

    def usdc_balance(self, address: str) -> int:
        """In atomic units."""
        call = "0x70a08231" + address[2:].rjust(64, "0")
        answer = self.rpc("eth_call", {"to": contracts.USDC_ADDRESS, "data": call}, "latest")
        return int(answer, 16)


@pytest.fixture
def anvil() -> Iterator[Anvil]:
    """A fresh anvil that mines each transaction at once."""
    with running() as made:
        yield made


@contextlib.contextmanager
def running() -> Iterator[Anvil]:
    """Run one."""
    if not PROGRAM.exists():
        pytest.fail(f"{PROGRAM} is missing: run make setup")
    command = [str(PROGRAM), "--port", "0", "--chain-id", "84532", "--no-cors"]
    with programs.started(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            port = _port(process)
            # anvil writes a line for every call, and stops when the pipe is full
            drain = threading.Thread(target=deque, args=(process.stdout, 0), daemon=True)
            drain.start()
            made = _planted(f"http://127.0.0.1:{port}")
            yield made
            made.node.close()
        finally:
            programs.stop(process)
        drain.join(timeout=10)


def _port(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    for line in process.stdout:
        if found := LISTENING.search(line):
            return int(found[1])
    raise RuntimeError("anvil ended without listening")


def _planted(url: str) -> Anvil:
    node = HttpNode(url)
    try:
        for address, name in contracts.PLANTED.items():
            code = "0x" + contracts.load(name).runtime_code.hex()
            node("anvil_setCode", address, code)
        node("anvil_impersonateAccount", contracts.MINTER_ADDRESS)
        node("anvil_setBalance", contracts.MINTER_ADDRESS, hex(ETH))
    except http.client.HTTPException as error:
        raise RuntimeError("anvil does not answer") from error
    return Anvil(url=url, node=node)
