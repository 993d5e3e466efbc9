"""Addresses: those that rules let in, and a subnet for tenants that nobody has yet."""

import contextlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from ipaddress import (
    IPv4Interface,
    IPv4Network,
    IPv6Interface,
    IPv6Network,
    ip_interface,
    ip_network,
)

from pve402.setup.operator import Cancelled

Network = IPv4Network | IPv6Network

_MOST_SOURCES = 50
_LONGEST_LIST = 512  # that a rule of Proxmox VE takes
_WIDEST = {4: 8, 6: 16}
_FIRST_HOST = 10  # of a subnet with room for it


def parse(texts: Iterable[str]) -> tuple[Network, ...]:
    """Return addresses and networks, each once. Raises Cancelled for what is none, or too much."""
    words = [word for text in texts for word in text.replace(",", " ").split()]
    found = tuple(dict.fromkeys(map(_network, words)))
    if len(found) > _MOST_SOURCES:
        raise Cancelled(f"{len(found)} addresses are too many; name at most {_MOST_SOURCES}")
    return found


def written(network: Network) -> str:
    """Return a network as Proxmox VE writes it: one address alone has no mask."""
    whole = network.prefixlen == network.max_prefixlen
    return str(network.network_address) if whole else str(network)


def lists(networks: Iterable[Network]) -> Iterator[str]:
    """Yield them as lists that rules take: of one version of IP each, and not too long."""
    listed = sorted(networks, key=lambda one: (one.version, one.network_address, one.prefixlen))
    for version in (4, 6):
        text = ""
        for word in (written(one) for one in listed if one.version == version):
            if text and len(f"{text},{word}") > _LONGEST_LIST:
                yield text
                text = ""
            text = f"{text},{word}" if text else word
        if text:
            yield text


def of_hosts(texts: Iterable[str]) -> frozenset[Network]:
    """Return the addresses, without their subnets, that packets between machines can carry."""
    addresses = {one.ip for one in _interfaces(texts)}
    return frozenset(
        ip_network(one) for one in addresses if not (one.is_loopback or one.is_link_local)
    )


def of_subnets(texts: Iterable[str]) -> frozenset[Network]:
    """Return the subnets that addresses with their masks lie in."""
    return frozenset(one.network for one in _interfaces(texts))


def free_subnet(taken: Collection[Network]) -> IPv4Network:
    """Return a private /24 that overlaps nothing. Raises Cancelled if there is none."""
    for candidate in _candidates():
        if overlapped(candidate, taken) is None:
            return candidate
    raise Cancelled("No private subnet is free; name one with --subnet.")


def overlapped(subnet: Network, taken: Iterable[Network]) -> Network | None:
    """Return the first network that a subnet has addresses in common with."""
    same = (one for one in taken if one.version == subnet.version)
    return next((one for one in same if subnet.overlaps(one)), None)


def subnet_of(text: str) -> IPv4Network:
    """Return an IPv4 subnet with room for a gateway and a guest. Raises Cancelled."""
    try:
        found = IPv4Network(text)
    except ValueError:
        raise Cancelled(f"--subnet {text}: must be an IPv4 network such as 10.77.0.0/24") from None
    if not found.is_private or found.prefixlen > 29 or found.prefixlen < 16:
        raise Cancelled(f"--subnet {text}: must be private, and between /16 and /29")
    return found


def gateway_and_range(subnet: IPv4Network) -> tuple[str, str]:
    """Return the first address, for the node, and most of the others, for containers."""
    first, last = subnet.network_address + 1, subnet.broadcast_address - 1
    has_room = subnet.num_addresses > 2 * _FIRST_HOST
    begin = subnet.network_address + _FIRST_HOST if has_room else first + 1
    return str(first), f"{begin}-{last}"


def of_ssh(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the address that the operator's SSH session comes from, if they use one."""
    words = environment.get("SSH_CONNECTION", "").split()
    return words[0] if words else None


def _interfaces(texts: Iterable[str]) -> Iterator[IPv4Interface | IPv6Interface]:
    """Yield those that are addresses; what Proxmox VE tells may be anything."""
    for text in texts:
        with contextlib.suppress(ValueError):
            yield ip_interface(text)


def _candidates() -> Iterator[IPv4Network]:
    yield from (IPv4Network(f"10.{second}.0.0/24") for second in range(77, 256))
    yield from (IPv4Network(f"172.{second}.77.0/24") for second in range(16, 32))
    yield from (IPv4Network(f"192.168.{third}.0/24") for third in range(77, 255))


def _network(word: str) -> Network:
    try:
        found = ip_network(word, strict=False)
    except ValueError:
        raise Cancelled(f"{word}: must be an address or a network such as 192.0.2.0/24") from None
    if found.prefixlen < _WIDEST[found.version]:
        raise Cancelled(f"{word}: would open the nodes to half the world; name a smaller network")
    return found
