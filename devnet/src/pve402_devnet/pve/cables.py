"""Keeps guests' cables and filters as the configurations and the firewall's files say.

Cables follow at once. Filters follow the files at the pace of pve-firewall, which looks every ten
seconds and is told of nothing: until then a new guest is not filtered.
"""

from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import structlog

from pve402_devnet.pve import cluster, errors, runtime
from pve402_devnet.pve.firewall import ruleset

_log = structlog.get_logger(__name__)

SHORTEST_POLL_SECONDS = 0.05
"""Between two looks at the firewall's files where work takes no time."""


async def build(world: cluster.Cluster) -> None:
    """Have the bridges and virtual networks on all nodes; raises RuntimeError."""
    for node in world.nodes:
        await world.network.build(node, bridges_of(world, node))


def bridges_of(world: cluster.Cluster, name: str) -> list[runtime.Bridge]:
    """The bridges of a node, with its address on the first, and the virtual networks."""
    node = world.nodes[name]
    own = [runtime.Bridge(name=bridge, shared=True) for bridge in node.bridges]
    own[:1] = [replace(first, addresses=(f"{node.address}/24",)) for first in own[:1]]
    return [*own, *(_virtual(world, name) for name in world.networks.bridges)]


def cards_of(world: cluster.Cluster, guest: cluster.Guest) -> list[runtime.Card]:
    """The cards a configuration asks for, those that ask by DHCP with what they were given."""
    return [
        _card(world, guest, int(name.removeprefix("net")), network)
        for name, network in guest.config.networks().items()
    ]


async def connect(world: cluster.Cluster, guest: cluster.Guest) -> None:
    """Lay the cables of a guest that has just started; leases come after their time."""
    for network in guest.config.networks().values():
        world.held_leases.discard(network.get("hwaddr", ""))
    await world.network.connect(guest.node, guest.vmid, cards_of(world, guest))
    if _without_lease(world, guest):
        world.in_background(_lease(world, guest))


async def follow(world: cluster.Cluster, guest: cluster.Guest) -> None:
    """Bring a guest's cards up to date after a change, if it runs; raises `errors.Failure`."""
    if not await world.is_running(guest.vmid):
        return
    try:
        await world.network.connect(guest.node, guest.vmid, cards_of(world, guest))
        if _without_lease(world, guest):
            world.in_background(_lease(world, guest))
    except RuntimeError as problem:
        raise errors.Failure(f"unable to hotplug network: {problem}") from problem


async def watch(world: cluster.Cluster) -> None:
    """Look for changes for ever, as pve-firewall does."""
    while True:
        await poll(world)
        await world.clock.sleep(max(SHORTEST_POLL_SECONDS, world.latencies.firewall))


async def poll(world: cluster.Cluster) -> None:
    """Make the filters what the files say now, and cables what guests are running now.

    A guest that restarted itself has lost its cables, and gets new ones here. One whose card has
    no address yet asks again.
    """
    await _try(build(world))
    for vmid in world.network.connected() - world.guests.keys():
        await _try(world.network.disconnect(vmid))
    for guest in list(world.guests.values()):
        await _try(_join(world, guest))
    for node in world.nodes:
        await _try(world.network.filter(node, script_of(world, node)))


def script_of(world: cluster.Cluster, node: str) -> str:
    """The filters of a node and of all its guests."""
    files = world.firewalls
    cards = [
        _filtered(world, guest, card)
        for guest in world.guests.values()
        if guest.node == node and guest.started_at is not None
        for card in cards_of(world, guest)
        if card.firewall
    ]
    address = world.nodes[node].address
    return ruleset.render(files.cluster, files.node(node), cards, node_address=address)


async def _join(world: cluster.Cluster, guest: cluster.Guest) -> None:
    if await world.is_running(guest.vmid):
        await world.network.connect(guest.node, guest.vmid, cards_of(world, guest))
        await _ask(world, guest)
    elif guest.vmid in world.network.connected():
        await world.network.disconnect(guest.vmid)


def _virtual(world: cluster.Cluster, name: str) -> runtime.Bridge:
    network = world.networks.applied.networks[name]
    gateways = [
        f"{subnet.gateway}/{subnet.cidr.partition('/')[2]}"
        for subnet in network.subnets.values()
        if subnet.gateway
    ]
    isolated = bool(network.options.get("isolate-ports"))
    return runtime.Bridge(name=name, addresses=tuple(gateways), isolated=isolated)


def _filtered(
    world: cluster.Cluster, guest: cluster.Guest, card: runtime.Card
) -> ruleset.FilteredCard:
    network = guest.config.networks()[f"net{card.index}"]
    configured = (network.get("ip", ""), network.get("ip6", ""))
    return ruleset.FilteredCard(
        vmid=guest.vmid,
        index=card.index,
        hardware_address=card.hardware_address,
        configured=tuple(address for address in configured if "/" in address),
        file=world.firewalls.read_guest(guest.vmid),
    )


async def _lease(world: cluster.Cluster, guest: cluster.Guest) -> None:
    await world.clock.sleep(world.latencies.dhcp)
    await _try(_ask(world, guest))


async def _ask(world: cluster.Cluster, guest: cluster.Guest) -> None:
    """Ask for an address on every card that should have one by DHCP and has none."""
    waiting = _without_lease(world, guest) if world.network.connects else []
    for network in waiting:
        if await world.network.ask(guest.vmid, network["name"]):
            world.held_leases.add(network.get("hwaddr", ""))
    if waiting and await world.is_running(guest.vmid):
        await world.network.connect(guest.node, guest.vmid, cards_of(world, guest))


def _without_lease(world: cluster.Cluster, guest: cluster.Guest) -> list[dict[str, str]]:
    return [
        network
        for network in guest.config.networks().values()
        if network.get("ip") == "dhcp" and network.get("hwaddr", "") not in world.held_leases
    ]


async def _try(work: Coroutine[Any, Any, None]) -> None:
    """One guest's trouble is no other's."""
    try:
        await work
    except RuntimeError as problem:
        _log.warning("the network could not follow", problem=str(problem))


def _card(
    world: cluster.Cluster,
    guest: cluster.Guest,
    index: int,
    network: dict[str, str],
) -> runtime.Card:
    address, address6 = network.get("ip", ""), network.get("ip6", "")
    gateways = [network[key] for key in ("gw", "gw6") if key in network]
    if address == "dhcp":
        address = world.held_address(guest, network) or ""
        gateways += [world.gateway_of(guest.node, network)] if address else []
    return runtime.Card(
        index=index,
        name=network["name"],
        bridge=network.get("bridge", ""),
        hardware_address=network.get("hwaddr", ""),
        addresses=tuple(one for one in (address, address6) if "/" in one),
        gateways=tuple(gateways),
        firewall=network.get("firewall") == "1",
        link_down=network.get("link_down") == "1",
    )
