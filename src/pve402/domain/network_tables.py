"""Reads the catalogue's `[network.NAME]` tables into network profiles."""

import re
from collections.abc import Iterator
from decimal import Decimal
from ipaddress import ip_address, ip_network
from typing import Any

from pve402.domain import networks

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
_BRIDGE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")
_SDN_ID = re.compile(r"[a-z][a-z0-9]{0,7}")  # as PVE::Network::SDN checks them
_DOMAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,61}[A-Za-z0-9])?")
_MOST_ADDRESSES = 65_536  # of one pool
_MOST_RANGES = 64
_MOST_NAMESERVERS = 3  # that resolvers read
_VLAN_TAGS = (1, 4094)
_MTUS = (576, 65_520)
_MTU_OF_IPV6 = 1280  # RFC 8200, section 5
_KEYS = {
    *("bridge", "vnet", "zone", "vlan", "mtu", "rate_mbps", "nameservers", "search_domain"),
    *("ipv4", "ipv6", "default", "isolation", "egress", "inbound", "log"),
}
_ALLOWED_KEYS = {"address", "protocol", "ports"}
_MOST_ALLOWED = 32
_MOST_PORTS = 15  # that Proxmox VE takes in a rule
_MAX_PORT = 65_535
_LEARNED_KEYS = {"subnet", "gateway", "from"}
_SOURCES = {4: ("sdn", "dhcp"), 6: ("auto",)}
_AUTO_PREFIX = 64  # bits, with which a card makes its address of the rest
_POOL_KEYS = {"subnet", "ranges", "gateway", "exclude"}
_METHODS = {4: ("dhcp", "none"), 6: ("dhcp", "auto", "none")}


class NetworkError(ValueError):
    """A table is invalid; the text says where and why."""


def read(name: str, table: Any) -> networks.NetworkProfile:
    """Return the profile of a table. Raises NetworkError."""
    where = f"network.{name}"
    if not isinstance(table, dict):
        raise NetworkError(f"{where}: must be a table")
    if not _NAME.fullmatch(name):
        raise NetworkError(f"{where}: a name has at most 31 characters a-z, 0-9 and -")
    if name == networks.OF_VARIABLES:
        raise NetworkError(f"{where}: PVE_BRIDGE and its like have this name; choose another")
    _refuse_unknown(where, table, _KEYS)
    bridge, zone = _bridge(where, table)
    made = networks.NetworkProfile(
        name=name,
        bridge=bridge,
        zone=zone,
        vlan_tag=_whole(where, table, "vlan", _VLAN_TAGS),
        mtu=_whole(where, table, "mtu", _MTUS),
        rate_megabytes=_rate(where, table),
        nameservers=_nameservers(where, table),
        search_domain=_search_domain(where, table),
        ipv4=_addressing(f"{where}.ipv4", table.get("ipv4", "none"), 4),
        ipv6=_addressing(f"{where}.ipv6", table.get("ipv6", "none"), 6),
        isolation=networks.Isolation(_word(where, table, "isolation", ("none", "tenant"))),
        egress=_egress(where, table),
        allowed=tuple(_allowed(f"{where}.egress", one) for one in _listed(where, table)),
        logs_drops=_word(where, table, "log", ("none", "drops")) == "drops",
        inbound=networks.Inbound(_word(where, table, "inbound", ("closed", "open", "chosen"))),
    )
    _check_families(where, made)
    return made


def is_default(name: str, table: Any) -> bool:
    """Return whether a table is marked as the default. Raises NetworkError."""
    marked = table.get("default", False) if isinstance(table, dict) else False
    if not isinstance(marked, bool):
        raise NetworkError(f"network.{name}.default: must be true or false")
    return marked


def _check_families(where: str, made: networks.NetworkProfile) -> None:
    none = networks.Method.NONE
    if made.ipv4 is none and made.ipv6 is none:
        raise NetworkError(f"{where}: needs ipv4 or ipv6")
    if made.is_isolated:
        _check_isolated(where, made)
    elif made.learned:
        raise NetworkError(f'{where}: an address with `from` needs isolation = "tenant"')
    if made.zone is None and any(one.source is networks.Source.SDN for one in made.learned):
        raise NetworkError(f'{where}.ipv4: from = "sdn" needs a vnet and its zone')
    if made.mtu is not None and made.mtu < _MTU_OF_IPV6 and made.ipv6 is not none:
        raise NetworkError(f"{where}.mtu: IPv6 needs at least {_MTU_OF_IPV6}")


def _check_isolated(where: str, made: networks.NetworkProfile) -> None:
    """Refuse addresses that cannot be held to: the filter lets a guest use those we know alone."""
    for family, addressing in (("ipv4", made.ipv4), ("ipv6", made.ipv6)):
        if addressing not in (networks.Method.NONE, *made.known):
            wanted = 'a pool, a table with `from`, or "none"'
            raise NetworkError(f'{where}.{family}: isolation = "tenant" needs {wanted}')


