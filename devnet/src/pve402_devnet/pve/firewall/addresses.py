"""What the addresses of a rule come to: networks of each version of IP, references resolved."""

import ipaddress
import re
from collections.abc import Iterable

from pve402_devnet.pve.firewall import files, specs

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Known = tuple[files.FirewallFile, files.FirewallFile]
"""The file a rule stands in, and the datacenter's."""


def networks_of(text: str, known: Known) -> list[Network]:
    """The networks a source or destination means; one that refers to nothing means none."""
    if text.startswith("+"):
        return _of_set(text, known)
    if specs.ALIAS.fullmatch(text):
        return _of_alias(text, known)
    found: list[Network] = []
    for element in text.split(","):
        found += _of_element(element)
    return collapsed(found)


def of_entries(entries: Iterable[files.Entry], known: Known) -> list[Network]:
    """The networks of a set's entries, without those that are marked not to match."""
    inside: list[Network] = []
    outside: list[Network] = []
    for entry in entries:
        cidr = str(entry["cidr"])
        part = _of_alias(cidr, known) if specs.ALIAS.fullmatch(cidr) else _of_element(cidr)
        (outside if entry.get("nomatch") else inside).extend(part)
    for hole in outside:
        inside = [part for network in inside for part in _without(network, hole)]
    return collapsed(inside)


def collapsed(networks: Iterable[Network]) -> list[Network]:
    """The same addresses in networks that do not overlap."""
    listed = list(networks)
    four = [one for one in listed if isinstance(one, ipaddress.IPv4Network)]
    six = [one for one in listed if isinstance(one, ipaddress.IPv6Network)]
    return [*ipaddress.collapse_addresses(four), *ipaddress.collapse_addresses(six)]


def _of_set(text: str, known: Known) -> list[Network]:
    match = specs.SET_REFERENCE.fullmatch(text)
    if match is None:
        return []
    for file in _places(match[1] or "", known):
        if match[2] in file.sets:
            return of_entries(file.sets[match[2]].entries, known)
    return []


def _of_alias(text: str, known: Known) -> list[Network]:
    scope, _, name = text.rpartition("/")
    for file in _places(f"{scope}/" if scope else "", known):
        if name.lower() in file.aliases:
            return _of_element(str(file.aliases[name.lower()]["cidr"]))
    return []


def _places(scope: str, known: Known) -> Iterable[files.FirewallFile]:
    own, cluster = known
    return {"dc/": (cluster,), "guest/": (own,)}.get(scope, (own, cluster))


def _of_element(element: str) -> list[Network]:
    first, dash, last = element.partition("-")
    if not dash:
        return [ipaddress.ip_network(element, strict=False)]
    begin, end = ipaddress.ip_address(first), ipaddress.ip_address(last)
    return list(ipaddress.summarize_address_range(begin, end))


def _without(network: Network, hole: Network) -> list[Network]:
    if network.version != hole.version or not network.overlaps(hole):
        return [network]
    if network.subnet_of(hole):  # type: ignore[arg-type]
        return []
    return list(network.address_exclude(hole))  # type: ignore[arg-type]


def link_local(hardware_address: str) -> str:
    """The link-local address a card makes of its hardware address."""
    octets = [int(part, 16) for part in re.split(":", hardware_address)]
    octets[0] ^= 2
    identifier = bytes([*octets[:3], 0xFF, 0xFE, *octets[3:]])
    return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + identifier))
