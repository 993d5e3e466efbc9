"""The real thing in processes of its own: `pve402 devnet` and `pve402 serve`, reached by sockets.

Fixtures for conftest.py: `devnet` and `service`, one of each a session; `serve` starts more servers
with other settings. Every process is ended by its own id, whatever happened.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from dotenv import dotenv_values
from eth_account import Account
from eth_account.signers.local import LocalAccount
from tests.support import preloaded
from tests.support.loopback import free_port
from x402 import x402ClientSync
from x402.http.clients.requests import x402_requests
from x402.mechanisms.evm.exact import register_exact_evm_client

USDC = "0x036CbD53842c5426634e7929541eC2318f3dCF7e"
START_LIMIT_SECONDS = 100.0
_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME")
_vmid_blocks = itertools.count(1)


@dataclass(kw_only=True)
class Process:
    """One process of ours and its log."""

    popen: subprocess.Popen[bytes] | preloaded.Child
    log: Path

    def said(self) -> str:
        """Everything it wrote so far."""
        return self.log.read_text(errors="replace")

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit code."""
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        try:
            return self.popen.wait(60)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            return self.popen.wait()


@dataclass(kw_only=True)
class DevnetProcess:
    """A running devnet: its settings, chain, facilitator and Proxmox VE."""

    process: Process
    env_file: Path
    settings: Mapping[str, str] = field(repr=False)

    def rpc(self, method: str, *params: Any) -> Any:
        """Call the chain's node."""
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return requests.post(self.settings["RPC_URL"], json=call, timeout=30).json()["result"]

    def usdc(self, address: str) -> int:
        """What an address owns, in atomic units."""
        data = "0x70a08231" + address[2:].lower().rjust(64, "0")
        return int(self.rpc("eth_call", {"to": USDC, "data": data}, "latest"), 16)

    def wallet(self, usdc_atomic: int = 2_000_000) -> LocalAccount:
        """A new wallet that owns some USDC."""
        account: LocalAccount = Account.create()
        self.rpc("devnet_mintUsdc", account.address, hex(usdc_atomic))
        return account

    def pve(self, path: str) -> Any:
        """GET from the simulated Proxmox VE."""
        token = f"{self.settings['PVE_TOKEN_ID']}={self.settings['PVE_TOKEN_SECRET']}"
        url = f"{self.settings['PVE_HOST']}/api2/json{path}"
        headers = {"Authorization": f"PVEAPIToken={token}"}
        return requests.get(url, headers=headers, timeout=30).json()["data"]

    def guests(self) -> dict[str, dict[str, Any]]:
        """All containers by their ctid."""
        return {str(row["vmid"]): row for row in self.pve("/cluster/resources?type=vm")}

    def guest(self, ctid: str) -> dict[str, Any]:
        """A container now; the list of all is some seconds behind."""
        node = self.guests()[ctid]["node"]
        found: dict[str, Any] = self.pve(f"/nodes/{node}/lxc/{ctid}/status/current")
        return found

    def stop_guest(self, ctid: str) -> None:
        """Stop a container behind the service's back."""
        node = self.guests()[ctid]["node"]
        token = f"{self.settings['PVE_TOKEN_ID']}={self.settings['PVE_TOKEN_SECRET']}"
        url = f"{self.settings['PVE_HOST']}/api2/json/nodes/{node}/lxc/{ctid}/status/stop"
        headers = {"Authorization": f"PVEAPIToken={token}"}
        requests.post(url, headers=headers, timeout=30).raise_for_status()
        give_up_at = time.monotonic() + START_LIMIT_SECONDS
        while self.guest(ctid)["status"] != "stopped":
            assert time.monotonic() < give_up_at
            time.sleep(0.05)

    def faults(self, kind: str, endpoint: str = "settle", times: int = 1) -> None:
        """Have the facilitator misbehave."""
        fault = {"kind": kind, "endpoint": endpoint, "times": times}
        url = f"{self.settings['FACILITATOR_URL']}/devnet/faults"
        requests.post(url, json=fault, timeout=30).raise_for_status()


@dataclass(kw_only=True)
class ServeProcess:
    """A running `pve402 serve`."""

    process: Process
    url: str
    devnet: DevnetProcess

    def tenant(self, account: LocalAccount | None = None) -> requests.Session:
        """A session that pays with the official client, from a funded wallet."""
        payer = account or self.devnet.wallet()
        return x402_requests(register_exact_evm_client(x402ClientSync(), payer))

    def ready(self) -> bool:
        """Whether it says that it can serve."""
        with contextlib.suppress(requests.ConnectionError):
            return requests.get(f"{self.url}/readyz", timeout=10).status_code == 200
        return False

    def alive(self) -> bool:
        """Whether it answers at all."""
        with contextlib.suppress(requests.ConnectionError):
            return requests.get(f"{self.url}/healthz", timeout=10).status_code == 200
        return False


