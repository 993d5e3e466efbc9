"""Simulated nodes with guests on real cables, and agents that send and receive at each place."""

import asyncio
import contextlib
import dataclasses
import json
import sys
import time
from asyncio import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from devnet.tests.integration.pve.conftest import Client
from devnet.tests.support import frames, packet_agent

from pve402_devnet.guests.options import RuntimeOptions
from pve402_devnet.guests.runtime import NamespaceRuntime
from pve402_devnet.pve import NodeOptions, Progress, SimulatedProxmox, SimulatorOptions, cables
from pve402_devnet.pve.options import Latencies
from pve402_devnet.wires.cluster import ClusterNetwork

GATEWAY = "10.77.0.1"
CARD = "name=eth0,bridge=vmbr0"
SECOND = "10.77.0.2"  # the second node, where there is one
TWO_NODES = (NodeOptions(address=GATEWAY), NodeOptions(name="pve2", address=SECOND))
STRANGER = "02:00:00:00:00:99"
_NEVER_SECONDS = 1e9
_LIMIT_SECONDS = 30.0


class Agent:
    """A namespace to send from and to receive in."""

    def __init__(self, process: subprocess.Process) -> None:
        self._process = process

    async def do(self, what: str, **values: Any) -> Any:
        """Give an order and wait for what came of it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": what, **values}).encode() + b"\n")
        return json.loads(await self._process.stdout.readline())

    async def close(self) -> None:
        """End it."""
        self._process.kill()
        await self._process.wait()


@dataclass(kw_only=True)
class Wires:
    """Guests, the nodes and the world outside, with the API that rules them."""

    client: Client
    network: ClusterNetwork
    runtime: NamespaceRuntime
    agents: dict[int | str, Agent] = field(default_factory=dict)

    async def guest(
        self, vmid: int, *, leased: bool = True, node: str = "pve", **changes: str
    ) -> Agent:
        """Create and start a guest whose address ends like its number; returns its agent."""
        address = changes.pop("ip", f"10.77.0.{vmid}/24")
        gateway = "" if address == "dhcp" else f",gw={GATEWAY}"
        bridge = changes.pop("bridge", "vmbr0")
        parts = "".join(f",{name}={value}" for name, value in changes.items())
        card = f"name=eth0,bridge={bridge},ip={address}{gateway}{parts}"
        await self.client.create(vmid, node, net0=card)
        task = await self.client.run("POST", f"/nodes/{node}/lxc/{vmid}/status/start")
        assert task.exit_status == "OK", task.lines
        if address == "dhcp" and leased:
            mac = (await self.card(vmid)).upper()
            await self.until(lambda: mac in self.client.proxmox.world.held_leases)
            await self.poll()
        return await self._agent(vmid, "eth0")

    async def at_node(self, name: str = "pve") -> Agent:
        """A node itself, with the services that it has."""
        agent = self.agents.get(name) or await self._agent(name, "vmbr0")
        await agent.do("listen", tcp=[8006, 22, 3128, 111], udp=[53])
        return agent

    async def outside(self) -> Agent:
        """The world outside, with a mail and a web server."""
        agent = await self._agent("outside", "eth0")
        await agent.do("listen", tcp=[25, 80], udp=[])
        return agent

    async def card(self, vmid: int) -> str:
        """The hardware address of a guest's card, as frames have it."""
        conf = self.client.proxmox.world.guests[vmid].config
        return conf.networks()["net0"]["hwaddr"].lower()

    async def change_card(self, vmid: int, **changes: str) -> None:
        """Change parts of a guest's card through the API."""
        conf = self.client.proxmox.world.guests[vmid].config
        card = {**conf.networks()["net0"], **changes}
        text = ",".join(f"{name}={value}" for name, value in card.items())
        answer = await self.client.call("PUT", f"/nodes/pve/lxc/{vmid}/config", net0=text)
        assert answer.status == 200, answer

    async def api(self, method: str, path: str, **params: Any) -> None:
        """Make a call that must succeed."""
        answer = await self.client.call(method, path, **params)
        assert answer.status == 200, answer

    async def options(self, vmid: int | None = None, **values: Any) -> None:
        """Set options of a guest's firewall, or of the datacenter's."""
        guest = f"/nodes/pve/lxc/{vmid}"
        await self.api("PUT", f"{guest if vmid else '/cluster'}/firewall/options", **values)

    async def rule(self, path: str, **values: Any) -> None:
        """Put a rule that is on at the top."""
        await self.api("POST", path, **{"enable": 1, **values})

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that tells nobody when it has come about."""
        deadline = time.monotonic() + _LIMIT_SECONDS
        while not condition():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)

    async def poll(self) -> None:
        """Let ten seconds pass for the firewall."""
        await cables.poll(self.client.proxmox.world)

    async def arrive(self, source: int, target: int, **sent: str) -> set[str]:
        """Send frames from one guest and name those that another receives."""
        await self.agents[target].do("forget")
        last = frames.marker(await self.card(source), await self.card(target))
        await self.agents[source].do("send", frames=[*sent.values(), last])
        seen = await self.agents[target].do("until", marker=frames.MARKER)
        return {
            name for name, frame in sent.items() if frame in {one[: len(frame)] for one in seen}
        }

    async def _agent(self, where: int | str, interface: str) -> Agent:
        if isinstance(where, int):
            process = self.runtime.process_of(where)
            entering = self.network.outside.entering(process)
        else:
            outside = where == "outside"
            namespace = self.network.outside if outside else self.network.node(where)
            entering = namespace.entering()
        started = await subprocess.create_subprocess_exec(
            *entering,
            *(sys.executable, "-I", "-S", str(Path(packet_agent.__file__)), interface),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.agents[where] = Agent(started)
        return self.agents[where]


@contextlib.asynccontextmanager
async def wires(disks: Path, **options: Any) -> AsyncIterator[Wires]:
    """Start it; filters follow only when a test polls."""
    runtime = NamespaceRuntime(RuntimeOptions(disks=str(disks)))
    network = ClusterNetwork(runtime)
    latencies = dataclasses.replace(Latencies().scaled(0), firewall=_NEVER_SECONDS)
    chosen: Mapping[str, Any] = {
        "progress": Progress.BY_TIME,
        "latencies": latencies,
        "publish_interval_seconds": 0,
        "nodes": (NodeOptions(address=GATEWAY),),
        **options,
    }
    proxmox = SimulatedProxmox(SimulatorOptions(**chosen), guest_runtime=runtime, network=network)
    async with proxmox, aiohttp.ClientSession() as http:
        client = Client(proxmox=proxmox, http=http, headers=proxmox.authorization())
        made = Wires(client=client, network=network, runtime=runtime)
        try:
            yield made
        finally:
            await asyncio.gather(*(agent.close() for agent in made.agents.values()))
            await runtime.close()
