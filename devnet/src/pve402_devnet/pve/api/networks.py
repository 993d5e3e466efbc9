"""`/cluster/sdn`: simple zones and virtual networks, and making the nodes follow."""

from dataclasses import replace

from pve402_devnet.pve import cables, errors, guest_schema, rest, sdn, tasks
from pve402_devnet.pve.api import network_parts as parts
from pve402_devnet.pve.firewall import files
from pve402_devnet.pve.guest_schema import flag, number, text
from pve402_devnet.pve.schema import Properties, Property

_ZONE_TYPES = ("evpn", "faucet", "qinq", "simple", "vlan", "vxlan")
_RELOAD_REFUSED = (
    (
        "incompatible 'ifupdown2' package version '3.0.0-1.3'! Did you install from Proxmox"
        " repositories?"
    ),
    "command 'pvesh set /nodes/{node}/network --regenerate-frr 0' failed: exit code 255",
)


# -- zones ----------------------------------------------------------------------------------------


async def list_zones(call: rest.Call) -> rest.Json:
    """The zones the caller may see: as written, as applied, or with what waits."""
    networks = call.world.networks
    chosen = networks.applied if call.flag("running") else networks.written
    return [
        _shown_zone(call, name)
        for name, zone in sorted(chosen.zones.items())
        if parts.may_see(call, f"/sdn/zones/{name}") and call.text("type") in ("", zone["type"])
    ]


async def create_zone(call: rest.Call) -> rest.Json:
    """Write a zone down; only simple ones are known."""
    name, zones = call.text("zone"), call.world.networks.written.zones
    if call.text("type") != "simple":
        raise errors.Failure("create sdn zone object failed: only simple zones are simulated")
    if name in zones:
        raise errors.Failure(
            f"create sdn zone object failed: sdn zone object ID '{name}' already defined"
        )
    zones[name] = {key: call.params[key] for key in ("type", *_ZONE_OPTIONS) if key in call.params}
    return None


async def read_zone(call: rest.Call) -> rest.Json:
    """One zone."""
    _zone(call)
    return _shown_zone(call, call.text("zone"))


async def delete_zone(call: rest.Call) -> rest.Json:
    """Remove a zone without networks."""
    name, written = call.text("zone"), call.world.networks.written
    _zone(call)
    for network, one in written.networks.items():
        if one.zone == name:
            raise errors.Failure(
                f"delete sdn zone object failed: zone {name} is used by vnet {network}"
            )
    del written.zones[name]
    return None


def _shown_zone(call: rest.Call, name: str) -> dict[str, object]:
    networks = call.world.networks
    written, applied = networks.written.zones.get(name), networks.applied.zones.get(name)
    if call.flag("running") or not call.flag("pending"):
        zone = (applied if call.flag("running") else written) or {}
        return {**files.with_digest(zone), "zone": name}
    row: dict[str, object] = {"zone": name, "digest": None, **(applied or {})}
    if written is None or written == applied:
        return row
    before = applied or {}
    waiting = {k: v for k, v in written.items() if k != "type" and before.get(k) != v}
    state = "changed" if applied else "new"
    return {**row, "type": written["type"], "state": state, "pending": waiting}


def _zone(call: rest.Call) -> sdn.Entry:
    name = call.text("zone")
    zone = call.world.networks.written.zones.get(name)
    if zone is None:
        raise errors.Failure(f"sdn '{name}' does not exist")
    return zone


# -- networks -------------------------------------------------------------------------------------


async def list_networks(call: rest.Call) -> rest.Json:
    """The networks the caller may see."""
    networks = call.world.networks
    chosen = networks.applied if call.flag("running") else networks.written
    return [
        _shown_network(name, one) | _waiting(call, name, one)
        for name, one in sorted(chosen.networks.items())
        if parts.may_see(call, f"/sdn/zones/{one.zone}/{name}")
    ]


async def create_network(call: rest.Call) -> rest.Json:
    """Write a network of a zone down."""
    name, written = call.text("vnet"), call.world.networks.written
    prefix = "create sdn vnet object failed:"
    if name in written.networks:
        raise errors.Failure(f"{prefix} sdn vnet object ID '{name}' already defined")
    if call.text("zone") not in written.zones:
        raise errors.Failure(f"{prefix} zone {call.text('zone')} doesn't exist")
    options = {key: call.params[key] for key in _NETWORK_OPTIONS if key in call.params}
    written.networks[name] = sdn.Network(zone=call.text("zone"), options=options)
    return None


async def read_network(call: rest.Call) -> rest.Json:
    """One network."""
    return _shown_network(call.text("vnet"), parts.network(call, *parts.READERS))