def _word(where: str, table: dict[str, Any], key: str, words: tuple[str, ...]) -> str:
    """Return one of some words, the first by default; only isolated networks may choose more."""
    found = table.get(key, words[0])
    if not isinstance(found, str) or found not in words:
        raise NetworkError(f"{where}.{key}: must be " + " or ".join(f'"{one}"' for one in words))
    if key != "isolation" and key in table and table.get("isolation") != "tenant":
        raise NetworkError(f'{where}.{key}: needs isolation = "tenant"')
    return found


def _egress(where: str, table: dict[str, Any]) -> networks.Egress:
    if isinstance(table.get("egress"), list):
        _word(where, {**table, "egress": "open"}, "egress", ("open", "none"))
        return networks.Egress.LISTED
    return networks.Egress(_word(where, table, "egress", ("open", "none")))


def _listed(where: str, table: dict[str, Any]) -> list[Any]:
    found = table.get("egress")
    if not isinstance(found, list):
        return []
    if len(found) > _MOST_ALLOWED:
        raise NetworkError(f"{where}.egress: must be at most {_MOST_ALLOWED} entries")
    return found


def _allowed(where: str, table: Any) -> networks.Allowed:
    if not isinstance(table, dict) or set(table) != _ALLOWED_KEYS:
        raise NetworkError(f'{where}: "open", "none" or tables of address, protocol and ports')
    protocol, ports = table["protocol"], table["ports"]
    if protocol not in {"tcp", "udp"}:
        raise NetworkError(f'{where}: protocol must be "tcp" or "udp"')
    if not isinstance(ports, list) or not 1 <= len(ports) <= _MOST_PORTS:
        raise NetworkError(f"{where}: ports must be a list of 1 to {_MOST_PORTS}")
    if not all(type(port) is int and 1 <= port <= _MAX_PORT for port in ports):
        raise NetworkError(f"{where}: a port is 1 to {_MAX_PORT}")
    subnet = _network(where, str(table["address"]))
    return networks.Allowed(subnet=subnet, protocol=protocol, ports=",".join(map(str, ports)))


def _bridge(where: str, table: dict[str, Any]) -> tuple[str, str | None]:
    """Return the bridge or the vnet, and the zone of a vnet."""
    bridge, vnet, zone = (table.get(key) for key in ("bridge", "vnet", "zone"))
    if (bridge is None) == (vnet is None):
        raise NetworkError(f"{where}: needs either bridge, or vnet and zone")
    if (zone is None) != (vnet is None):
        raise NetworkError(f"{where}: vnet and zone belong together")
    if vnet is None:
        return _matching(where, "bridge", bridge, _BRIDGE, "a bridge of up to 15 characters"), None
    words = "an SDN name: a letter, then up to 7 letters and digits, in lower case"
    found = _matching(where, "vnet", vnet, _SDN_ID, words)
    return found, _matching(where, "zone", zone, _SDN_ID, words)


def _matching(where: str, key: str, value: Any, form: re.Pattern[str], words: str) -> str:
    if not isinstance(value, str) or not form.fullmatch(value):
        raise NetworkError(f"{where}.{key}: must be {words}")
    return value


def _whole(where: str, table: dict[str, Any], key: str, bounds: tuple[int, int]) -> int | None:
    found = table.get(key)
    if found is None:
        return None
    if type(found) is not int or not bounds[0] <= found <= bounds[1]:
        raise NetworkError(f"{where}.{key}: must be {bounds[0]} to {bounds[1]}")
    return found


def _rate(where: str, table: dict[str, Any]) -> Decimal | None:
    found = table.get("rate_mbps")
    if found is None:
        return None
    if type(found) not in {int, float} or not 0 < found <= 100_000:
        raise NetworkError(f"{where}.rate_mbps: must be above 0, in megabytes per second")
    return Decimal(str(found))


def _nameservers(where: str, table: dict[str, Any]) -> tuple[str, ...]:
    found = table.get("nameservers", [])
    if not isinstance(found, list) or len(found) > _MOST_NAMESERVERS:
        raise NetworkError(f"{where}.nameservers: must be a list of up to {_MOST_NAMESERVERS}")
    return tuple(str(_address(f"{where}.nameservers", one)) for one in found)


def _search_domain(where: str, table: dict[str, Any]) -> str | None:
    found = table.get("search_domain")
    if found is None:
        return None
    return _matching(where, "search_domain", found, _DOMAIN, "a domain name")


def _addressing(where: str, value: Any, version: int) -> networks.Addressing:
    if isinstance(value, dict):
        return _learned(where, value, version) if "from" in value else _pool(where, value, version)
    if value not in _METHODS[version]:
        words = ", ".join(f'"{word}"' for word in _METHODS[version])
        raise NetworkError(f"{where}: must be {words} or a pool such as {{ subnet = ... }}")
    return networks.Method(value)


