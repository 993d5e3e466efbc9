"""Guests and consoles behind the simulated Proxmox: what a client of its API meets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import quote

import aiohttp
import pytest
from devnet.tests.support.console_client import CLEAR, TRAILER, ConsoleClient

from pve402_devnet.guests.runtime import NamespaceRuntime
from pve402_devnet.pve import Progress, SimulatedProxmox, SimulatorOptions
from pve402_devnet.terminal.manners import SessionEnd, TerminalManners
from pve402_devnet.terminal.service import Consoles

pytestmark = pytest.mark.namespaces

STAYS = TerminalManners(end=SessionEnd.STAYS_OPEN)
TEMPLATE = "local:vztmpl/busybox-alpine-3.22_1_amd64.tar.gz"


class Cluster:
    """A client of a simulated cluster with one running guest, 140."""

    def __init__(self, client: ConsoleClient, url: str) -> None:
        self.client = client
        self.url = f"{url}/api2/json/nodes/pve"

    async def call(self, method: str, path: str, **params: str | int) -> object:
        """Make a call; wait for its task if it has one."""
        async with self.client.session.request(method, self.url + path, data=params) as answer:
            assert answer.status == 200, (answer.status, answer.reason)
            data = (await answer.json())["data"]
        if isinstance(data, str) and data.startswith("UPID:"):
            assert await self.end_of(data) == "OK"
        return data

    async def end_of(self, upid: str) -> str:
        """Wait for a task and say how it ended."""
        path = f"{self.url}/tasks/{quote(upid, safe='')}/status"
        async with asyncio.timeout(20):
            while True:
                async with self.client.session.get(path) as answer:
                    status = (await answer.json())["data"]
                if status["status"] == "stopped":
                    return str(status["exitstatus"])
                await asyncio.sleep(0.05)

    async def log_of(self, upid: str) -> list[str]:
        """Read a task's log."""
        path = f"{self.url}/tasks/{quote(upid, safe='')}/log"
        async with self.client.session.get(path) as answer:
            return [line["t"] for line in (await answer.json())["data"]]


@contextlib.asynccontextmanager
async def cluster(runtime: NamespaceRuntime, manners: TerminalManners) -> AsyncIterator[Cluster]:
    options = SimulatorOptions(progress=Progress.IMMEDIATELY, auth_failure_seconds=0.0)
    consoles = Consoles(runtime, manners)
    simulated = SimulatedProxmox(options, guest_runtime=runtime, terminal=consoles)
    async with simulated:
        async with ConsoleClient(simulated.base_url, simulated.authorization()) as client:
            made = Cluster(client, simulated.base_url)
            guest = {"vmid": 140, "ostemplate": TEMPLATE, "cmode": "shell", "rootfs": "local:1"}
            await made.call("POST", "/lxc", **guest)
            await made.call("POST", "/lxc/140/status/start")
            yield made
        consoles.close()


async def test_a_console_works_and_its_task_ends_with_the_client(
    runtime: NamespaceRuntime,
) -> None:
    async with cluster(runtime, STAYS) as made:
        console = await made.client.open(140)
        await console.type(b"echo out''put\n")
        await console.read_until(b"output\r\r\n")
        await console.close()
        assert await made.end_of(console.answer["upid"]) == "OK"
        log = await made.log_of(console.answer["upid"])
        assert log[0].startswith("client connection: 127.0.0.1:")
        assert log[-1] == "TASK OK"


async def test_data_after_the_end_of_the_shell_fails_the_task(runtime: NamespaceRuntime) -> None:
    async with cluster(runtime, STAYS) as made:
        console = await made.client.open(140)
        await console.type(b"exit 3\n")
        await console.read_until(TRAILER)
        await console.type(b"x")
        await console.wait_closed()
        end = await made.end_of(console.answer["upid"])
        assert end.startswith("command '/usr/bin/termproxy 59")
        assert end.endswith("lxc-attach --clear-env -n 140' failed: exit code 1")


async def test_a_bad_first_line_fails_the_task(runtime: NamespaceRuntime) -> None:
    async with cluster(runtime, STAYS) as made:
        console = await made.client.connect(140)
        await console.send(b"root@pam:PVEVNC:00000000::AAAA\n")
        assert await console.wait_closed() == b""
        assert "exit code 1" in await made.end_of(console.answer["upid"])
        log = await made.log_of(console.answer["upid"])
        assert log[1] == "authentication request failed"


async def test_an_abandoned_console_fails_its_task(runtime: NamespaceRuntime) -> None:
    async with cluster(runtime, replace(STAYS, connect_limit_seconds=0.1)) as made:
        answer = await made.client.post(140, "termproxy")
        assert "exit code 1" in await made.end_of(answer["upid"])
        log = await made.log_of(answer["upid"])
        assert log[0] == "failed waiting for client: timed out"


async def test_a_ticket_opens_one_connection_of_one_guest(runtime: NamespaceRuntime) -> None:
    async with cluster(runtime, replace(STAYS, dead_port_seconds=0.1)) as made:
        console = await made.client.connect(140)
        query = {"port": console.answer["port"], "vncticket": console.answer["ticket"]}
        with pytest.raises(aiohttp.ClientError):
            await made.client.session.ws_connect(f"{made.url}/lxc/140/vncwebsocket", params=query)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await made.client.session.ws_connect(f"{made.url}/lxc/141/vncwebsocket", params=query)
        assert refused.value.status == 401


async def test_a_stopped_guest_gives_a_console_that_says_so(runtime: NamespaceRuntime) -> None:
    async with cluster(runtime, replace(STAYS, stopped_seconds=0)) as made:
        await made.call("POST", "/lxc/140/status/stop")
        console = await made.client.connect(140)
        await console.authenticate()
        await console.read_until(CLEAR)
        await console.read_until(b"Connection refused - Failed to get attach context")


async def test_stopping_the_guest_ends_its_consoles(runtime: NamespaceRuntime) -> None:
    async with cluster(runtime, STAYS) as made:
        console = await made.client.open(140)
        await made.call("POST", "/lxc/140/status/stop")
        await console.read_until(TRAILER)
        assert runtime.running() == frozenset()


async def test_a_destroyed_guest_leaves_no_disk(runtime: NamespaceRuntime) -> None:
    async with cluster(runtime, STAYS) as made:
        assert runtime.disk(140).is_dir()
        await made.call("POST", "/lxc/140/status/stop")
        await made.call("DELETE", "/lxc/140")
        assert not runtime.disk(140).exists()


async def test_old_proxmox_refuses_tokens_after_the_socket_is_open(
    runtime: NamespaceRuntime,
) -> None:
    async with cluster(runtime, replace(STAYS, refuses_tokens=True)) as made:
        console = await made.client.connect(140)
        await console.authenticate()
        assert await console.wait_closed() == b""