async def delete_network(call: rest.Call) -> rest.Json:
    """Remove a network without subnets."""
    if parts.network(call, "SDN.Allocate").subnets:
        raise errors.Failure(
            "delete sdn vnet object failed: 400 Parameter verification failed.\n"
            "vnet: Can't delete vnet if subnets exists"
        )
    del call.world.networks.written.networks[call.text("vnet")]
    return None


def _shown_network(name: str, network: sdn.Network) -> dict[str, object]:
    shown: sdn.Entry = {"type": "vnet", "zone": network.zone, **network.options}
    return {**files.with_digest(shown), "vnet": name}


def _waiting(call: rest.Call, name: str, network: sdn.Network) -> dict[str, object]:
    """What a list with `pending` adds for a network that the nodes do not have as it is written."""
    wanted: sdn.Entry = {"zone": network.zone, **network.options}
    applied = call.world.networks.applied.networks.get(name)
    before: sdn.Entry = {"zone": applied.zone, **applied.options} if applied else {}
    if not call.flag("pending") or wanted == before:
        return {}
    changed = {key: value for key, value in wanted.items() if before.get(key) != value}
    return {"state": "changed" if applied else "new", "pending": changed}


# -- applying -------------------------------------------------------------------------------------


async def index(call: rest.Call) -> rest.Json:
    """What lies under the software-defined networks."""
    names = "vnets zones controllers ipams dns fabrics"
    return [{"id": name} for name in names.split()]


async def apply(call: rest.Call) -> rest.Json:
    """Make the nodes follow; the task ends well even where a node did not."""

    async def work(task: tasks.Task) -> None:
        followed = call.world.networks.apply()
        await cables.build(call.world)
        for node in call.world.nodes:
            task.log(f"{node}: reloading network config")
            if not followed:
                task.log(*(line.format(node=node) for line in _RELOAD_REFUSED))

    return call.world.tasks.fork(call.world.local_node, "reloadnetworkall", "", call.user, work)


async def list_zone_states(call: rest.Call) -> rest.Json:
    """Whether a node has the zones that were applied."""
    networks = call.world.networks
    return [
        {"zone": name, "status": _zone_state(networks, name)}
        for name in sorted(networks.applied.zones)
        if parts.may_see(call, f"/sdn/zones/{name}")
    ]


def _zone_state(networks: sdn.Networks, zone: str) -> str:
    names = [name for name, one in networks.applied.networks.items() if one.zone == zone]
    return "available" if set(names) <= set(networks.bridges) else "pending"


_ZONE_OPTIONS: Properties = {
    "dhcp": text(enum=("dnsmasq",)),
    "ipam": text(),
    "mtu": number(),
    "nodes": text(format="pve-node-list"),
    "dns": text(),
    "reversedns": text(),
    "dnszone": text(format="dns-name"),
}
_NETWORK_OPTIONS: Properties = {
    "alias": text(pattern=r"[\(\)\-_.\w\s]{0,256}", max_length=256),
    "isolate-ports": flag(),
    "tag": number(1, 16_777_215),
    "vlanaware": flag(),
}
_VNET = {"vnet": parts.ID}
_OF_A_ZONE = rest.needs("/sdn/zones/{zone}", "SDN.Allocate")


ROUTES = (
    parts.route("GET", "", index, rest.needs("/sdn", "SDN.Audit")),
    parts.route(
        "PUT",
        "",
        apply,
        rest.needs("/sdn", "SDN.Allocate"),
        **parts.LOCK,
        **{"release-lock": flag()},
    ),
    parts.route("GET", "/zones", list_zones, **parts.WHICH, type=text(enum=_ZONE_TYPES)),
    parts.route(
        "POST",
        "/zones",
        create_zone,
        rest.needs("/sdn/zones", "SDN.Allocate"),
        zone=parts.ID,
        type=Property(enum=_ZONE_TYPES, format="pve-configid"),
        **_ZONE_OPTIONS,
        **parts.LOCK,
    ),
    parts.route("GET", "/zones/{zone}", read_zone, _OF_A_ZONE, zone=parts.ID, **parts.WHICH),
    parts.route("DELETE", "/zones/{zone}", delete_zone, _OF_A_ZONE, zone=parts.ID, **parts.LOCK),
    parts.route("GET", "/vnets", list_networks, **parts.WHICH),
    parts.route(
        "POST",
        "/vnets",
        create_network,
        _OF_A_ZONE,
        **_VNET,
        zone=Property(),
        type=text(enum=("vnet",)),
        **_NETWORK_OPTIONS,
        **parts.LOCK,
    ),
    parts.route("GET", "/vnets/{vnet}", read_network, **_VNET, **parts.WHICH),
    parts.route("DELETE", "/vnets/{vnet}", delete_network, **_VNET, **parts.LOCK),
    replace(
        parts.route("GET", "", list_zone_states, node=guest_schema.NODE),
        path="/nodes/{node}/sdn/zones",
    ),
)
