"""`/cluster/sdn`: the subnets of virtual networks, and the addresses that are given."""

import ipaddress

from pve402_devnet.pve import errors, formats, rest, schema, sdn
from pve402_devnet.pve.api import network_parts as parts
from pve402_devnet.pve.firewall import files
from pve402_devnet.pve.guest_schema import flag, text
from pve402_devnet.pve.schema import Properties, Property

_IPAM = Property(pattern=parts.ID.pattern, min_length=2)
_SUBNET = Property(format="pve-sdn-subnet-id")
_RANGE: Properties = {
    "start-address": Property(format="ip"),
    "end-address": Property(format="ip"),
}


# -- subnets --------------------------------------------------------------------------------------


async def list_subnets(call: rest.Call) -> rest.Json:
    """The subnets of a network."""
    network, name = parts.network(call, *parts.READERS), call.text("vnet")
    if call.flag("running"):
        network = call.world.networks.applied.networks.get(name) or sdn.Network(zone=network.zone)
    return [_shown_subnet(name, network, one) for one in sorted(network.subnets)]


async def create_subnet(call: rest.Call) -> rest.Json:
    """Write a subnet down."""
    network = parts.network(call, "SDN.Allocate")
    try:
        cidr = str(ipaddress.ip_network(call.text("subnet")))
    except ValueError as problem:
        raise errors.ParameterErrors({"subnet": f"invalid network: {problem}"}) from problem
    name = f"{network.zone}-{cidr.replace('/', '-')}"
    if name in network.subnets:
        raise errors.Failure(
            f"create sdn subnet object failed: sdn subnet object ID '{name}' already defined"
        )
    subnet = sdn.Subnet(
        cidr=cidr,
        gateway=call.text("gateway"),
        snat=call.flag("snat"),
        dns_server=call.text("dhcp-dns-server"),
        ranges=_ranges(call, cidr),
    )
    call.world.networks.add_subnet(call.text("vnet"), name, subnet)
    return None


async def read_subnet(call: rest.Call) -> rest.Json:
    """One subnet."""
    network = parts.network(call, *parts.READERS)
    _require_subnet(call, network)
    return _shown_subnet(call.text("vnet"), network, call.text("subnet"))


async def delete_subnet(call: rest.Call) -> rest.Json:
    """Remove a subnet that no guest has an address of."""
    network, name = parts.network(call, "SDN.Allocate"), call.text("subnet")
    _require_subnet(call, network)
    cidr = network.subnets[name].cidr
    for one in call.world.networks.addresses:
        if (one.network, one.cidr) == (call.text("vnet"), cidr) and one.hardware_address:
            raise errors.Failure(
                f"delete sdn subnet object failed: cannot delete subnet '{cidr}', not empty"
            )
    call.world.networks.remove_subnet(call.text("vnet"), name)
    return None


def _ranges(call: rest.Call, cidr: str) -> list[tuple[str, str]]:
    found = []
    for part in call.text("dhcp-range").split(schema.ARRAY_SEPARATOR):
        if not part:
            continue
        try:
            limits = schema.parse_property_string(part, _RANGE)
        except (formats.FormatError, errors.Failure) as problem:
            refusal = f"invalid format - {problem}"
            raise errors.ParameterErrors({"dhcp-range": refusal}) from problem
        pair = (limits["start-address"], limits["end-address"])
        for limit in pair:
            if ipaddress.ip_address(limit) not in ipaddress.ip_network(cidr):
                refusal = f"{limit} is not in subnet {cidr}"
                raise errors.ParameterErrors({"dhcp-range": refusal})
        found.append(pair)
    return found


def _shown_subnet(name: str, network: sdn.Network, subnet_id: str) -> dict[str, object]:
    subnet = network.subnets[subnet_id]
    address, _, mask = subnet.cidr.partition("/")
    shown: dict[str, object] = {
        "type": "subnet",
        "id": subnet_id,
        "subnet": subnet_id,
        "vnet": name,
        "zone": network.zone,
        "cidr": subnet.cidr,
        "network": address,
        "mask": mask,
        "digest": files.digest_of([{"subnet": subnet_id, "gateway": subnet.gateway}]),
    }
    if subnet.gateway:
        shown["gateway"] = subnet.gateway
    if subnet.snat:
        shown["snat"] = 1
    if subnet.dns_server:
        shown["dhcp-dns-server"] = subnet.dns_server
    if subnet.ranges:
        shown["dhcp-range"] = [
            {"start-address": first, "end-address": last} for first, last in subnet.ranges
        ]
    return shown


def _require_subnet(call: rest.Call, network: sdn.Network) -> None:
    if call.text("subnet") not in network.subnets:
        raise errors.Failure(f"sdn '{call.text('subnet')}' does not exist")


# -- addresses ------------------------------------------------------------------------------------


async def list_addresses(call: rest.Call) -> rest.Json:
    """The addresses that are given, of the networks the caller may see."""
    if call.text("ipam") != "pve":
        raise errors.Failure(f"sdn '{call.text('ipam')}' does not exist")
    return [
        one.shown()
        for one in call.world.networks.addresses
        if parts.may_see(call, f"/sdn/zones/{one.zone}/{one.network}")
    ]


async def reserve_address(call: rest.Call) -> rest.Json:
    """Note an address for a card by hand."""
    parts.network(call, "SDN.Allocate")
    call.world.networks.reserve(call.text("vnet"), call.text("ip"), call.text("mac").upper())
    return None


async def free_address(call: rest.Call) -> rest.Json:
    """Forget an address."""
    parts.network(call, "SDN.Allocate")
    networks, gone = call.world.networks, (call.text("vnet"), call.text("ip"))
    networks.addresses = [one for one in networks.addresses if (one.network, one.ip) != gone]
    return None


_VNET = {"vnet": parts.ID}
_ADDRESS = {**_VNET, "zone": parts.ID, "ip": Property(format="ip"), "mac": text(format="mac-addr")}
_OF_A_NETWORK = rest.needs("/sdn/zones/{zone}/{vnet}", "SDN.Allocate")

ROUTES = (
    parts.route("GET", "/vnets/{vnet}/subnets", list_subnets, **_VNET, **parts.WHICH),
    parts.route(
        "POST",
        "/vnets/{vnet}/subnets",
        create_subnet,
        vnet=Property(),
        subnet=_SUBNET,
        type=Property(enum=("subnet",)),
        gateway=text(format="ip"),
        snat=flag(),
        dnszoneprefix=text(format="dns-name"),
        **{
            "dhcp-range": Property(type="array", optional=True),
            "dhcp-dns-server": text(format="ip"),
        },
        **parts.LOCK,
    ),
    parts.route(
        "GET", "/vnets/{vnet}/subnets/{subnet}", read_subnet, **_VNET, subnet=_SUBNET, **parts.WHICH
    ),
    parts.route(
        "DELETE",
        "/vnets/{vnet}/subnets/{subnet}",
        delete_subnet,
        **_VNET,
        subnet=_SUBNET,
        **parts.LOCK,
    ),
    parts.route("POST", "/vnets/{vnet}/ips", reserve_address, _OF_A_NETWORK, **_ADDRESS),
    parts.route("DELETE", "/vnets/{vnet}/ips", free_address, _OF_A_NETWORK, **_ADDRESS),
    parts.route("GET", "/ipams/{ipam}/status", list_addresses, ipam=_IPAM),
)
