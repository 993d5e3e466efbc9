"""The recorded ends of console tasks, replayed with real shells behind the console ports."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from devnet.tests.integration.pve import replay_states
from devnet.tests.support import pve_compare, pve_replay, pve_rig
from devnet.tests.support.console_client import Console, ConsoleClient

from pve402_devnet.guests.options import RuntimeOptions
from pve402_devnet.guests.runtime import NamespaceRuntime
from pve402_devnet.pve import Progress, SimulatedProxmox
from pve402_devnet.terminal.manners import SessionEnd, TerminalManners
from pve402_devnet.terminal.service import Consoles

pytestmark = pytest.mark.namespaces

TEMPLATE = "local:vztmpl/busybox-alpine-3.22_1_amd64.tar.gz"
DOCUMENTS = {document["name"]: document for document in pve_replay.load()}


class Bench:
    """A client of a simulated cluster with real guests: 140 runs; 141 and 142 are stopped."""

    def __init__(self, client: ConsoleClient, proxmox: SimulatedProxmox) -> None:
        self.client = client
        self.proxmox = proxmox

    async def call(self, method: str, path: str, **params: str | int) -> Any:
        url = f"{self.proxmox.base_url}/api2/json/nodes/pve{path}"
        async with self.client.session.request(method, url, data=params) as answer:
            assert answer.status == 200, (answer.status, answer.reason)
            return await answer.json()

    async def make_guest(self, vmid: int, cmode: str, *, running: bool) -> None:
        made = await self.call(
            "POST", "/lxc", vmid=vmid, ostemplate=TEMPLATE, cmode=cmode, rootfs="local:1"
        )
        await self.wait_for_end(made["data"])
        if running:
            started = await self.call("POST", f"/lxc/{vmid}/status/start")
            await self.wait_for_end(started["data"])

    async def wait_for_end(self, upid: str) -> None:
        async with asyncio.timeout(30):
            await self.proxmox.world.tasks.require(upid).ended.wait()

    async def read(self, upid: str, what: str) -> Any:
        return await self.call("GET", f"/tasks/{quote(upid, safe='')}/{what}")


@pytest.fixture
async def bench(tmp_path: Path, end: SessionEnd) -> AsyncIterator[Bench]:
    runtime = NamespaceRuntime(RuntimeOptions(disks=str(tmp_path / "disks")))
    consoles = Consoles(runtime, TerminalManners(end=end))
    options = dataclasses.replace(pve_rig.options(), progress=Progress.IMMEDIATELY)
    async with SimulatedProxmox(options, guest_runtime=runtime, terminal=consoles) as proxmox:
        headers = proxmox.authorization("svc@pve!test")
        async with ConsoleClient(proxmox.base_url, headers) as client:
            yield Bench(client, proxmox)
    consoles.close()
    await runtime.close()


async def wrong_first_line(bench: Bench) -> Console:
    console = await bench.client.connect(140)
    await console.send(b"svc@pve!test:PVEVNC:rubbish\n")
    return console


async def left_with_exit(bench: Bench) -> Console:
    console = await bench.client.open(140)
    await console.type(b"exit\n")
    await console.read_until(b"EOF - dtach terminating")
    await console.close()
    return console


async def guest_stopped(bench: Bench) -> Console:
    console = await bench.client.open(140)
    await console.type(b"sleep 300\n")
    stopped = await bench.call("POST", "/lxc/140/status/stop")
    await bench.wait_for_end(stopped["data"])
    return console


async def opened_on_stopped_shell(bench: Bench) -> Console:
    console = await bench.client.connect(141)
    await console.authenticate()
    await console.read_until(b"EOF - dtach terminating")
    await console.close()
    return console


async def opened_on_stopped_tty(bench: Bench) -> Console:
    console = await bench.client.connect(142)
    await console.authenticate()
    return console


async def left_after_the_challenge(bench: Bench) -> Console:
    console = await bench.client.connect(140, "vncproxy", websocket=1)
    await console.read_bytes(12)
    await console.send(b"RFB 003.008\n")
    await console.read_bytes(2)
    await console.send(b"\x02")
    await console.read_bytes(16)
    await console.close()
    return console


async def closed_by_the_client(bench: Bench) -> Console:
    console = await bench.client.open(140)
    await console.type(b"sleep 300\n")
    await console.read_quiet()
    await console.close()
    return console


async def reattached_and_left(bench: Bench) -> Console:
    await closed_by_the_client(bench)
    console = await bench.client.connect(140)
    await console.authenticate()
    await console.read_quiet()
    await console.type(b"\x03")
    await console.read_quiet()
    await console.type(b"exit\n")
    await console.read_until(b"EOF - dtach terminating")
    await console.close()
    return console


async def written_to_after_exit(bench: Bench) -> Console:
    console = await bench.client.open(140)
    await console.type(b"exit 3\n")
    await console.read_until(b"EOF - dtach terminating")
    await console.type(b"x")
    return console


Session = Callable[[Bench], Awaitable[Console]]
GUESTS = {140: ("shell", True), 141: ("shell", False), 142: ("tty", False)}
STAYS, DROPS = SessionEnd.STAYS_OPEN, SessionEnd.DROPS
CASES: list[tuple[str, SessionEnd, int, Session]] = [
    ("termproxy-bad-auth", STAYS, 140, wrong_first_line),
    ("termproxy-exit", STAYS, 140, left_with_exit),
    ("termproxy-ct-stopped", DROPS, 140, guest_stopped),
    ("termproxy-stopped-shell", STAYS, 141, opened_on_stopped_shell),
    ("termproxy-stopped-tty", DROPS, 142, opened_on_stopped_tty),
    ("vncproxy-closed", STAYS, 140, left_after_the_challenge),
    ("termproxy-client-close", STAYS, 140, closed_by_the_client),
    ("termproxy-reattach", STAYS, 140, reattached_and_left),
    ("termproxy-exit-3", STAYS, 140, written_to_after_exit),
]


@pytest.mark.parametrize(("name", "end", "vmid", "session"), CASES, ids=[c[0] for c in CASES])
async def test_a_console_task_ends_as_recorded(
    bench: Bench, name: str, vmid: int, session: Session
) -> None:
    cmode, running = GUESTS[vmid]
    await bench.make_guest(vmid, cmode, running=running)

    console = await session(bench)
    await bench.wait_for_end(console.answer["upid"])

    for what in ("status", "log"):
        document = DOCUMENTS.get(f"task-{what}-{name}")
        if document is not None:
            ours = await bench.read(console.answer["upid"], what)
            recorded = document["response"]["body"]
            assert list(pve_compare.body_differences(recorded, ours)) == []


def test_every_recorded_end_of_a_session_has_a_case() -> None:
    named = {f"task-{what}-{case[0]}" for case in CASES for what in ("status", "log")}

    assert named & set(DOCUMENTS) == replay_states.WITH_REAL_SHELLS
