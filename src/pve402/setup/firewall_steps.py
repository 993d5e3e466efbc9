"""What must stand before the datacenter's firewall is switched on, so that no node is cut off.

The firewall filters the nodes as well. Each gets rules of its own: for whoever administers it, for
the other nodes, and for what guests on its bridges may ask of it. Then the alias `local_network` is
narrowed: it lets the nodes' whole subnet reach ports 8006 and 22, guests in it included.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence

from pve402.proxmox import administration, firewall
from pve402.proxmox.administration import Change
from pve402.setup import addresses
from pve402.setup.steps import Site, Step

API_PORT, SSH_PORT = 8006, 22
MARK = "pve402: "
ADMINISTRATION = f"{MARK}administration"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """A node, as its rules need to know it. The first address is that in the cluster."""

    node: str
    hosts: tuple[addresses.Network, ...]
    bridges: tuple[str, ...]  # where guests may ask the node for addresses and names


@dataclasses.dataclass(frozen=True)
class RuleStep:
    """A rule of a node. It is looked for as a whole, since adding it again would double it."""

    node: str
    rule: firewall.Rule

    @property
    def what(self) -> str:
        """What it is for, and where."""
        purpose = self.rule.comment.removeprefix(MARK).rpartition(" ")[0]
        source = f" from {self.rule.source}" if self.rule.source else ""
        return f"rule on {self.node}: {purpose}{source}"

    @property
    def changes(self) -> Sequence[Change]:
        """Add it."""
        return (administration.add_node_rule(self.node, self.rule),)

    async def needed(self, site: Site) -> Change | None:
        """Add it unless it stands and is on."""
        standing = await site.firewall.node_rules(self.node)
        return None if self.rule.facts() in standing else self.changes[0]


@dataclasses.dataclass(frozen=True)
class LocalNetworkStep:
    """The alias `local_network`, which is one node's address and no more."""

    cidr: str

    @property
    def what(self) -> str:
        """The alias and what it becomes."""
        return f"alias {firewall.LOCAL_NETWORK} is {self.cidr} alone"

    @property
    def changes(self) -> Sequence[Change]:
        """Make it, or change it."""
        return (
            administration.create_local_network(self.cidr),
            administration.change_local_network(self.cidr),
        )

    async def needed(self, site: Site) -> Change | None:
        """Compare it."""
        standing = await site.firewall.local_network()
        if standing is None:
            return self.changes[0]
        same = addresses.of_subnets([standing]) == addresses.of_subnets([self.cidr])
        return None if same else self.changes[1]


def steps(
    places: Sequence[Place],
    sources: Sequence[addresses.Network],
    ports: Sequence[int],
    *,
    narrows: bool,
) -> Iterator[Step]:
    """Yield the rules of all nodes and, to narrow it, the alias; nothing here closes anything yet.

    With the firewall on already, the alias stays: to narrow it then would close at once.
    """
    for place in places:
        yield from (RuleStep(place.node, rule) for rule in _rules(place, places, sources, ports))
    if narrows:
        yield LocalNetworkStep(str(places[0].hosts[0]))


def all_ports(ports: Sequence[int]) -> list[int]:
    """Return the ports that administration needs: the usual ones, and those of this operator."""
    return sorted({API_PORT, SSH_PORT, *ports})


def _rules(
    place: Place,
    places: Sequence[Place],
    sources: Sequence[addresses.Network],
    ports: Sequence[int],
) -> Iterator[firewall.Rule]:
    listed = ",".join(map(str, all_ports(ports)))
    for source in addresses.lists(sources):
        yield _accept(ADMINISTRATION, source=source, protocol="tcp", ports=listed)
    others = {host for one in places if one.node != place.node for host in one.hosts}
    for source in addresses.lists(others - set(place.hosts)):
        yield _accept(f"{MARK}other nodes", source=source)
    yield _accept(f"{MARK}ping", macro="Ping")
    for bridge in place.bridges:
        yield _accept(f"{MARK}DHCP", protocol="udp", ports="67", interface=bridge)
        yield _accept(f"{MARK}DNS", macro="DNS", interface=bridge)


def _accept(
    purpose: str,
    *,
    source: str = "",
    protocol: str = "",
    ports: str = "",
    macro: str = "",
    interface: str = "",
) -> firewall.Rule:
    """Return a rule whose comment no other rule has, so that a shell can look for it."""
    rule = firewall.Rule(
        direction="in",
        action="ACCEPT",
        source=source,
        protocol=protocol,
        ports=ports,
        macro=macro,
        interface=interface,
    )
    content = json.dumps(rule.facts(), sort_keys=True).encode()
    mark = hashlib.sha256(content).hexdigest()[:8]
    return dataclasses.replace(rule, comment=f"{purpose} {mark}")
