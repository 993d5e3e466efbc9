"""The specification of a new guest, checked before we ask Proxmox VE to create it.

Proxmox silently accepts several values that cannot work or that mean something else: a host
name of 64 characters, a fraction of a GiB, `rootfs=storage:0` (a subvolume without limit),
terabytes of memory. We check for those here.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_interface

from pve402.proxmox import errors, parameters

_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_STORAGE = re.compile(r"[A-Za-z][A-Za-z0-9._-]*[A-Za-z0-9]")
_TEMPLATE = re.compile(
    rf"{_STORAGE.pattern}:vztmpl/[A-Za-z0-9._+~-]+\.(?i:tar|tar\.(?:gz|xz|zst|bz2))"
)
_POOL = re.compile(r"[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+){0,2}")
_BRIDGE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")
_HARDWARE_ADDRESS = re.compile(r"[0-9A-Fa-f][02468ACEace](?::[0-9A-Fa-f]{2}){5}")
_TAG = re.compile(r"[a-z0-9_][a-z0-9_.+-]*")
_PUBLIC_KEY = re.compile(
    r"(?:ssh|ecdsa|sk)-[A-Za-z0-9@.-]+ [A-Za-z0-9+/]+={0,2}(?: [^\x00-\x1f]*)?"
)

_METHODS = {4: {"dhcp", "manual"}, 6: {"dhcp", "manual", "auto"}}
_MTUS = (64, 65_535)
_POINT_TO_POINT = 2
_SHORTEST_PREFIX = 8  # the schema of Proxmox VE refuses shorter ones, of either IP version
_HOSTNAME_LIMIT = 63
_DESCRIPTION_LIMIT = 8192
_PASSWORD_LIMITS = (5, 256)
_PUBLIC_KEYS_LIMIT = 20
_PUBLIC_KEY_LIMIT = 8192
_VMID_LIMITS = (100, 999_999_999)
_CORES_LIMIT = 8192
CPU_UNITS_LIMIT = 10_000  # more is the same on cgroup v2
_MEMORY_MINIMUM_MB = 16


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """The guest's only network card, `eth0` on a bridge or a vnet of the node.

    `ipv4` and `ipv6` are `dhcp`, `manual` (the guest sets it itself), `auto` (IPv6 from router
    advertisements), an address with prefix length, or None. `rate_megabytes` limits the traffic,
    in megabytes per second. With `link_down` no packet passes until the card is changed. Proxmox VE
    draws a `hardware_address` if none is given.
    """

    bridge: str
    ipv4: str | None = "dhcp"
    gateway4: str | None = None
    ipv6: str | None = None
    gateway6: str | None = None
    vlan_tag: int | None = None
    mtu: int | None = None
    firewall: bool = True
    rate_megabytes: Decimal | None = None
    link_down: bool = False
    hardware_address: str | None = None

    def property_string(self) -> str:
        """The card as the value of the parameter `net0`."""
        return parameters.property_string(
            {
                "name": "eth0",
                "bridge": self.bridge,
                "hwaddr": self.hardware_address,
                "ip": self.ipv4,
                "gw": self.gateway4,
                "ip6": self.ipv6,
                "gw6": self.gateway6,
                "tag": self.vlan_tag,
                "mtu": self.mtu,
                "firewall": self.firewall,
                "rate": self.rate_megabytes,
                "link_down": self.link_down or None,
                "type": "veth",
            }
        )

    def problems(self) -> Iterator[str]:
        """What is wrong with the card, one sentence each."""
        if not _BRIDGE.fullmatch(self.bridge):
            yield "the bridge must be an interface name of 1 to 15 characters"
        yield from _family_problems(4, self.ipv4, self.gateway4)
        yield from _family_problems(6, self.ipv6, self.gateway6)
        if self.vlan_tag is not None and not 1 <= self.vlan_tag <= 4094:
            yield "the VLAN tag must be 1 to 4094"
        if self.mtu is not None and not _MTUS[0] <= self.mtu <= _MTUS[1]:
            yield "the MTU must be 64 to 65535"
        own = self.hardware_address
        if own is not None and not _HARDWARE_ADDRESS.fullmatch(own):
            yield "the hardware address must be that of one card, as in BC:24:11:00:00:01"
        rate = self.rate_megabytes
        if rate is not None and not (rate.is_finite() and rate > 0):
            yield "the rate must be a finite number above 0"


@dataclass(frozen=True, kw_only=True)
class GuestSpec:
    """A new guest. Sizes are in MiB and GiB, as Proxmox counts them.

    It is always unprivileged and does not start with the node. Creating it does not start it:
    Proxmox would do that in a separate task that the answer does not name. `cmode=shell` gives
    its console a root shell without login.
    """

    hostname: str
    template: str
    storage: str
    disk_gb: int
    memory_mb: int
    cores: int
    network: NetworkSpec
    swap_mb: int = 0
    cpu_limit: Decimal | None = None  # cores' worth of time
    cpu_units: int | None = None  # weight against other guests; 100 is Proxmox VE's default
    password: str | None = field(default=None, repr=False)
    ssh_public_keys: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    description: str = ""
    nameserver: str | None = None
    search_domain: str | None = None
    nesting: bool = True  # current systemd needs it in an unprivileged guest
    pool: str | None = None
    has_card: bool = True  # without one, the guest has no network

    def parameters(self, vmid: int) -> parameters.Parameters:
        """The parameters of the create call.

        Raises InvalidParameters, naming each parameter, if Proxmox would or should refuse
        the guest.
        """
        if found := dict(self._problems(vmid)):
            raise errors.InvalidParameters(
                "the guest cannot be created with these values", errors=found
            )
        return {
            "vmid": vmid,
            "ostemplate": self.template,
            "rootfs": f"{self.storage}:{self.disk_gb}",
            "unprivileged": True,
            "hostname": self.hostname,
            "cores": self.cores,
            "cpulimit": self.cpu_limit,
            "cpuunits": self.cpu_units,
            "memory": self.memory_mb,
            "swap": self.swap_mb,
            "net0": self.network.property_string() if self.has_card else None,
            "cmode": "shell",
            "onboot": False,
            "features": "nesting=1" if self.nesting else None,
            "password": self.password,
            "ssh-public-keys": "\n".join(self.ssh_public_keys) or None,
            "tags": ";".join(self.tags) or None,
            "description": self.description or None,
            "nameserver": self.nameserver,
            "searchdomain": self.search_domain,
            "pool": self.pool,
        }

    def _problems(self, vmid: int) -> Iterator[tuple[str, str]]:
        yield from self._size_problems(vmid)
        yield from self._name_problems()
        yield from self._access_problems()
        for problem in self.network.problems():
            yield "net0", problem

    def _size_problems(self, vmid: int) -> Iterator[tuple[str, str]]:
        if not _VMID_LIMITS[0] <= vmid <= _VMID_LIMITS[1]:
            yield "vmid", "must be 100 to 999999999"
        if not _is_whole(self.disk_gb) or self.disk_gb < 1:
            yield "rootfs", "the disk must be a whole number of GiB, at least 1"
        if not _is_whole(self.memory_mb) or self.memory_mb < _MEMORY_MINIMUM_MB:
            yield "memory", "must be a whole number of MiB, at least 16"
        if not _is_whole(self.swap_mb) or self.swap_mb < 0:
            yield "swap", "must be a whole number of MiB, at least 0"
        if not _is_whole(self.cores) or not 1 <= self.cores <= _CORES_LIMIT:
            yield "cores", "must be 1 to 8192"
        if self.cpu_limit is not None and not 0 < self.cpu_limit <= _CORES_LIMIT:
            yield "cpulimit", "must be above 0 and at most 8192"
        if self.cpu_units is not None and not 1 <= self.cpu_units <= CPU_UNITS_LIMIT:
            yield "cpuunits", f"must be 1 to {CPU_UNITS_LIMIT}"

    def _name_problems(self) -> Iterator[tuple[str, str]]:
        if not is_hostname(self.hostname):
            yield "hostname", "must be a host name of RFC 1123 of at most 63 characters"
        if not _TEMPLATE.fullmatch(self.template):
            yield "ostemplate", "must read storage:vztmpl/file, a .tar, .tar.gz, .xz, .zst or .bz2"
        if not _STORAGE.fullmatch(self.storage):
            yield "rootfs", "must be the name of a storage"
        if not all(_TAG.fullmatch(tag) for tag in self.tags):
            yield "tags", "must contain only a-z, 0-9, _, -, + and ."
        if self.pool is not None and not _POOL.fullmatch(self.pool):
            yield "pool", "must be the name of a resource pool, at most three levels deep"
        if len(self.description) > _DESCRIPTION_LIMIT:
            yield "description", "must be at most 8192 characters"
        if self.nameserver is not None and not _are_name_servers(self.nameserver):
            yield "nameserver", "must be IP addresses of hosts, with spaces between them"
        if self.search_domain is not None and not is_hostname(self.search_domain):
            yield "searchdomain", "must be a domain name"

    def _access_problems(self) -> Iterator[tuple[str, str]]:
        shortest, longest = _PASSWORD_LIMITS
        password = self.password
        if password is not None and not (
            shortest <= len(password) <= longest and password.isprintable()
        ):
            yield "password", "must be 5 to 256 printable characters"
        if len(self.ssh_public_keys) > _PUBLIC_KEYS_LIMIT:
            yield "ssh-public-keys", "must be at most 20"
        if not all(map(is_public_key, self.ssh_public_keys)):
            yield "ssh-public-keys", "must each be one line of OpenSSH's public key format"


def is_hostname(name: str) -> bool:
    """Whether `name` is an RFC 1123 host name that Linux accepts: at most 63 characters."""
    return len(name) <= _HOSTNAME_LIMIT and all(map(_LABEL.fullmatch, name.split(".")))


def is_public_key(line: str) -> bool:
    """Whether `line` looks like one line of an authorized_keys file, without options."""
    return len(line) <= _PUBLIC_KEY_LIMIT and _PUBLIC_KEY.fullmatch(line) is not None


def _is_whole(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool)


def _family_problems(version: int, address: str | None, gateway: str | None) -> Iterator[str]:
    is_fixed = address is not None and address not in _METHODS[version]
    if is_fixed:
        yield from _address_problems(address or "", version)
    if gateway is not None and not is_fixed:
        yield f"a gateway needs a fixed address, not {address or 'none'}"
    elif gateway is not None:
        yield from _gateway_problems(address or "", gateway)


def _address_problems(text: str, version: int) -> Iterator[str]:
    try:
        card = ip_interface(text)
    except ValueError:
        yield "the address is neither dhcp, manual nor an address with prefix length"
        return
    network = card.network
    if card.version != version:
        yield f"the address is not of IPv{version}"
    if "/" not in text:
        yield "the address needs its prefix length, as in 10.0.0.5/24"
    elif network.prefixlen < _SHORTEST_PREFIX:
        yield f"the prefix length of the address must be at least {_SHORTEST_PREFIX}"
    elif "%" in text:
        yield "the address must not name a zone with %"
    elif network.num_addresses > _POINT_TO_POINT and card.ip in _reserved(network):
        yield "the address is the network's own or its broadcast address, not a host's"
    if card.ip.is_multicast or card.ip.is_unspecified or card.ip.is_loopback:
        yield "a host cannot have this address"


def _gateway_problems(address: str, gateway: str) -> Iterator[str]:
    try:
        card, way = ip_interface(address), ip_address(gateway)
    except ValueError:
        yield "the gateway is not a valid address"
        return
    if card.version != way.version:
        yield "the gateway and the address are of different IP versions"
    elif card.ip == way:
        yield "the gateway is the address itself"
    elif way.is_multicast or way.is_unspecified or way.is_loopback or "%" in gateway:
        yield "a host cannot have the gateway's address"
    elif card.network.num_addresses > _POINT_TO_POINT:
        yield from _gateway_places(card.network, way)


def _gateway_places(
    network: IPv4Network | IPv6Network, way: IPv4Address | IPv6Address
) -> Iterator[str]:
    """Where the gateway of a network cannot be. Link-local ones need not be inside."""
    if way not in network and not way.is_link_local:
        yield f"the gateway is not in the address's network, {network}"
    elif way.version == 4 and way in _reserved(network):  # in IPv6 it means any router
        yield "the gateway is the network's own address or its broadcast address"


def _reserved(network: IPv4Network | IPv6Network) -> tuple[IPv4Address | IPv6Address, ...]:
    """The addresses of a network that no host may have; IPv6 has no broadcast address."""
    if isinstance(network, IPv6Network):
        return (network.network_address,)
    return network.network_address, network.broadcast_address


def _are_name_servers(text: str) -> bool:
    try:
        found = [ip_address(part) for part in text.split()]
    except ValueError:
        return False
    return bool(found) and all(map(_can_be_asked, found))


def _can_be_asked(server: IPv4Address | IPv6Address) -> bool:
    """Whether one host can have this address. A zone (%) goes with link-local ones only."""
    has_zone = "%" in str(server)
    return not (
        server.is_unspecified or server.is_multicast or (has_zone and not server.is_link_local)
    )
