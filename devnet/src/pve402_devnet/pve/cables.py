"""Keeps guests' cables and filters as the configurations and the firewall's files say.

Cables follow at once. Filters follow the files at the pace of pve-firewall, which looks every ten
seconds and is told of nothing: until then a new guest is not filtered.
"""

from dataclasses import replace

import structlog

from pve402_devnet.pve import cluster, errors, runtime
from pve402_devnet.pve.firewall import ruleset

_log = structlog.get_logger(__name__)

_SHORTEST_POLL_SECONDS = 0.05  # where work takes no time


def bridges_of(world: cluster.Cluster) -> list[runtime.Bridge]:
    """The bridges of the first node, with its address on the first, and the virtual networks."""
    node = world.nodes[world.local_node]
    own = [runtime.Bridge(name=name) for name in node.bridges]
    own[:1] = [replace(first, addresses=(f"{node.address}/24",)) for first in own[:1]]
    return [*own, *(_virtual(world, name) for name in world.networks.bridges)]


def cards_of(world: cluster.Cluster, guest: cluster.Guest) -> list[runtime.Card]:
    """The cards a configuration asks for; those that ask by DHCP wait a while for an address."""
    since = world.clock.now() - (guest.started_at or world.clock.now())
    leased = since >= world.latencies.dhcp
    return [
        _card(world, guest, int(name.removeprefix("net")), network, leased=leased)
        for name, network in guest.config.networks().items()
    ]


async def connect(world: cluster.Cluster, guest: cluster.Guest) -> None:
    """Lay the cables of a guest that has just started; leases come after their time."""
    await world.network.connect(guest.vmid, cards_of(world, guest))
    if any(network.get("ip") == "dhcp" for network in guest.config.networks().values()):
        world.in_background(_lease(world, guest))


async def follow(world: cluster.Cluster, guest: cluster.Guest) -> None:
    """Bring a guest's cards up to date after a change, if it runs; raises `errors.Failure`."""
    if not await world.is_running(guest.vmid):
        return
    try:
        await world.network.connect(guest.vmid, cards_of(world, guest))
    except RuntimeError as problem:
        raise errors.Failure(f"unable to hotplug network: {problem}") from problem


async def watch(world: cluster.Cluster) -> None:
    """Look for changes for ever, as pve-firewall does."""
    while True:
        await poll(world)
        await world.clock.sleep(max(_SHORTEST_POLL_SECONDS, world.latencies.firewall))


async def poll(world: cluster.Cluster) -> None:
    """Make the filters what the files say now, and cables what guests are running now.

    A guest that restarted itself has lost its cables, and gets new ones here.
    """
    try:
        await world.network.build(bridges_of(world))
        for vmid in world.network.connected() - world.guests.keys():
            await world.network.disconnect(vmid)
        for guest in list(world.guests.values()):
            await _join(world, guest)
        await world.network.filter(script_of(world))
    except RuntimeError as problem:
        _log.warning("the filters could not be changed", problem=str(problem))


def script_of(world: cluster.Cluster) -> str:
    """The filters of the first node and of all guests."""
    files = world.firewalls
    cards = [
        _filtered(world, guest, card)
        for guest in world.guests.values()
        for card in (cards_of(world, guest) if guest.started_at is not None else ())
        if card.firewall
    ]
    address = world.nodes[world.local_node].address
    return ruleset.render(files.cluster, files.node(world.local_node), cards, node_address=address)


async def _join(world: cluster.Cluster, guest: cluster.Guest) -> None:
    if await world.is_running(guest.vmid):
        await world.network.connect(guest.vmid, cards_of(world, guest))
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
    try:
        await follow(world, guest)
    except errors.Failure as problem:
        _log.warning("a lease came to nothing", vmid=guest.vmid, problem=str(problem))


def _card(
    world: cluster.Cluster,
    guest: cluster.Guest,
    index: int,
    network: dict[str, str],
    *,
    leased: bool,
) -> runtime.Card:
    address, address6 = network.get("ip", ""), network.get("ip6", "")
    gateways = [network[key] for key in ("gw", "gw6") if key in network]
    if address == "dhcp":
        address = (world.dhcp_address(guest.node, network) or "") if leased else ""
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
