"""All filters of a node as one nftables script: what pve-firewall makes of the files.

Frames of a filtered card cross a bridge of its own, so each packet is seen there once as it leaves
the guest and once as it comes to it; a mark tells which. The order in a card's chains is
Proxmox VE's, its holes included.
"""

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pve402_devnet.pve.firewall import addresses, files, filters, specs

OUTWARD, INWARD = 1, 2  # marks
MANAGEMENT_PORTS = "8006,22,3128,5900:5999,60000:60050"
_MANAGEMENT = f"{{ {MANAGEMENT_PORTS.replace(':', '-').replace(',', ', ')} }}"
_NEIGHBOURS = "{ nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert }"
_KEPT_OPEN = ("ct state invalid drop", "ct state established,related accept")
_VERDICTS = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "reject"}


@dataclass(frozen=True, kw_only=True)
class FilteredCard:
    """A card with `firewall=1` of a running guest. `configured` are its own addresses."""

    vmid: int
    index: int
    hardware_address: str
    configured: tuple[str, ...]
    file: files.FirewallFile

    @property
    def port(self) -> str:
        """The node's end of the card's cable."""
        return f"veth{self.vmid}i{self.index}"

    @property
    def bridge(self) -> str:
        """The bridge that only this card's frames cross."""
        return f"fwbr{self.vmid}i{self.index}"

    @property
    def filters_addresses(self) -> bool:
        """Whether addresses are filtered: by the option, or because there is a set for it."""
        return bool(self.file.options.get("ipfilter")) or self._set is not None

    @property
    def _set(self) -> files.IpSet | None:
        return self.file.sets.get(f"ipfilter-net{self.index}")

    def allowed(self, cluster: files.FirewallFile) -> list[addresses.Network]:
        """The addresses the guest may send from: its own, link-local, and those of its set."""
        own = [*self.configured, addresses.link_local(self.hardware_address)]
        listed = [ipaddress.ip_network(one.partition("/")[0]) for one in own]
        entries = self._set.entries if self._set else []
        return addresses.collapsed([*listed, *addresses.of_entries(entries, (self.file, cluster))])

    def arp_sources(self, cluster: files.FirewallFile) -> list[addresses.Network]:
        """The addresses ARP may name; without any, ARP is not filtered."""
        entries = self._set.entries if self._set else []
        listed = addresses.of_entries(entries, (self.file, cluster))
        if self.file.options.get("ipfilter"):
            listed += [ipaddress.ip_network(one.partition("/")[0]) for one in self.configured]
        return [one for one in addresses.collapsed(listed) if one.version == 4]


def render(
    cluster: files.FirewallFile,
    node: files.FirewallFile,
    cards: Iterable[FilteredCard],
    *,
    node_address: str,
) -> str:
    """Write the script. While the datacenter's firewall is off, connections are only tracked."""
    lines = [_table("inet"), _table("bridge")]
    if not cluster.options.get("enable"):
        hook = _chain("passing", "type filter hook forward priority 0; policy accept;")
        lines += ["table inet pve {", *hook, "ct state established,related accept", "}", "}"]
        return "\n".join(lines) + "\n"
    filtered = [card for card in cards if card.file.options.get("enable")]
    lines += ["table bridge pve {", *_frames(cluster, filtered), "}"]
    lines += ["table inet pve {", *_packets(cluster, filtered)]
    if node.options.get("enable", 1):
        lines += _node_chains(cluster, node, node_address)
    return "\n".join([*lines, "}"]) + "\n"


def _table(family: str) -> str:
    return f"table {family} pve\ndelete table {family} pve"


# -- frames ---------------------------------------------------------------------------------------


def _frames(cluster: files.FirewallFile, cards: list[FilteredCard]) -> Iterator[str]:
    yield from _chain("direction", "type filter hook forward priority -210; policy accept;")
    for card in cards:
        yield f'iifname "{card.port}" meta mark set {OUTWARD}'
        yield f'oifname "{card.port}" meta mark set {INWARD}'
    yield "}"
    if not cluster.options.get("ebtables", 1):
        return
    yield from _chain("frames", "type filter hook forward priority -200; policy accept;")
    yield "ether type { ip, ip6 } accept"
    for card in cards:
        if card.file.options.get("macfilter", 1):
            yield f'iifname "{card.port}" ether saddr != {card.hardware_address} drop'
        sources = ", ".join(specs.written(one) for one in card.arp_sources(cluster))
        if sources:
            yield f'iifname "{card.port}" ether type arp arp saddr ip != {{ {sources} }} drop'
    yield "}"


# -- packets --------------------------------------------------------------------------------------


def _packets(cluster: files.FirewallFile, cards: list[FilteredCard]) -> Iterator[str]:
    for card in cards:
        yield from _chain(f"{card.port}-OUT")
        yield from _out(cluster, card)
        yield "}"
        yield from _chain(f"{card.port}-IN")
        yield from _in(cluster, card)
        yield "}"
    yield from _chain("passing", "type filter hook forward priority 0; policy accept;")
    yield from _KEPT_OPEN
    for card in cards:
        for mark, name in ((OUTWARD, "OUT"), (INWARD, "IN")):
            yield f'iifname "{card.bridge}" meta mark {mark} jump {card.port}-{name}'
    yield "}"


