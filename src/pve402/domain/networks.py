"""Network profiles: how guests are connected, which addresses they get, and who fences them in.

A sku names its profile. Addresses come from the operator's pools, or the guest gets its own by one
of Proxmox VE's methods. Numbers of addresses are integers, as `int(ipaddress.ip_address(...))`.
"""

import bisect
import dataclasses
from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Subnet = IPv4Network | IPv6Network

OF_VARIABLES = "default"
"""The name of the profile that the variables PVE_BRIDGE, PVE_IP and so on make."""


SETTLED_SECONDS = 11
"""How long rules must stand until they surely filter: a poll of pve-firewall, and a second."""
_DHCP_SECONDS = 5


class Method(Enum):
    """How a guest gets its address if no pool assigns one; the values are Proxmox VE's words."""

    DHCP = "dhcp"
    AUTO = "auto"  # IPv6 alone: from router advertisements
    MANUAL = "manual"  # the guest sets it itself
    NONE = "none"  # the card has no address of this family


class Isolation(Enum):
    """What keeps a guest from its neighbours and from the operator's networks."""

    NONE = "none"  # nothing: the guest is a machine on its bridge like any other
    TENANT = "tenant"  # Proxmox VE's guest firewall, with our rules


class Egress(Enum):
    """Where the guests of an isolated network may send."""

    OPEN = "open"  # anywhere but to what isolation keeps from them
    NONE = "none"  # nowhere but ping to the router
    LISTED = "listed"  # to the addresses and ports of a list


class Inbound(Enum):
    """Who reaches the guests of an isolated network from outside."""

    CLOSED = "closed"  # nobody, whatever tenants want
    OPEN = "open"  # everybody, unless a tenant names who
    CHOSEN = "chosen"  # nobody, unless a tenant names who


@dataclasses.dataclass(frozen=True, kw_only=True)
class Allowed:
    """What an operator lets the guests of an isolated network reach, wherever it is."""

    subnet: Subnet
    protocol: str  # tcp or udp
    ports: str  # up to 15 ports and ranges `first:last`, with commas between them


class Link(Enum):
    """Whether a guest's card may carry packets; the values are stored and shown to tenants."""

    PENDING = "pending"  # down until its rules are sure to stand, or a copy is paid for
    READY = "ready"


@dataclasses.dataclass(frozen=True, kw_only=True)
class AddressPool:
    """Addresses that are handed out one at a time, to one lease each."""

    subnet: Subnet
    gateway: Address | None
    numbers: tuple[int, ...]  # ascending; the gateway and all exclusions are left out

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.subnet.version

    def next_free(self, taken: Collection[str], after: str | None) -> Address | None:
        """Return the first address after the newest one that is not taken; None if there is none.

        Addresses go round, so that the one freed last is handed out last.
        """
        start = 0 if after is None else bisect.bisect_right(self.numbers, int(ip_address(after)))
        for number in (*self.numbers[start:], *self.numbers[:start]):
            found = self._address(number)
            if str(found) not in taken:
                return found
        return None

    def has_free(self, taken: Collection[str]) -> bool:
        """Return whether an address is left."""
        return self.next_free(taken, None) is not None

    def hands_out(self, address: Address) -> bool:
        """Return whether an address is one of the pool's."""
        place = bisect.bisect_left(self.numbers, int(address))
        return address.version == self.version and self.numbers[place : place + 1] == (
            int(address),
        )

    def addresses(self) -> Iterator[Address]:
        """Yield all addresses of the pool, in order."""
        return map(self._address, self.numbers)

    def on_card(self, address: str) -> str:
        """Return an address with the prefix length of the subnet, as a card needs it."""
        return f"{address}/{self.subnet.prefixlen}"

    def _address(self, number: int) -> Address:
        return IPv4Address(number) if self.version == 4 else IPv6Address(number)


class Source(Enum):
    """Who gives a guest an address that we must learn."""

    SDN = "sdn"  # the address management of Proxmox VE's SDN, once the guest is made
    DHCP = "dhcp"  # a DHCP server of the operator's, once the guest runs
    AUTO = "auto"  # router advertisements: of the prefix and the hardware address


