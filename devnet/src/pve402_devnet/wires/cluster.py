"""The networks of all nodes of a simulated cluster, the switch between them, and the internet.

    guest -- node "one" -- vmbr0 --.
                                    switch            each node also has a way to the internet of
    guest -- node "two" -- vmbr0 --'                  its own, and the first one is the router

A node's bridge has a port to the switch, as a real one has a network card. Virtual networks of
simple zones have none: each node's is its own.
"""

import os
from asyncio import subprocess
from collections.abc import Sequence

from pve402_devnet.pve.runtime import Bridge, Card
from pve402_devnet.wires import services
from pve402_devnet.wires.namespace import Namespace, program, require_programs
from pve402_devnet.wires.network import Guests, NodeNetwork
from pve402_devnet.wires.uplink import Uplinks

OUTSIDE_ADDRESS = services.OUTSIDE_ADDRESS
_NODE_OUTSIDE = "203.0.113.1"
_OTHERS_OUTSIDE = "203.0.113.1{:02}"
# Answers from outside go to the router, so the other nodes hide their guests behind them. A packet
# that is filtered is tracked twice, on its own bridge and as it leaves; so in two zones.
_HIDING = """
table ip uplink {
    chain filtered { type filter hook prerouting priority raw; iifname "fwbr*" ct zone set 1; }
    chain leaving { type nat hook postrouting priority srcnat; oifname "outside" masquerade; }
}
"""


class ClusterNetwork:
    """A network namespace for each node (`pve.Network`), and one behind them for the internet.

    With `serves`, the nodes and a machine on the internet answer on their ports.
    `uplinks` are ports of the internet's address that lead to those of this machine's loopback.
    """

    connects = True

    def __init__(
        self, guests: Guests, *, serves: bool = False, uplinks: Sequence[int] = ()
    ) -> None:
        self._guests = guests
        self._serves = serves
        self._uplinks = Uplinks(uplinks)
        self._nodes: dict[str, NodeNetwork] = {}
        self._switched: list[str] = []  # names of bridges
        self._places: dict[int, str] = {}  # of guests
        self.outside = Namespace()
        self._programs: list[subprocess.Process] = []

    def node(self, name: str) -> Namespace:
        """A node's namespace."""
        return self._nodes[name].node

    async def start(self, nodes: Sequence[str]) -> None:
        """Make the nodes and the way out; raises `NoNetwork` or RuntimeError where that fails."""
        require_programs()
        for name in nodes:
            first = self._first if self._nodes else None
            self._nodes[name] = NodeNetwork(self._guests)
            await self._nodes[name].start(within=first)
        if os.getuid() != 0:
            self._guests.live_within(self._first.pid)
        await self.outside.start(within=self._first)
        await self._join_router()
        for number, name in enumerate(nodes[1:], start=1):
            await self._join_other(number, self.node(name))
        await self._uplinks.start(self.outside, OUTSIDE_ADDRESS)
        for name in nodes:
            await self._serve(self.node(name), "node")
        if self._serves:
            await self._run(self.outside, "services", "outside")

    async def stop(self) -> None:
        """Cut everything."""
        while self._programs:
            running = self._programs.pop()
            running.kill()
            await running.wait()
        await self._uplinks.stop()
        await self.outside.stop()
        for name in reversed([*self._nodes]):
            await self._nodes.pop(name).stop()

    async def build(self, node: str, bridges: Sequence[Bridge]) -> None:
        """Have these bridges on a node, besides those that are there."""
        new = await self._nodes[node].build(bridges)
        if len(self._nodes) > 1:
            for bridge in bridges:
                if bridge.name in new and bridge.shared:
                    await self._switch(node, bridge.name)

    async def connect(self, node: str, vmid: int, cards: Sequence[Card]) -> None:
        """Make a running guest's cards be these; it may have come from another node."""
        before = self._places.get(vmid)
        if before not in {None, node}:
            await self.disconnect(vmid)
        self._places[vmid] = node
        await self._nodes[node].connect(vmid, cards)

    async def disconnect(self, vmid: int) -> None:
        """Clear away what led to a guest that does not run any more."""
        place = self._places.pop(vmid, None)
        if place is not None:
            await self._nodes[place].disconnect(vmid)

    async def ask(self, vmid: int, interface: str) -> bool:
        """Ask for an address on a guest's card; tells whether an answer came."""
        place = self._places.get(vmid)
        return place is not None and await self._nodes[place].ask(vmid, interface)

    async def filter(self, node: str, script: str) -> None:
        """Put a node's filters in place of those before."""
        await self._nodes[node].filter(script)

    def connected(self) -> frozenset[int]:
        """Name the guests that have cables."""
        return frozenset().union(*(one.connected() for one in self._nodes.values()))

    @property
    def _first(self) -> Namespace:
        return next(iter(self._nodes.values())).node

    async def _serve(self, node: Namespace, kind: str) -> None:
        await self._run(node, "leases", "serve")
        if self._serves:
            await self._run(node, "services", kind)

    async def _run(self, where: Namespace, *words: str) -> None:
        command = (*where.entering(), *program(*words))
        started = await subprocess.create_subprocess_exec(*command, stdin=subprocess.DEVNULL)
        self._programs.append(started)

    async def _join_router(self) -> None:
        await self._lay(self._first, "outside", "eth0")
        await _ip(self._first, f"address add {_NODE_OUTSIDE}/24 dev outside")
        await _ip(
            self.outside,
            f"address add {OUTSIDE_ADDRESS}/24 dev eth0",
            f"route add default via {_NODE_OUTSIDE}",
        )

    async def _join_other(self, number: int, node: Namespace) -> None:
        address = _OTHERS_OUTSIDE.format(number)
        await self._lay(node, "outside", f"eth{number}")
        await _ip(node, f"address add {address}/24 dev outside")
        await node.run(["nft", "-f", "-"], _HIDING)
        await _ip(self.outside, f"route add {address} dev eth{number}")

    async def _switch(self, node: str, bridge: str) -> None:
        """Join a node's bridge to those of the same name on the others."""
        if bridge not in self._switched:
            name = f"switch{len(self._switched)}"
            self._switched.append(bridge)
            await _ip(
                self.outside, f"link add {name} type bridge mcast_snooping 0", f"link set {name} up"
            )
        number = self._switched.index(bridge)
        near, far = f"nic{number}", f"port{[*self._nodes].index(node)}i{number}"
        await self._lay(self.node(node), near, far)
        await _ip(self.node(node), f"link set {near} master {bridge}")
        await _ip(self.outside, f"link set {far} master switch{number}")

    async def _lay(self, node: Namespace, near: str, far: str) -> None:
        """Lay a cable between a node and the world outside; it is up at both ends."""
        await _ip(
            node,
            f"link add {near} type veth peer name tmp{near}",
            f"link set tmp{near} netns {self.outside.pid}",
            f"link set {near} up",
        )
        await _ip(self.outside, f"link set tmp{near} name {far}", f"link set {far} up")


async def _ip(where: Namespace, *lines: str) -> None:
    await where.run(["ip", "-batch", "-"], "\n".join(lines) + "\n")