def start(
    folder: Path,
    *arguments: str,
    program: Sequence[str] = ("-m", "pve402"),
    own_session: bool = False,
    python: str = sys.executable,
    **settings: str,
) -> Process:
    """Start `pve402`, or another program in Python, with these settings alone."""
    number = len(list(folder.glob("*.log")))
    log = folder / f"{[*arguments, Path(program[-1]).name][0]}-{number}.log"
    environment = _environment(settings)
    forks = (*program, python) == ("-m", "pve402", sys.executable) and preloaded.can_run(settings)
    with log.open("wb") as out:
        if forks:
            child = preloaded.start(
                "pve402",
                *arguments,
                environment=environment,
                folder=folder,
                stdout=out,
                stderr=out,
                own_session=own_session,
            )
            return Process(popen=child, log=log)
        popen = subprocess.Popen(
            [python, *program, *arguments],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=own_session,
        )
    return Process(popen=popen, log=log)


def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a `pve402` command to its end."""
    environment = _environment({"COLUMNS": "200", **settings})
    if preloaded.can_run(settings):
        return preloaded.run("pve402", *arguments, environment=environment, timeout=100)
    return subprocess.run(
        [sys.executable, "-m", "pve402", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {**inherited, **settings}


def wait_until(true: Callable[[], bool], process: Process, what: str) -> None:
    """Wait for something that a process should bring about, while it lives."""
    give_up_at = time.monotonic() + START_LIMIT_SECONDS
    while not true():
        if process.popen.poll() is not None or time.monotonic() > give_up_at:
            pytest.fail(f"not {what}:\n{process.said()[-3000:]}")
        time.sleep(0.05)


@pytest.fixture(scope="session")
def devnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevnetProcess]:
    """A devnet whose Proxmox VE takes no time."""
    with running_devnet(tmp_path_factory.mktemp("devnet")) as made:
        yield made


@contextlib.contextmanager
def running_devnet(folder: Path, *options: str) -> Iterator[DevnetProcess]:
    """Run a devnet with options of its own."""
    env_file = folder / "devnet.env"
    process = start(folder, "devnet", "--env-file", str(env_file), "--latency", "0", *options)
    try:
        wait_until(env_file.exists, process, "up")
        settings = {k: v for k, v in dotenv_values(env_file).items() if v is not None}
        yield DevnetProcess(process=process, env_file=env_file, settings=settings)
    finally:
        process.end()


@contextlib.contextmanager
def serving(
    folder: Path,
    devnet: DevnetProcess,
    *,
    until: str = "ready",
    without: Collection[str] = (),
    python: str = sys.executable,
    **settings: str,
) -> Iterator[ServeProcess]:
    """Run a server on a devnet, with vmids that no other server of this session uses.

    `without` names settings of the devnet's file that are left out, `python` the one of another
    checkout. In a setting, `{port}` stands
    for the port that the server listens on.
    """
    port = free_port()
    url, block = f"http://127.0.0.1:{port}", next(_vmid_blocks) * 1000
    own = {
        "DATABASE_URL": f"sqlite:///{folder}/pve402-{port}.sqlite3",
        "PVE402_CORES_OVERCOMMIT": "1000",  # the tests of a file share one small node
        "PVE402_PUBLIC_URL": url,
        "PVE_VMID_MIN": str(10_000 + block),
        "PVE_VMID_MAX": str(10_999 + block),
        **{name: value.replace("{port}", str(port)) for name, value in settings.items()},
    }
    env_file = folder / f"serve-{port}.env"
    kept = {name: value for name, value in devnet.settings.items() if name not in without}
    env_file.write_text("".join(f"{name}='{value}'\n" for name, value in kept.items()))
    arguments = ("serve", "--env-file", str(env_file), "--port", str(port))
    process = start(folder, *arguments, python=python, **own)
    made = ServeProcess(process=process, url=url, devnet=devnet)
    try:
        wait_until(made.ready if until == "ready" else made.alive, process, until)
        yield made
    finally:
        process.end()


@pytest.fixture(scope="session")
def service(
    devnet: DevnetProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServeProcess]:
    """A server with the usual settings."""
    with serving(tmp_path_factory.mktemp("serve"), devnet) as made:
        yield made


@pytest.fixture
def serve(devnet: DevnetProcess, tmp_path: Path) -> Iterator[Callable[..., ServeProcess]]:
    """Start further servers with settings of their own."""
    with contextlib.ExitStack() as stack:
        yield lambda **how: stack.enter_context(serving(tmp_path, devnet, **how))
