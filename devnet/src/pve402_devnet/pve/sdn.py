"""Software-defined networks: simple zones, their networks and subnets, and the addresses given.

What is written down and what is applied are two things: a network exists on the nodes once it was
applied, and the address management follows what is applied.
"""

import copy
import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pve402_devnet.pve import errors

Value = str | int
Entry = dict[str, Value]


@dataclass(kw_only=True)
class Subnet:
    """Addresses of a network, and the ranges that are given out by DHCP."""

    cidr: str
    gateway: str = ""
    snat: bool = False
    dns_server: str = ""
    ranges: list[tuple[str, str]] = field(default_factory=list)

    def addresses(self) -> Iterator[str]:
        """Every address of the ranges, in order."""
        for first, last in self.ranges:
            begin, end = ipaddress.ip_address(first), ipaddress.ip_address(last)
            for number in range(int(end) - int(begin) + 1):
                yield str(begin + number)


@dataclass(kw_only=True)
class Network:
    """A virtual network (vnet) of a zone; `subnets` by their ids."""

    zone: str
    options: Entry = field(default_factory=dict)
    subnets: dict[str, Subnet] = field(default_factory=dict)


@dataclass(kw_only=True)
class Configuration:
    """Zones by name, with their options, and networks by name."""

    zones: dict[str, Entry] = field(default_factory=dict)
    networks: dict[str, Network] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Address:
    """One entry of the address management. A gateway has no hardware address."""

    ip: str
    zone: str
    network: str
    cidr: str
    hardware_address: str = ""
    vmid: int | None = None

    def shown(self) -> dict[str, object]:
        """The entry as the API shows it."""
        row: dict[str, object] = {
            "ip": self.ip,
            "zone": self.zone,
            "vnet": self.network,
            "subnet": self.cidr,
        }
        if not self.hardware_address:
            return {**row, "gateway": 1}
        row["mac"] = self.hardware_address
        return row if self.vmid is None else {**row, "vmid": self.vmid, "hostname": None}


class Networks:
    """The networks of the cluster. With `reload_fails` nodes keep what they had, unnoticed."""

    def __init__(self) -> None:
        self.written = Configuration()
        self.applied = Configuration()
        self.reload_fails = False
        self.bridges: tuple[str, ...] = ()
        self.addresses: list[Address] = []

    def apply(self) -> bool:
        """Make what is written hold; False where the nodes did not follow."""
        self.applied = copy.deepcopy(self.written)
        if self.reload_fails:
            return False
        self.bridges = tuple(self.applied.networks)
        return True

    def path_of(self, bridge: str) -> str:
        """The path that rights on a bridge or network are asked on."""
        network = self.applied.networks.get(bridge)
        return f"/sdn/zones/{network.zone if network else 'localnetwork'}/{bridge}"

    def add_subnet(self, network: str, name: str, subnet: Subnet) -> None:
        """Write a subnet down; its gateway's address is taken."""
        found = self.written.networks[network]
        found.subnets[name] = subnet
        if subnet.gateway:
            self._take(subnet.gateway, found.zone, network, subnet.cidr)

    def remove_subnet(self, network: str, name: str) -> None:
        """Remove a subnet with its gateway's address."""
        subnet = self.written.networks[network].subnets.pop(name)
        self.addresses = [
            one for one in self.addresses if (one.network, one.ip) != (network, subnet.gateway)
        ]

    def reserve(self, network: str, ip: str, hardware_address: str) -> None:
        """Note an address by hand; raises `errors.Failure` where that cannot be."""
        found = self.written.networks[network]
        for subnet in found.subnets.values():
            if ipaddress.ip_address(ip) in ipaddress.ip_network(subnet.cidr):
                if any(one.ip == ip and one.zone == found.zone for one in self.addresses):
                    raise errors.Failure(f"IP '{ip}' is already in use")
                self._take(ip, found.zone, network, subnet.cidr, hardware_address)
                return
        raise errors.Failure(f"no subnet of vnet '{network}' has the address '{ip}'")

    def give(self, vmid: int, card: Mapping[str, str]) -> None:
        """Give a card that asks for DHCP the next address; a range that is used up gives none."""
        network = self.applied.networks.get(card.get("bridge", ""))
        if network is None or card.get("ip") != "dhcp":
            return
        zone = self.applied.zones.get(network.zone, {})
        if "dhcp" not in zone or "ipam" not in zone:
            return
        taken = {one.ip for one in self.addresses if one.zone == network.zone}
        for subnet in network.subnets.values():
            free = next((ip for ip in subnet.addresses() if ip not in taken), None)
            if free is not None:
                place = (network.zone, card["bridge"], subnet.cidr)
                self._take(free, *place, card["hwaddr"], vmid)
                return

    def take_back(self, vmid: int, hardware_address: str | None = None) -> None:
        """Free the addresses of a guest, or of one of its cards."""
        self.addresses = [
            one
            for one in self.addresses
            if one.vmid != vmid or hardware_address not in (None, one.hardware_address)
        ]

    def address_of(self, hardware_address: str) -> str | None:
        """The address a card was given, with the mask of its subnet."""
        for one in self.addresses:
            if one.hardware_address == hardware_address:
                return f"{one.ip}/{one.cidr.partition('/')[2]}"
        return None

    def _take(
        self,
        ip: str,
        zone: str,
        network: str,
        cidr: str,
        hardware_address: str = "",
        vmid: int | None = None,
    ) -> None:
        self.addresses.append(
            Address(
                ip=ip,
                zone=zone,
                network=network,
                cidr=cidr,
                hardware_address=hardware_address,
                vmid=vmid,
            )
        )
