"""How addresses, ports and protocols of a rule are written, and the texts that refuse them.

The forms are those of PVE::Firewall; importing this makes them known to the parameter schemas.
"""

import ipaddress
import re
import socket

from pve402_devnet.pve import formats

NAME = r"[A-Za-z][A-Za-z0-9\-_]+"
ALIAS = re.compile(rf"(dc/|guest/)?({NAME})")
SET_REFERENCE = re.compile(rf"\+(guest/|dc/|sdn/)?({NAME})")
LONGEST_NAME = 64
MOST_PORTS = 15

_ICMP_TYPES = """
    any address-mask-reply address-mask-request destination-unreachable echo-reply echo-request
    fragmentation-needed host-prohibited host-unknown host-unreachable network-prohibited
    network-unknown network-unreachable parameter-problem ping pong port-unreachable
    protocol-unreachable redirect router-advertisement router-solicitation source-quench
    source-route-failed time-exceeded timestamp-reply timestamp-request ttl-exceeded
"""
_ICMPV6_TYPES = """
    address-unreachable communication-prohibited destination-unreachable echo-reply echo-request
    neighbor-advertisement neighbor-solicitation neighbour-advertisement neighbour-solicitation
    no-route packet-too-big parameter-problem port-unreachable redirect router-advertisement
    router-solicitation time-exceeded ttl-zero-during-transit
"""
ICMP_TYPES = {4: frozenset(_ICMP_TYPES.split()), 6: frozenset(_ICMPV6_TYPES.split())}
PROTOCOLS = {
    "icmp": 1,
    "igmp": 2,
    "tcp": 6,
    "udp": 17,
    "dccp": 33,
    "ipv6": 41,
    "gre": 47,
    "esp": 50,
    "ah": 51,
    "icmpv6": 58,
    "ipv6-icmp": 58,
    "ospf": 89,
    "pim": 103,
    "vrrp": 112,
    "sctp": 132,
    "udplite": 136,
}
WITH_PORTS = frozenset({"tcp", "udp", "dccp", "sctp", "udplite", "6", "17", "33", "132", "136"})
_INTERFACE = re.compile(r"[a-z][a-z0-9_]{1,20}([:.]\d+)?", re.IGNORECASE)


def icmp_version(protocol: str) -> int | None:
    """Tell which version of IP an ICMP protocol belongs to; None for other protocols."""
    return {"icmp": 4, "icmpv6": 6, "ipv6-icmp": 6}.get(protocol)


def address_list_version(text: str) -> int | None:
    """Check a list of addresses, networks or one range, and tell its version of IP.

    None for a reference to a set or an alias. Raises `formats.FormatError`.
    """
    if re.fullmatch(r"\+\S+", text):
        _require_length(text[1:], "ipset name too long\n")
        return None
    if ALIAS.fullmatch(text):
        _require_length(text, "alias name too long\n")
        return None
    elements = _split(text)
    versions = {_element_version(element) for element in elements}
    if len(versions) > 1:
        raise formats.FormatError(f"detected mixed ipv4/ipv6 addresses in address list '{text}'\n")
    if len(elements) > 1 and any("-" in element for element in elements):
        raise formats.FormatError("you can't use a range in a list\n")
    return versions.pop()


def require_ports(text: str, *, icmp_version: int | None = None) -> None:
    """Check a list of ports, ranges and services; as the type of ICMP a name of one is good."""
    count = 0
    types = icmp_version is not None
    for item in _split(text):
        pair = re.fullmatch(r"(\d+):(\d+)", item, re.ASCII)
        if pair:
            count += 2
            _require_range(pair[1], pair[2])
        elif re.fullmatch(r"\d+", item, re.ASCII):
            count += 1
            _require_port(item)
        elif not (types and any(item in names for names in ICMP_TYPES.values())):
            _require_service(item)
    if count > MOST_PORTS:
        raise formats.FormatError(f"too many entries in port list (> {MOST_PORTS} numbers)\n")


def require_protocol(text: str) -> None:
    """Check a protocol's name or number."""
    number = text.isdecimal() and int(text) < 256
    if text and not number and text not in PROTOCOLS:
        raise formats.FormatError(f"unknown protocol '{text}'\n")


def require_interface(text: str) -> None:
    """Check the name of a network interface."""
    if _INTERFACE.fullmatch(text) is None:
        raise formats.FormatError(f"invalid network interface name '{text}'\n")


def clean_network(text: str) -> tuple[str, int]:
    """Write an address or network as a set stores it, and tell its version of IP.

    Host bits behind the mask are dropped, so `10.77.0.21/24` is the whole network.
    """
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise formats.FormatError(
            "value does not look like a valid IP address or CIDR network\n"
        ) from error
    return written(network), network.version


def written_address(text: str) -> tuple[str, int]:
    """Write an alias's address as it is stored: a whole mask is dropped, host bits are not."""
    _, version = clean_network(text)
    return re.sub(r"/32$" if version == 4 else r"/128$", "", text), version


def written(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> str:
    """A network, or its address alone where it is only one."""
    whole = network.prefixlen == network.max_prefixlen
    return str(network.network_address) if whole else str(network)


def _split(text: str) -> list[str]:
    elements = text.split(",")
    if not elements[-1]:
        raise formats.FormatError("extraneous commas in list\n")
    return elements


def _element_version(element: str) -> int:
    first, dash, last = element.partition("-")
    try:
        if not dash:
            return ipaddress.ip_network(element, strict=False).version
        begin, end = ipaddress.ip_address(first), ipaddress.ip_address(last)
        if begin.version == end.version and int(begin) <= int(end):
            return begin.version
    except ValueError:
        pass
    raise formats.FormatError(f"invalid IP address: {element}\n")


def _require_length(name: str, refusal: str) -> None:
    if len(name) > LONGEST_NAME:
        raise formats.FormatError(refusal)


def _require_range(first: str, last: str) -> None:
    _require_port(first)
    _require_port(last)
    if int(first) > int(last):
        raise formats.FormatError(
            f"backwards range '{first}:{last}' not allowed, did you mean '{last}:{first}'?\n"
        )


def _require_port(text: str) -> None:
    if int(text) > 65535:
        raise formats.FormatError(f"invalid port '{text}'\n")


def _require_service(name: str) -> None:
    try:
        socket.getservbyname(name)
    except OSError as error:
        raise formats.FormatError(f"invalid port '{name}'\n") from error


def _address_or_network(text: str) -> None:
    clean_network(text)


def _address_network_or_alias(text: str) -> None:
    if ALIAS.fullmatch(text) is None:
        clean_network(text)


def _address_list(text: str) -> None:
    address_list_version(text)


def _destination_ports(text: str) -> None:
    require_ports(text, icmp_version=4)


formats.CHECKS.update(
    {
        "IPorCIDR": _address_or_network,
        "IPorCIDRorAlias": _address_network_or_alias,
        "pve-fw-addr-spec": _address_list,
        "pve-fw-dport-spec": _destination_ports,
        "pve-fw-protocol-spec": require_protocol,
        "pve-fw-sport-spec": require_ports,
        "pve-iface": require_interface,
    }
)
