"""What stands around the machine: a Proxmox VE over HTTPS, a chain and a facilitator."""

import contextlib
import json
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support import programs

ROOT_PASSWORD = "of-this-namespace"
PVE = "https://127.0.0.1:8006"
RPC = "http://127.0.0.1:8545"
FACILITATOR = "http://127.0.0.1:4020"
USDC = "0x036CbD53842c5426634e7929541eC2318f3dCF7e"
ADDRESSES = {
    "https://git.example.com/pve402.git": str(Path(__file__).resolve().parents[3]),
    "https://pve.example.net:8006": PVE,
    "https://sepolia.base.org": RPC,
    "https://www.x402.org/facilitator": FACILITATOR,
}
"""What the tutorial's addresses stand for here."""


@contextlib.contextmanager
def running() -> Iterator[None]:
    """Run all parts, on the ports they have by themselves."""
    parts = (
        ("pve", "--tls", "--shells", "--latency", "0", "--root-password", ROOT_PASSWORD),
        ("chain",),
        ("facilitator", "--rpc-url", RPC),
    )
    with contextlib.ExitStack() as stack:
        for part in parts:
            started = [sys.executable, "-m", "pve402_devnet", *part]
            stack.enter_context(programs.running(started, is_ready=_is_up))
        yield


def _is_up(lines: list[str]) -> bool:
    last = ("USDC=", "# pays gas: ", "# fingerprint: ")
    return bool(lines) and lines[-1].startswith(last)


def rpc(method: str, *params: Any) -> Any:
    """Call the chain's node."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    asked = urllib.request.Request(RPC, body.encode(), headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return json.load(answer)["result"]


def usdc(address: str) -> int:
    """What an address owns, in atomic units."""
    data = "0x70a08231" + address[2:].lower().rjust(64, "0")
    return int(rpc("eth_call", {"to": USDC, "data": data}, "latest"), 16)