@dataclasses.dataclass(frozen=True, kw_only=True)
class Learned:
    """Addresses that others give: learned once, before anybody is let into the guest."""

    subnet: Subnet
    source: Source
    gateway: Address | None = None

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.subnet.version

    @property
    def family(self) -> str:
        """The name of the family, as leases have it."""
        return f"ipv{self.version}"

    @property
    def method(self) -> Method:
        """How the guest asks for it."""
        return Method.AUTO if self.source is Source.AUTO else Method.DHCP


Addressing = Method | AddressPool | Learned


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkProfile:
    """How the guests of some skus are connected."""

    name: str
    bridge: str  # a bridge of the node, or a vnet of its SDN
    zone: str | None = None  # the SDN zone of a vnet; None: a bridge
    vlan_tag: int | None = None
    mtu: int | None = None
    rate_megabytes: Decimal | None = None  # in a second, each way
    nameservers: tuple[str, ...] = ()  # none: the node's
    search_domain: str | None = None
    ipv4: Addressing = Method.DHCP
    ipv6: Addressing = Method.NONE
    firewall: bool = True  # the card's flag; alone it filters nothing
    isolation: Isolation = Isolation.NONE
    egress: Egress = Egress.OPEN
    allowed: tuple[Allowed, ...] = ()
    inbound: Inbound = Inbound.CLOSED
    logs_drops: bool = False  # what no rule lets through, in the node's firewall log

    @property
    def pools(self) -> tuple[AddressPool, ...]:
        """The pools that a guest gets one address from each."""
        return tuple(one for one in (self.ipv4, self.ipv6) if isinstance(one, AddressPool))

    def hands_out(self, addresses: Collection[str]) -> bool:
        """Return whether no pool of an address's family lacks it."""
        found = [ip_address(address) for address in addresses]
        return all(
            pool.hands_out(address)
            for pool in self.pools
            for address in found
            if address.version == pool.version
        )

    @property
    def learned(self) -> tuple[Learned, ...]:
        """What others give a guest, and we have to learn."""
        return tuple(one for one in (self.ipv4, self.ipv6) if isinstance(one, Learned))

    @property
    def known(self) -> tuple[AddressPool | Learned, ...]:
        """What gives a guest addresses that we know."""
        return (*self.pools, *self.learned)

    @property
    def families(self) -> frozenset[str]:
        """The families of which a lease has one known address each."""
        return frozenset(f"ipv{one.version}" for one in self.known)

    @property
    def is_read_from_guests(self) -> bool:
        """Whether a guest must run, before it is sold, to tell its address."""
        return any(one.source is Source.DHCP for one in self.learned)

    @property
    def pending_seconds(self) -> int:
        """How long the network of a new lease stays pending at most, once it is handed over."""
        waits = self.is_isolated and not self.is_read_from_guests
        return SETTLED_SECONDS if waits else 0

    @property
    def ahead_seconds(self) -> int:
        """About how much longer a creation takes, for an address that is read from the guest."""
        return 2 * SETTLED_SECONDS + _DHCP_SECONDS if self.is_read_from_guests else 0

    @property
    def is_isolated(self) -> bool:
        """Whether its guests are kept apart by the firewall."""
        return self.isolation is Isolation.TENANT

    @property
    def is_of_variables(self) -> bool:
        """Whether the variables made it, and not the catalogue."""
        return self.name == OF_VARIABLES


def find_overlap(profiles: Mapping[str, NetworkProfile]) -> str | None:
    """Return what two pools would both hand out, or one hands out and the other routes by.

    None if every address belongs to one pool.
    """
    owners: dict[Address, str] = {}
    for name, pool in _pools(profiles):
        for found in pool.addresses():
            if found in owners:
                return f"{found} is in the pools of {owners[found]} and {name}"
            owners[found] = name
    for name, pool in _pools(profiles):
        owner = None if pool.gateway is None else owners.get(pool.gateway)
        if owner not in {None, name}:
            return f"{pool.gateway} is the gateway of {name} and in the pool of {owner}"
    return None


def _pools(profiles: Mapping[str, NetworkProfile]) -> Iterator[tuple[str, AddressPool]]:
    for name, profile in profiles.items():
        for pool in profile.pools:
            yield name, pool
