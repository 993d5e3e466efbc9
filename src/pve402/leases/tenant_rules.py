"""The firewall rules of a tenant's guest: what its network lets through, and what it never may.

In this order: no mail, no DHCP server; DNS and ping to the router and the name servers; what the
operator lists as allowed; nothing to private ranges, to neighbours, to any node of the cluster or
to the rest of the router; then the policy. Addresses, hardware addresses, ARP and router
advertisements are filtered by options, before any rule.
"""

from collections.abc import Collection, Iterable, Iterator
from ipaddress import ip_address, ip_network

from pve402.domain import networks
from pve402.proxmox import firewall

_MAIL_PORTS = "25,465,587"
_MOST_IN_A_RULE = 10  # Proxmox VE takes 512 characters, and the longest address has 43
_NOT_PUBLIC = {
    4: (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10"),
        *("224.0.0.0/4", "255.255.255.255"),
    ),
    6: ("fc00::/7", "fe80::/10"),
}
"""Private, link-local and shared ranges; for IPv4 those that reach all neighbours as well."""
_PING = {4: "icmp", 6: "ipv6-icmp"}


def rules_of(network: networks.NetworkProfile, node_addresses: Collection[str]) -> firewall.Ruleset:
    """Return options and rules for guests of an isolated network."""
    is_open = network.egress is networks.Egress.OPEN
    return firewall.Ruleset(
        options={
            "enable": "1",
            "policy_in": "ACCEPT" if network.is_open_inward else "DROP",
            "policy_out": "ACCEPT" if is_open else "DROP",
            "ipfilter": "1",
            "macfilter": "1",
            "dhcp": "0",
            "ndp": "1",
            "radv": "0",
        },
        rules=tuple(_rules(network, node_addresses)),
    )


def _rules(
    network: networks.NetworkProfile, node_addresses: Collection[str]
) -> Iterator[firewall.Rule]:
    yield _drop(protocol="tcp", ports=_MAIL_PORTS, comment="no mail")
    yield _drop(protocol="udp", source_ports="67", ports="68", comment="no DHCP server")
    routers = [str(pool.gateway) for pool in network.pools if pool.gateway is not None]
    if network.egress is not networks.Egress.NONE:
        for server in dict.fromkeys((*routers, *network.nameservers)):
            yield _accept(dest=server, macro="DNS", comment="names")
    for router in routers:
        yield _accept(dest=router, protocol=_PING[ip_address(router).version], comment="ping")
    for allowed in network.allowed:
        yield _accept(
            dest=str(allowed.subnet),
            protocol=allowed.protocol,
            ports=allowed.ports,
            comment="allowed by the operator",
        )
    subnets = [str(pool.subnet) for pool in network.pools]
    for version, ranges in _NOT_PUBLIC.items():
        kept = _of_version((*ranges, *subnets, *routers, *sorted(node_addresses)), version)
        for dest in _in_parts(kept):
            yield _drop(dest=dest, comment="no way inside")


def _accept(**what: str) -> firewall.Rule:
    return firewall.Rule(direction="out", action="ACCEPT", **what)


def _drop(**what: str) -> firewall.Rule:
    return firewall.Rule(direction="out", action="DROP", **what)


def _of_version(texts: Iterable[str], version: int) -> list[str]:
    """Return the addresses and networks of one IP version, each once."""
    return [one for one in dict.fromkeys(texts) if ip_network(one).version == version]


def _in_parts(addresses: list[str]) -> Iterator[str]:
    for first in range(0, len(addresses), _MOST_IN_A_RULE):
        yield ",".join(addresses[first : first + _MOST_IN_A_RULE])