def _out(cluster: files.FirewallFile, card: FilteredCard) -> Iterator[str]:
    options = card.file.options
    if options.get("dhcp", 1):
        yield "meta nfproto ipv4 udp sport 68 udp dport 67 accept"
        yield "meta nfproto ipv6 udp sport 546 udp dport 547 accept"
    if options.get("macfilter", 1):
        yield f"ether saddr != {card.hardware_address} drop"
    if not options.get("radv"):
        yield "icmpv6 type nd-router-advert drop"
    if card.filters_addresses:
        allowed = card.allowed(cluster)
        for version in (4, 6):
            others = filters.addresses_line("saddr !=", allowed, version)
            yield f"{others or f'meta nfproto ipv{version}'} drop"
    if options.get("ndp", 1):
        yield f"icmpv6 type {_NEIGHBOURS} accept"
    yield from _rules(cluster, card, "out")
    yield from _policy(str(options.get("policy_out", "ACCEPT")))


def _in(cluster: files.FirewallFile, card: FilteredCard) -> Iterator[str]:
    options = card.file.options
    if options.get("dhcp", 1):
        yield "meta nfproto ipv4 udp sport 67 udp dport 68 accept"
        yield "meta nfproto ipv6 udp sport 547 udp dport 546 accept"
    if options.get("ndp", 1):
        yield f"icmpv6 type {_NEIGHBOURS} accept"
    yield from _rules(cluster, card, "in")
    yield from _policy(str(options.get("policy_in", "DROP")))


def _rules(cluster: files.FirewallFile, card: FilteredCard, direction: str) -> Iterator[str]:
    own = [
        rule
        for rule in card.file.rules
        if rule.get("iface", f"net{card.index}") == f"net{card.index}"
    ]
    for rule, file in expanded(own, card.file, cluster):
        if rule["type"] == direction:
            yield from filters.lines_of(rule, (file, cluster))


def expanded(
    rules: Iterable[files.Entry], own: files.FirewallFile, cluster: files.FirewallFile
) -> Iterator[tuple[files.Entry, files.FirewallFile]]:
    """The rules that are on, those of a group in its place, each with the file it stands in."""
    for rule in rules:
        if not rule.get("enable"):
            continue
        if rule["type"] != "group":
            yield rule, own
            continue
        group = cluster.groups.get(str(rule["action"]))
        for inner in group.rules if group else ():
            if inner.get("enable"):
                yield inner, cluster


def _policy(name: str) -> Iterator[str]:
    if name != "ACCEPT":
        yield "icmp type destination-unreachable icmp code 4 accept"
        yield "icmp type time-exceeded accept"
    yield _VERDICTS[name]


# -- the node itself ------------------------------------------------------------------------------


def _node_chains(
    cluster: files.FirewallFile, node: files.FirewallFile, address: str
) -> Iterator[str]:
    policies = cluster.options
    yield from _chain("node-IN", "type filter hook input priority 0; policy accept;")
    yield 'iifname "lo" accept'
    yield from _KEPT_OPEN
    yield f"icmpv6 type {_NEIGHBOURS} accept"
    yield "meta l4proto igmp accept"
    yield from _node_rules(cluster, node, "in", "iifname")
    managers = management(cluster, address)
    for version in (4, 6):
        if source := filters.addresses_line("saddr", managers, version):
            yield f"{source} tcp dport {_MANAGEMENT} accept"
    yield from _policy(str(policies.get("policy_in", "DROP")))
    yield "}"
    yield from _chain("node-OUT", "type filter hook output priority 0; policy accept;")
    yield 'oifname "lo" accept'
    yield from _KEPT_OPEN
    yield f"icmpv6 type {_NEIGHBOURS} accept"
    yield from _node_rules(cluster, node, "out", "oifname")
    yield from _policy(str(policies.get("policy_out", "ACCEPT")))
    yield "}"


def _node_rules(
    cluster: files.FirewallFile, node: files.FirewallFile, direction: str, word: str
) -> Iterator[str]:
    for rules in (node.rules, cluster.rules):
        for rule, _ in expanded(rules, node, cluster):
            if rule["type"] == direction:
                interface = f'{word} "{rule["iface"]}"' if "iface" in rule else ""
                yield from filters.lines_of(rule, (node, cluster), interface=interface)


def management(cluster: files.FirewallFile, address: str) -> list[addresses.Network]:
    """Who reaches the node's own services: its network, or what stands for it, and a set."""
    alias = cluster.aliases.get("local_network")
    local = str(alias["cidr"]) if alias else f"{address}/24"
    listed: list[addresses.Network] = [ipaddress.ip_network(local, strict=False)]
    if "management" in cluster.sets:
        listed += addresses.of_entries(cluster.sets["management"].entries, (cluster, cluster))
    return addresses.collapsed(listed)


def _chain(name: str, hook: str = "") -> Iterator[str]:
    yield f"chain {name} {{"
    if hook:
        yield hook
