"""The datacenter's firewall over the API: rules first, then what changes, then the switch."""

from collections.abc import Sequence
from dataclasses import dataclass

from pve402.proxmox import administration, firewall, guest_filters, options
from pve402.proxmox.client import ProxmoxClient, ProxmoxOptions
from pve402.setup import addresses, firewall_steps, making, reach, switching
from pve402.setup.operator import Cancelled, Operator
from pve402.setup.steps import Site

SOURCES = (
    "Addresses or networks from which you administer the nodes, and the service's if it runs on"
    " another machine than this, with commas between them"
)
_BY_LOOPBACK = (
    "\n{host} is this machine itself, or a tunnel, which no firewall stops: the test from here"
    " succeeds even if the node is cut off. Try it from another machine before you stop the timer."
)
_OTHER_FILTER = "{node} filters with nftables, so it gets no container of an isolated network."
_OFFLINE = (
    "\n{nodes} cannot be reached, so its rules cannot be written, and the firewall would cut it off"
    " when it is back. The firewall stays as it is; run the same again when all nodes are online."
)
_CLOSES = (
    "\nToday every port of a node answers whoever can reach it. Once the datacenter's firewall is"
    " on, ports {ports} answer {sources} and the other nodes, and no other port answers anybody,"
    " apart from what rules of yours allow. Does a node serve anything else, such as NFS, a web"
    " server, a VPN, backups or monitoring? Then first write a rule for it."
)
_ALIAS = "The alias {name} is {before} today; it lets that network reach ports 8006 and 22."


@dataclass(frozen=True, kw_only=True)
class Ways:
    """How the operator and we reach the nodes: addresses as given, and the port of SSH."""

    sources: Sequence[str] = ()
    ssh_port: int = firewall_steps.SSH_PORT


@dataclass(frozen=True, kw_only=True)
class Datacenter:
    """Whose firewall it is, how to log in again for a test, and how fast things are."""

    login: ProxmoxOptions
    operator: Operator
    ways: Ways
    pace: switching.Pace

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports that must stay open."""
        return (self.address[1], self.ways.ssh_port)

    @property
    def address(self) -> tuple[str, int]:
        """Where the API answers us."""
        url = options.api_url(self.login.host)
        return url.host or "", url.port or options.DEFAULT_PORT


async def secure(center: Datacenter, site: Site) -> int:
    """Write the rules that are missing and have the firewall switched on; return the exit status.

    Raises Cancelled or ProxmoxError; nothing is cut off by then.
    """
    known = await site.nodes.list()
    offline = [node.node for node in known if not node.online]
    if offline:
        center.operator.tell(_OFFLINE.format(nodes=", ".join(offline)))
        return switching.EXIT_NOT_DONE
    names = [node.node for node in known]
    known_as = await site.firewall.cluster_addresses()
    places = [await _place(site, name, known_as.get(name)) for name in names]
    is_on = await site.firewall.is_on()
    sources = await _sources(center, site, names, is_on=is_on)
    wanted = list(firewall_steps.steps(places, sources, center.ports, narrows=not is_on))
    if not is_on:
        await _warn(center, site, sources)
    await making.make_all(wanted, site, center.operator, lambda _change, _answer: None)
    if is_on:
        center.operator.tell("The datacenter's firewall is on.")
        status = 0
    else:
        status = await _switch(center, places).on()
    return status or await _isolates(center, site, names)


async def _isolates(center: Datacenter, site: Site, names: Sequence[str]) -> int:
    """Say what still keeps guests from being filtered; return the exit status."""
    for name in names:
        if await site.firewall.uses_nftables(name):
            center.operator.tell(_OTHER_FILTER.format(node=name))
    if problem := await site.firewall.problem():
        center.operator.tell(f"Nothing is isolated yet: {problem}.")
        return switching.EXIT_FAILED
    return 0


def _switch(center: Datacenter, places: Sequence[firewall_steps.Place]) -> switching.Switch:
    async def read() -> bool:
        async with ProxmoxClient(center.login) as client:  # over a connection of its own
            return await Site(client).firewall.is_on()

    async def make(change: administration.Change) -> object:
        async with ProxmoxClient(center.login) as client:
            return await Site(client).administration.make(change)

    if reach.is_loopback(center.address[0]):
        center.operator.tell(_BY_LOOPBACK.format(host=center.address[0]))
    return switching.Switch(
        node=places[0].node,
        doors=list(_doors(center, places)),
        operator=center.operator,
        read=read,
        make=make,
        pace=center.pace,
    )


def _doors(center: Datacenter, places: Sequence[firewall_steps.Place]) -> list[reach.Door]:
    """Return what must go on answering: where we reach the API, and each node of several."""
    host, port = center.address
    found = [_door("API", host, port)]
    hosts = [str(place.hosts[0].network_address) for place in places] if len(places) > 1 else [host]
    for one in hosts:
        if one != host:
            found.append(_door("API", one, firewall_steps.API_PORT))
        found.append(_door("SSH", one, center.ways.ssh_port))
    return found


def _door(kind: str, host: str, port: int) -> reach.Door:
    return reach.Door(name=f"{kind} at {host}:{port}", host=host, port=port, greets=kind == "SSH")


async def _place(site: Site, node: str, known_as: str | None) -> firewall_steps.Place:
    """Read a node's addresses, that of the cluster first. Raises Cancelled if it has none."""
    first = addresses.of_hosts([known_as] if known_as else [])
    own = await site.nodes.subnets(node)
    others = addresses.of_hosts(text for held in own.values() for text in held) - first
    hosts = (*first, *sorted(others, key=str))
    if not hosts:
        raise Cancelled(f"{node}: Proxmox VE names no address of this node.")
    bridges = [name for name in await site.nodes.bridges(node) if name in own]
    zones = await site.sdn.zones()
    vnets = (await site.sdn.vnets()).items()
    served = [name for name, zone in vnets if zone in zones and zones[zone].has_dhcp]
    return firewall_steps.Place(node=node, hosts=hosts, bridges=(*bridges, *sorted(served)))


