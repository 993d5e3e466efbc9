"""One rule as lines of nftables: what it matches, in each version of IP, and what becomes of it."""

import socket
from collections.abc import Iterable, Iterator

from pve402_devnet.pve.firewall import addresses, files, macros, specs

_FAMILIES = {4: "ip", 6: "ip6"}
_VERDICTS = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "reject"}
_ICMP = {4: "icmp", 6: "icmpv6"}
_ICMP_NAMES = {
    "ping": "echo-request",
    "pong": "echo-reply",
    "router-advertisement": "router-advertisement",
    "neighbor-solicitation": "nd-neighbor-solicit",
    "neighbour-solicitation": "nd-neighbor-solicit",
    "neighbor-advertisement": "nd-neighbor-advert",
    "neighbour-advertisement": "nd-neighbor-advert",
    "ttl-exceeded": "time-exceeded",
}
_ICMPV6_NAMES = {
    "router-advertisement": "nd-router-advert",
    "router-solicitation": "nd-router-solicit",
    "redirect": "nd-redirect",
}
_IN_NFTABLES = {
    4: frozenset(
        {
            *("echo-reply", "destination-unreachable", "source-quench", "redirect"),
            *("echo-request", "router-advertisement", "router-solicitation", "time-exceeded"),
            *("parameter-problem", "timestamp-request", "timestamp-reply"),
            *("address-mask-request", "address-mask-reply"),
        }
    ),
    6: frozenset(
        {
            *("destination-unreachable", "packet-too-big", "time-exceeded", "parameter-problem"),
            *("echo-request", "echo-reply", "nd-router-solicit", "nd-router-advert"),
            *("nd-neighbor-solicit", "nd-neighbor-advert", "nd-redirect"),
        }
    ),
}


def lines_of(rule: files.Entry, known: addresses.Known, *, interface: str = "") -> Iterator[str]:
    """The lines of a rule of type in or out; none where it can match nothing.

    `interface` is a match that comes first, such as `iifname "vmbr0"`.
    """
    verdict = _VERDICTS[str(rule["action"])]
    sides = _sides(rule, known)
    written: set[str] = set()
    for version, family in _FAMILIES.items():
        parts = [_side(family, word, networks, version) for word, networks in sides]
        if rule.get("ipversion", version) != version or None in parts:
            continue
        for traffic in _traffic(rule, version):
            if traffic is not None:
                whole = (interface, *parts, traffic, verdict)
                line = " ".join(part for part in whole if part)
                if line not in written:
                    yield line
                written.add(line)


def addresses_line(word: str, networks: Iterable[addresses.Network], version: int) -> str:
    """A match of addresses of one version, `saddr` or `saddr !=`; empty where there are none."""
    listed = [specs.written(one) for one in networks if one.version == version]
    return f"{_FAMILIES[version]} {word} {{ {', '.join(listed)} }}" if listed else ""


def _sides(
    rule: files.Entry, known: addresses.Known
) -> list[tuple[str, list[addresses.Network] | None]]:
    return [
        (word, addresses.networks_of(str(rule[name]), known) if name in rule else None)
        for name, word in (("source", "saddr"), ("dest", "daddr"))
    ]


def _side(
    family: str, word: str, networks: list[addresses.Network] | None, version: int
) -> str | None:
    """A match of one side; empty without one, None where nothing of this version matches."""
    if networks is None:
        return ""
    return addresses_line(word, networks, version) or None


def _traffic(rule: files.Entry, version: int) -> Iterator[str | None]:
    """Matches of protocol and ports, one for each kind of traffic a rule means."""
    if "macro" in rule:
        for named, ports in macros.MACROS[str(rule["macro"])]:
            protocol = _ICMP[version] if named == "icmp" else named  # of either version
            yield _protocol(protocol, ports, str(rule.get("sport", "")), version)
        return
    protocol = str(rule.get("proto", ""))
    ports = str(rule.get("dport", rule.get("icmp-type", "")))
    yield _protocol(protocol, ports, str(rule.get("sport", "")), version)


def _protocol(protocol: str, ports: str, source_ports: str, version: int) -> str | None:
    if not protocol:
        return ""
    icmp = specs.icmp_version(protocol)
    if icmp is not None:
        return _icmp(ports, version) if icmp == version else None
    if protocol not in specs.WITH_PORTS or not (ports or source_ports):
        return f"meta l4proto {specs.PROTOCOLS.get(protocol, protocol)}"
    name = {"6": "tcp", "17": "udp"}.get(protocol, protocol)
    matches = [(source_ports, "sport"), (ports, "dport")]
    number = specs.PROTOCOLS.get(name, name)
    return f"meta l4proto {number} " + " ".join(
        f"th {word} {_port_set(listed)}" for listed, word in matches if listed
    )


def _icmp(kind: str, version: int) -> str | None:
    """A match of ICMP by type; None for a type that this version, or nftables, does not name."""
    if not kind or kind == "any":
        return f"meta l4proto {_ICMP[version]}"
    name = _ICMP_NAMES.get(kind, kind) if version == 4 else _ICMPV6_NAMES.get(kind, "")
    name = name or _ICMP_NAMES.get(kind, kind)
    if kind.isdecimal():
        return f"{_ICMP[version]} type {kind}"
    return f"{_ICMP[version]} type {name}" if name in _IN_NFTABLES[version] else None


def _port_set(text: str) -> str:
    items = []
    for item in text.split(","):
        plain = item.replace(":", "")
        items.append(
            item.replace(":", "-") if plain.isdecimal() else str(socket.getservbyname(item))
        )
    return f"{{ {', '.join(items)} }}"
