"""The network of a simulated node: its bridges, the cables to its guests, and the filters on them.

A card with `firewall=1` is plugged in as on Proxmox VE: the guest's cable ends in a bridge of its
own, which another cable joins to the bridge that was asked for. Filters see each packet there.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from pve402_devnet.pve.runtime import Bridge, Card
from pve402_devnet.wires.namespace import Namespace, program

_PREPARED = """
for family in ipv4 ipv6; do echo 1 > /proc/sys/net/$family/conf/all/forwarding; done
for kind in all default; do echo 2 > /proc/sys/net/ipv4/conf/$kind/rp_filter; done
echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6
for kind in iptables ip6tables; do echo 1 > /proc/sys/net/bridge/bridge-nf-call-$kind; done
"""
# Packets on a bridge pass the filters of the host only with bridge-nf-call, and rp_filter keeps the
# node from answering for its own address on the bridge of a guest.
_PROBE = (
    "table inet probe { chain c { ct state established ether saddr 02:00:00:00:00:01 drop; }; }"
)


class Guests(Protocol):
    """Whose network namespaces the cables lead to."""

    def process_of(self, vmid: int) -> int | None:
        """A process in the guest's network namespace; None unless it runs isolated."""

    def live_within(self, process: int) -> None:
        """Have later guests made within the user namespace of a process."""


@dataclass(kw_only=True)
class _Wired:
    process: int
    cards: dict[int, Card] = field(default_factory=dict)