async def _sources(
    center: Datacenter, site: Site, names: Sequence[str], *, is_on: bool
) -> tuple[addresses.Network, ...]:
    """Return who may administer the nodes: whoever was given, or may already, or answers; and us.

    Raises Cancelled if that is nobody.
    """
    given, kept = [*center.ways.sources], await _kept(site, names)
    own = await reach.own_addresses(*center.address)
    if not given and kept and is_on:
        given = kept
    if not given:
        suggested = kept or [*filter(None, [addresses.of_ssh()]), *own]
        given = [center.operator.ask(SOURCES, ", ".join(suggested) or None)]
    found = addresses.parse([*given, *own])
    if not found:
        raise Cancelled("Say from where you administer the nodes: --from ADDRESS")
    return found


async def _kept(site: Site, names: Sequence[str]) -> list[str]:
    """Return the addresses that earlier rules of ours let in."""
    rules = [rule for name in names for rule in await site.firewall.node_rules(name)]
    ours = [
        one for one in rules if one.get("comment", "").startswith(firewall_steps.ADMINISTRATION)
    ]
    listed = ",".join(one.get("source", "") for one in ours)
    return list(dict.fromkeys(filter(None, listed.split(","))))


async def _warn(center: Datacenter, site: Site, sources: Sequence[addresses.Network]) -> None:
    """Say what changes with the switch: for the nodes, and for guests."""
    ports = ", ".join(map(str, firewall_steps.all_ports(center.ports)))
    listed = ", ".join(map(addresses.written, sources))
    center.operator.tell(_CLOSES.format(ports=ports, sources=listed))
    if before := await site.firewall.local_network():
        center.operator.tell(_ALIAS.format(name=firewall.LOCAL_NETWORK, before=before))
    guests = await site.guest_filters.filtered()
    if not guests:
        center.operator.tell("No guest is filtered then that is not filtered now.")
        return
    center.operator.tell("These guests are filtered from then on:")
    for guest in guests:
        center.operator.tell(f"  {_described(guest)}")


def _described(guest: guest_filters.Filtered) -> str:
    kind = "CT" if guest.kind == "lxc" else "VM"
    name = f"{kind} {guest.vmid} {guest.name} on {guest.node}"
    if guest.problem:
        return f"{name}: perhaps; it could not be read: {guest.problem}"
    return f"{name}: in {guest.policy_in}, out {guest.policy_out}, besides its rules"
