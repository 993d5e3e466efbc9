"""Real shells behind a console chain with all its manners, in a process of its own.

Guests 101 busybox ash, 102 dash, 103 bash, 104 busybox ash and 105 dash without base64; see
`pve402_devnet.terminal`. The process is started once a session and ended with it.
"""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
import pytest_asyncio

from pve402.hub import variables
from pve402.hub.hub import Hub
from pve402.hub.options import HubOptions
from pve402.hub.terminal_socket import TermproxyConnector, WebSocketTerminal
from pve402.proxmox.client import ProxmoxClient, ProxmoxOptions
from pve402.proxmox.guests import GuestRef, Guests
from pve402.proxmox.termproxy import input_packet

ASH, DASH, BASH, ASH_PLAIN, DASH_PLAIN = 101, 102, 103, 104, 105
SHELLS = {
    "ash": ASH,
    "dash": DASH,
    "bash": BASH,
    "ash-plain": ASH_PLAIN,
    "dash-without-base64": DASH_PLAIN,
}


def serve(*options: str) -> Iterator[str]:
    """Run the chain; yields its URL."""
    command = [sys.executable, "-m", "pve402_devnet.terminal", "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://"), "the console chain did not start"
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def guest(vmid: int) -> GuestRef:
    """The guest of this number."""
    return GuestRef(node="pve", vmid=vmid)


class Consoles:
    """What a test does to the chain and its guests."""

    def __init__(self, url: str, client: ProxmoxClient) -> None:
        self.url = url
        self.open_terminal = TermproxyConnector(Guests(client))
        #: What the guests' leases have for all their commands.
        self.find_variables: variables.Find = variables.none

    @asynccontextmanager
    async def hub(self, **options: float) -> AsyncIterator[Hub]:
        """A hub over this chain."""
        chosen = HubOptions(**options)  # type: ignore[arg-type]
        async with Hub(chosen, self.open_terminal, find_variables=self.find_variables) as hub:
            yield hub

    async def type_and_leave(self, vmid: int, *messages: bytes, pause: float = 0.15) -> None:
        """Attach, type each message, and go away without ending anything."""
        terminal = await self.attach(vmid)
        for message in messages:
            await terminal.send(input_packet(message))
            await asyncio.sleep(pause)
        await terminal.close()

    async def attach(self, vmid: int) -> WebSocketTerminal:
        """Open the terminal as a second client would, and wait until it takes input."""
        terminal = await self.open_terminal(guest(vmid))
        await asyncio.sleep(0.3)
        return terminal

    async def act(self, vmid: int, action: str) -> None:
        """Start, stop or reboot a guest."""
        path = f"{self.url}/api2/json/nodes/pve/lxc/{vmid}/status/{action}"
        async with aiohttp.ClientSession() as session, session.post(path) as answer:
            assert answer.status == 200


#: For modules whose tests share a hub, as commands do, and with it an event loop.
SHARING_A_HUB = [pytest.mark.namespaces, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="hub")
async def shared_hub(chain_url: str) -> AsyncIterator[Hub]:
    """One hub for a module, which opens each guest's terminal once."""
    async with consoles(chain_url) as chain, chain.hub(kill_after_seconds=1.0) as hub:
        yield hub


@asynccontextmanager
async def consoles(url: str) -> AsyncIterator[Consoles]:
    """The chain at this URL as a token sees it."""
    options = ProxmoxOptions(host=url, token_id="svc@pve!test", token_secret="secret")
    async with ProxmoxClient(options) as client:
        yield Consoles(url, client)