class NodeNetwork:
    """One node's network namespace. Guests come and go, and each is on one node at a time."""

    def __init__(self, guests: Guests) -> None:
        self._guests = guests
        self._bridges: dict[str, Bridge] = {}
        self.node = Namespace()
        self._wired: dict[int, _Wired] = {}
        self._lock = asyncio.Lock()
        self._filters = ""

    async def start(self, within: Namespace | None = None) -> None:
        """Make the node; raises `NoNetwork` or RuntimeError where that fails."""
        await self.node.start(within=within)
        await self.node.run(["sh", "-e"], _PREPARED)
        await self.node.run(["nft", "-f", "-"], _PROBE)
        await self.node.run(["nft", "delete", "table", "inet", "probe"])

    async def stop(self) -> None:
        """Cut everything."""
        await self.node.stop()

    async def build(self, bridges: Sequence[Bridge]) -> list[str]:
        """Have these bridges, besides those that are there; returns the names of the new ones."""
        async with self._lock:
            return [bridge.name for bridge in bridges if await self._build(bridge)]

    async def connect(self, vmid: int, cards: Sequence[Card]) -> None:
        """Make a running guest's cards be these; what stays as it is keeps its connections."""
        async with self._lock:
            process = self._guests.process_of(vmid)
            if process is None:
                return
            wired = self._wired.get(vmid)
            if wired is None or wired.process != process:
                await self._unplug(vmid)
                wired = self._wired[vmid] = _Wired(process=process)
            wanted = {card.index: card for card in cards}
            for index in wired.cards.keys() - wanted.keys():
                await self._remove_card(vmid, index)
                del wired.cards[index]
            for index, card in wanted.items():
                await self._bring_about(vmid, process, wired.cards.get(index), card)
                wired.cards[index] = card

    async def disconnect(self, vmid: int) -> None:
        """Clear away what led to a guest that does not run any more."""
        async with self._lock:
            await self._unplug(vmid)

    async def ask(self, vmid: int, interface: str) -> bool:
        """Ask for an address on a guest's card; tells whether the node's answer came."""
        process = self._guests.process_of(vmid)
        if process is None:
            return False
        try:
            await self.node.run(program("leases", "ask", interface), pid=process)
        except RuntimeError:
            return False
        return True

    async def filter(self, script: str) -> None:
        """Put filters in place of those before; of several at once the last one stays."""
        async with self._lock:
            if script != self._filters:
                await self.node.run(["nft", "-f", "-"], script)
                self._filters = script

    def connected(self) -> frozenset[int]:
        """Name the guests that have cables."""
        return frozenset(self._wired)

    async def _bring_about(self, vmid: int, process: int, before: Card | None, card: Card) -> None:
        if before == card:
            return
        same_cable = (
            before is not None
            and replace(
                card,
                addresses=before.addresses,
                gateways=before.gateways,
                firewall=before.firewall,
                link_down=before.link_down,
                bridge=before.bridge,
            )
            == before
        )
        if not same_cable:
            await self._remove_card(vmid, card.index)
            await self._add_card(vmid, process, card)
        if before is None or not same_cable or _place(before) != _place(card):
            await self._plug(vmid, card)
        await self._set_addresses(process, card)

    async def _add_card(self, vmid: int, process: int, card: Card) -> None:
        port, other = _port(vmid, card.index), f"tmp{vmid}i{card.index}"
        await self._ip(
            f"link add {port} type veth peer name {other} address {card.hardware_address}",
            f"link set {other} netns {process}",
        )
        quiet = f"echo 0 > /proc/sys/net/ipv6/conf/{other}/accept_dad || true\n"
        rename = f"ip link set {other} name {card.name}\nip link set {card.name} up\n"
        await self.node.run(["sh", "-e"], quiet + rename, pid=process)

    async def _plug(self, vmid: int, card: Card) -> None:
        """Join the node's end of a card's cable to a bridge, through one of its own if filtered."""
        port, own = _port(vmid, card.index), f"fwbr{vmid}i{card.index}"
        inner, outer = f"fwln{vmid}i{card.index}", f"fwpr{vmid}p{card.index}"
        await self._remove_own_bridge(vmid, card.index)
        state = "down" if card.link_down else "up"
        if not (card.firewall and card.bridge):
            place = f"master {card.bridge}" if card.bridge else "nomaster"
            await self._ip(f"link set {port} {place}", f"link set {port} {state}")
            await self._isolate(port, card.bridge)
            return
        await self._ip(
            f"link add {own} type bridge mcast_snooping 0",
            f"link add {inner} type veth peer name {outer}",
            f"link set {port} master {own}",
            f"link set {inner} master {own}",
            f"link set {outer} master {card.bridge}",
            *(f"link set {name} up" for name in (own, inner, outer)),
            f"link set {port} {state}",
        )
        await self._isolate(outer, card.bridge)

    async def _isolate(self, port: str, bridge: str) -> None:
        if bridge in self._bridges and self._bridges[bridge].isolated:
            await self._ip(f"link set {port} type bridge_slave isolated on")

    async def _set_addresses(self, process: int, card: Card) -> None:
        lines = [f"address flush dev {card.name} scope global"]
        for address in card.addresses:
            nodad = " nodad" if ":" in address else ""
            lines.append(f"address add {address} dev {card.name}{nodad}")
        lines += [
            f"route replace default via {gateway} dev {card.name} onlink"
            for gateway in card.gateways
        ]
        await self.node.run(["ip", "-batch", "-"], "\n".join(lines) + "\n", pid=process)

    async def _unplug(self, vmid: int) -> None:
        wired = self._wired.pop(vmid, None)
        for index in wired.cards if wired else ():
            await self._remove_card(vmid, index)

    async def _remove_card(self, vmid: int, index: int) -> None:
        await self._remove_links(_port(vmid, index))
        await self._remove_own_bridge(vmid, index)

    async def _remove_own_bridge(self, vmid: int, index: int) -> None:
        await self._remove_links(f"fwln{vmid}i{index}", f"fwbr{vmid}i{index}")

    async def _remove_links(self, *names: str) -> None:
        """Remove links that may be gone already, as a guest's are once it has ended."""
        script = "\n".join(f"ip link delete {name} 2>/dev/null || true" for name in names)
        await self.node.run(["sh"], script)

    async def _build(self, bridge: Bridge) -> bool:
        before, name = self._bridges.get(bridge.name), bridge.name
        if before == bridge:
            return False
        if before is None:
            await self._ip(f"link add {name} type bridge mcast_snooping 0")
            await self.node.run(["sh"], f"echo 0 > /proc/sys/net/ipv6/conf/{name}/disable_ipv6\n")
        self._bridges[name] = bridge
        await self._ip(
            f"link set {name} up",
            f"address flush dev {name} scope global",
            *(f"address add {address} dev {name}" for address in bridge.addresses),
        )
        return before is None

    async def _ip(self, *lines: str) -> None:
        await self.node.run(["ip", "-batch", "-"], "\n".join(lines) + "\n")


def _port(vmid: int, index: int) -> str:
    return f"veth{vmid}i{index}"


def _place(card: Card) -> tuple[str, bool, bool]:
    return card.bridge, card.firewall, card.link_down
