"""Whether a node's own filter lets a new TCP connection in, in the order of `ruleset`."""

import ipaddress
from collections.abc import Iterator

from pve402_devnet.pve.firewall import addresses, files, macros, ruleset


def admits(
    cluster: files.FirewallFile,
    node: files.FirewallFile,
    *,
    interface: str,
    address: str,
    source: str,
    port: int,
) -> bool:
    """Judge a connection to a port of `address` that arrives on an interface of the node."""
    if not (cluster.options.get("enable") and node.options.get("enable", 1)):
        return True
    for rules in (node.rules, cluster.rules):
        for rule, file in ruleset.expanded(rules, node, cluster):
            if rule["type"] != "in" or rule.get("iface", interface) != interface:
                continue
            known = (file, cluster)
            sides = _has(rule, "source", source, known) and _has(rule, "dest", address, known)
            if sides and any(_covers(ports, port) for ports in _tcp_ports(rule)):
                return rule["action"] == "ACCEPT"
    if _covers(ruleset.MANAGEMENT_PORTS, port):
        managers = ruleset.management(cluster, address)
        if any(ipaddress.ip_address(source) in network for network in managers):
            return True
    return cluster.options.get("policy_in", "DROP") == "ACCEPT"


def _has(rule: files.Entry, side: str, address: str, known: addresses.Known) -> bool:
    if side not in rule:
        return True
    networks = addresses.networks_of(str(rule[side]), known)
    return any(ipaddress.ip_address(address) in network for network in networks)


def _tcp_ports(rule: files.Entry) -> Iterator[str]:
    """The destination ports of TCP that a rule is about; empty for all."""
    if "macro" in rule:
        yield from (ports for name, ports in macros.MACROS[str(rule["macro"])] if name == "tcp")
    elif str(rule.get("proto", "tcp")) in ("tcp", "6"):
        yield str(rule.get("dport", ""))


def _covers(ports: str, port: int) -> bool:
    if not ports:
        return True
    pairs = (item.partition(":") for item in ports.split(","))
    return any(int(first) <= port <= int(last or first) for first, _, last in pairs)