def _learned(where: str, table: dict[str, Any], version: int) -> networks.Learned:
    """Return a subnet in which others give addresses."""
    _refuse_unknown(where, table, _LEARNED_KEYS)
    if table["from"] not in _SOURCES[version]:
        words = " or ".join(f'"{word}"' for word in _SOURCES[version])
        raise NetworkError(f"{where}.from: must be {words}")
    source, subnet = networks.Source(table["from"]), _subnet(where, table.get("subnet"), version)
    if source is networks.Source.AUTO and subnet.prefixlen != _AUTO_PREFIX:
        raise NetworkError(f"{where}.subnet: must be a /{_AUTO_PREFIX}")
    gateway = _gateway(where, table.get("gateway"), subnet)
    return networks.Learned(subnet=subnet, source=source, gateway=gateway)


def _pool(where: str, table: dict[str, Any], version: int) -> networks.AddressPool:
    """Return a pool without the gateway, the exclusions, and what no host may have."""
    _refuse_unknown(where, table, _POOL_KEYS)
    subnet = _subnet(where, table.get("subnet"), version)
    gateway = _gateway(where, table.get("gateway"), subnet)
    wanted = _ranges(f"{where}.ranges", table.get("ranges"), subnet)
    left_out = _ranges(f"{where}.exclude", table.get("exclude", []), subnet)
    numbers = {number for first, last in wanted for number in range(first, last + 1)}
    numbers = {n for n in numbers if not any(first <= n <= last for first, last in left_out)}
    numbers -= set() if gateway is None else {int(gateway)}
    numbers -= set(_not_for_hosts(subnet))
    if not numbers:
        raise NetworkError(f"{where}: no address is left for a container")
    return networks.AddressPool(subnet=subnet, gateway=gateway, numbers=tuple(sorted(numbers)))


def _subnet(where: str, value: Any, version: int) -> networks.Subnet:
    try:
        found = ip_network(str(value))
    except ValueError as error:
        raise NetworkError(f"{where}.subnet: {error}") from None
    if found.version != version or "/" not in str(value):
        raise NetworkError(f"{where}.subnet: must be an IPv{version} network with its prefix")
    if found.is_multicast or found.is_loopback or found.is_unspecified:
        raise NetworkError(f"{where}.subnet: no container can have an address of {found}")
    return found


def _gateway(where: str, value: Any, subnet: networks.Subnet) -> networks.Address | None:
    if value is None:
        return None
    found = _address(f"{where}.gateway", value)
    if found.version == 6 and found.is_link_local and subnet.version == 6:
        return found
    if found not in subnet:
        raise NetworkError(f"{where}.gateway: {found} is not inside {subnet}")
    if subnet.version == 4 and int(found) in _not_for_hosts(subnet):
        raise NetworkError(f"{where}.gateway: {found} is no address of a host")
    return found


def _ranges(where: str, value: Any, subnet: networks.Subnet) -> list[tuple[int, int]]:
    """Return ranges of numbers, ends included; a range is `first-last`, an address or a network."""
    if not isinstance(value, list) or len(value) > _MOST_RANGES:
        raise NetworkError(f"{where}: must be a list of up to {_MOST_RANGES} ranges")
    found = [_range(where, text, subnet) for text in value]
    count = sum(last - first + 1 for first, last in found)
    if not where.endswith(".exclude") and count > _MOST_ADDRESSES:
        raise NetworkError(f"{where}: must be at most {_MOST_ADDRESSES} addresses, not {count}")
    return found


def _range(where: str, text: Any, subnet: networks.Subnet) -> tuple[int, int]:
    if not isinstance(text, str):
        raise NetworkError(f"{where}: must be text such as 10.0.0.10-10.0.0.99")
    if "/" in text:
        network = _network(where, text)
        first, last = network[0], network[-1]
    else:
        begin, _, end = text.partition("-")
        first = _address(where, begin.strip())
        last = _address(where, end.strip()) if end else first
    if first not in subnet or last not in subnet:
        raise NetworkError(f"{where}: {text} is not inside {subnet}")
    if int(first) > int(last):
        raise NetworkError(f"{where}: {text} ends before it begins")
    return int(first), int(last)


def _network(where: str, text: str) -> networks.Subnet:
    try:
        return ip_network(text)
    except ValueError as error:
        raise NetworkError(f"{where}: {error}") from None


def _address(where: str, value: Any) -> networks.Address:
    try:
        if isinstance(value, str) and "%" not in value:  # a zone, which no pool can have
            return ip_address(value)
        raise ValueError
    except ValueError:
        raise NetworkError(f"{where}: {value!r} is not an IP address") from None


def _not_for_hosts(subnet: networks.Subnet) -> Iterator[int]:
    """Yield the subnet's own and its broadcast address, unless it is too small to have them."""
    if subnet.prefixlen < subnet.max_prefixlen - 1:
        yield int(subnet.network_address)
        if subnet.version == 4:
            yield int(subnet.broadcast_address)


def _refuse_unknown(where: str, table: dict[str, Any], known: set[str]) -> None:
    unknown = sorted(set(table) - known)
    if unknown:
        raise NetworkError(f"{where}: unknown key {unknown[0]!r}")
