"""However a purchase ends, the tenant is told what it left."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.tenant_service import KEY, LEASE, LEASE_ID

QUOTE = {
    "sku": "standard-lxc", "runtimeMinutes": 60, "cores": 1, "memoryMB": 512, "diskGB": 8,
    "priceUsd": "0.002", "available": True, "accepts": [],
}  # fmt: skip
PENDING = {**LEASE, "status": "provisioning", "ctid": "", "accessToken": None}

#: A service in a process of its own, which answers a paid order as the last line that it read says.
SERVICE = """
import asyncio, json, sys
from aiohttp import web
sys.path[:0] = [{root!r}]
from tests.support import tenant_service
from tests.support.api_fixtures import NETWORK, PAY_TO
from pve402.payments import protocol

def terms():
    asked = protocol.Requirements(network=NETWORK, amount_atomic=2000, pay_to=PAY_TO,
                                  max_timeout_seconds=600, resource_url="http://test")
    return protocol.payment_required([asked])

async def handle(request):
    told({{"did": f"{{request.method}} {{request.path}}"}})
    if request.path == "/lease/quote":
        return web.json_response({quote!r})
    if request.path.startswith("/lease/l") and request.method == "DELETE":
        return web.json_response(tenant_service.ITEM | {{"status": "ended"}}, status=202)
    if "PAYMENT-SIGNATURE" not in request.headers:
        if how == "slow-terms":
            await asyncio.sleep(60)
        unpaid = terms()
        return web.Response(status=402, body=unpaid.body, headers=dict(unpaid.headers))
    told({{"did": "paid"}})
    if how == "silent":
        await asyncio.sleep(60)
    if how == "done":
        return web.json_response(tenant_service.LEASE)
    if how == "gone":
        request.transport.abort()
        raise asyncio.CancelledError
    if "Prefer" in request.headers:
        return web.json_response({pending!r}, status=202)
    told({{"did": "waiting"}})
    await asyncio.sleep(60)

def told(what):
    print(json.dumps(what), flush=True)

async def main():
    global how
    loop = asyncio.get_running_loop()
    async with tenant_service.serving(handle) as service:
        while how := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
            told({{"url": service.url}})

asyncio.run(main())
"""
ROOT = str(Path(__file__).parents[3])


class Running:
    """The service's process, and what it told."""

    def __init__(self) -> None:
        script = SERVICE.format(root=ROOT, quote=QUOTE, pending=PENDING)
        self.process = subprocess.Popen(
            [sys.executable, "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.url = ""

    def answers(self, how: str) -> None:
        """Have it answer paid orders like this from now on; what it told before is passed over."""
        assert self.process.stdin
        self.process.stdin.write(f"{how}\n")
        self.process.stdin.flush()
        while not (url := self._next().get("url")):
            continue
        self.url = url

    def until(self, did: str) -> None:
        """Wait until the service did something."""
        while self._next().get("did") != did:
            continue

    def _next(self) -> dict[str, str]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, "the service ended"
        told: dict[str, str] = json.loads(line)
        return told

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def shared() -> Iterator[Running]:
    made = Running()
    yield made
    made.end()


@pytest.fixture
def service(shared: Running) -> Callable[[str], Running]:
    """Has the service answer in a way that a test names."""

    def start(how: str) -> Running:
        shared.answers(how)
        return shared

    return start


def _lease(url: str, **streams: object) -> subprocess.Popen[str]:
    arguments = ["lease", "--hostname", "demo", "--max-usd", "1", "--url", url]
    environment = {**os.environ, "PVE402_WALLET_KEY": KEY, "PVE402_ROOT_PASSWORD": "a-good-one"}
    chosen: dict[str, object] = {
        "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
        **streams,
    }  # fmt: skip
    script = (
        "import runpy, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # as a terminal starts it
        "runpy.run_module('pve402', run_name='__main__', alter_sys=True)"
    )
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.Popen(command, env=environment, text=True, **chosen)  # type: ignore[call-overload, no-any-return]


SENT = ["a payment was sent", "pve402 list", "pve402 token", "pve402 end"]
GOES_ON = [LEASE_ID, f"pve402 token {LEASE_ID}", f"pve402 end {LEASE_ID}"]


@pytest.mark.parametrize(
    ("number", "how", "when", "said"),
    [
        (signal.SIGTERM, "slow-terms", "POST /lease/container", ["nothing was paid"]),
        (signal.SIGINT, "silent", "paid", SENT),
        (signal.SIGHUP, "silent", "paid", SENT),
        (signal.SIGINT, "slow", "waiting", GOES_ON),
        (signal.SIGTERM, "slow", "waiting", GOES_ON),
    ],
)
def test_an_interrupted_lease_says_what_stands(service, number, how, when, said):
    running = service(how)
    with _lease(running.url) as leasing:
        running.until(when)
        time.sleep(0.2)
        leasing.send_signal(number)
        printed, told = leasing.communicate(timeout=30)

    assert leasing.returncode == 128 + number
    assert printed == ""
    assert all(words in told for words in said), told
    assert "Traceback" not in told


@pytest.mark.parametrize("target", ["closed pipe", "/dev/full"])
def test_a_lease_that_cannot_be_shown_is_not_lost(service, target):
    running = service("done")
    reading, writing = os.pipe()
    os.close(reading)
    full = os.open("/dev/full", os.O_WRONLY)
    out = full if target == "/dev/full" else writing
    with _lease(running.url, stdout=out) as leasing:
        _, told = leasing.communicate(timeout=30)
    os.close(writing)
    os.close(full)

    assert leasing.returncode == (1 if target == "/dev/full" else 141)
    assert f"pve402 token {LEASE_ID}" in told
    assert "Traceback" not in told


@pytest.mark.parametrize(("answer", "ends"), [("y", True), ("", False)])
def test_whoever_is_there_is_asked_whether_to_end_it(service, answer, ends):
    running = service("slow")
    master, terminal = pty.openpty()
    with _lease(running.url, stdin=terminal) as leasing:
        running.until("waiting")
        leasing.send_signal(signal.SIGINT)
        os.write(master, answer.encode() + b"\n")
        printed, told = leasing.communicate(timeout=30)
    os.close(master)
    os.close(terminal)

    assert "End it now?" in printed + told
    assert leasing.returncode == 130
    assert (f"lease {LEASE_ID} is ended" in told) is ends


def test_a_second_signal_ends_the_question(service):
    running = service("slow")
    master, terminal = pty.openpty()
    with _lease(running.url, stdin=terminal) as leasing:
        running.until("waiting")
        leasing.send_signal(signal.SIGINT)
        assert leasing.stderr
        told = ""
        while "End it now?" not in told:
            told += leasing.stderr.read(1)
        leasing.send_signal(signal.SIGINT)
        assert leasing.wait(10) == 130
    os.close(master)
    os.close(terminal)
