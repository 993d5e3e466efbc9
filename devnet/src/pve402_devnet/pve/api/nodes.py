"""`/nodes` and what a node reports about itself."""

from pve402_devnet.pve import errors, guest_schema, options, rest
from pve402_devnet.pve.api import cluster_wide
from pve402_devnet.pve.guest_schema import flag, text
from pve402_devnet.pve.schema import Property

_NODE = {"node": guest_schema.NODE}
_INDEX = (
    "aplinfo apt capabilities ceph certificates config disks dns firewall hardware hosts journal"
    " lxc migrateall netstat network qemu query-oci-repo-tags query-url-metadata replication"
    " report rrd rrddata scan sdn services spiceshell startall status stopall storage"
    " subscription suspendall syslog tasks termproxy time version vncshell vzdump wakeonlan"
)
_KERNEL = "6.18.44-pve"
_KERNEL_BUILD = "#1 SMP PREEMPT_DYNAMIC"
_INTERFACE_TYPES = (
    "bridge",
    "bond",
    "eth",
    "alias",
    "vlan",
    "fabric",
    "OVSBridge",
    "OVSBond",
    "OVSPort",
    "OVSIntPort",
    "vnet",
    "any_bridge",
    "any_local_bridge",
    "include_sdn",
)
_VNET_TYPES = ("any_bridge", "include_sdn", "vnet")
_SEEING_VNETS = ("SDN.Use", "SDN.Audit", "SDN.Allocate")
_BRIDGE_TYPES = ("", "bridge", "any_bridge", "any_local_bridge", "include_sdn")


async def list_nodes(call: rest.Call) -> rest.Json:
    """The nodes; figures need Sys.Audit."""
    fingerprint = call.world.fingerprint
    return [{**row, "ssl_fingerprint": fingerprint} for row in cluster_wide.node_rows(call)]


async def index(call: rest.Call) -> rest.Json:
    """The entries of a node."""
    return [{"name": name} for name in _INDEX.split()]


async def status(call: rest.Call) -> rest.Json:
    """Memory, disk, processors and versions of a node."""
    node = call.world.nodes[call.node]
    return {
        **_memory(node),
        "boot-info": {"mode": "legacy-bios"},
        "loadavg": ["0.06", "0.16", "0.49"],
        "pveversion": f"pve-manager/{cluster_wide.VERSION['version']}"
        f"/{cluster_wide.VERSION['repoid']}",
        "kversion": f"Linux {_KERNEL} {_KERNEL_BUILD}",
        "current-kernel": {
            "machine": "x86_64",
            "release": _KERNEL,
            "version": _KERNEL_BUILD,
            "sysname": "Linux",
        },
        "cpu": 0,
        "wait": 0,
        "idle": 0,
        "uptime": cluster_wide.uptime_seconds(call.world),
        "ksm": {"shared": 0},
        "cpuinfo": _processors(node),
    }


async def list_machines(call: rest.Call) -> rest.Json:
    """The virtual machines of a node; there are none."""
    return []


async def time(call: rest.Call) -> rest.Json:
    """The clock of a node."""
    now = int(call.world.clock.now())
    return {"time": now, "localtime": now, "timezone": "UTC"}


async def dns(call: rest.Call) -> rest.Json:
    """The resolver of a node."""
    return {"dns1": "10.255.255.53"}


async def versions(call: rest.Call) -> rest.Json:
    """The packages of a node; of those that a real one lists, the two firewalls."""
    return [
        {
            "Package": name,
            "Version": version,
            "OldVersion": version,
            "CurrentState": "Installed",
            "Arch": "amd64",
            "Section": "admin",
            "Priority": "optional",
            "Origin": "Proxmox",
            "Title": name,
            "Description": name,
        }
        for name, version in call.world.nodes[call.node].packages
    ]


async def network(call: rest.Call) -> rest.Json:
    """The bridges of a node that the caller may use or see; some types mean vnets as well."""
    rows: list[dict[str, object]] = []
    if call.text("type") in _BRIDGE_TYPES:
        node = call.world.nodes[call.node]
        auditor = call.may(f"/nodes/{node.name}", "Sys.Audit")
        rows += [
            _bridge(node, name)
            for name in node.bridges
            if auditor or call.may(f"/sdn/zones/localnetwork/{name}", "SDN.Use")
        ]
    if call.text("type") in _VNET_TYPES:
        rows += [
            {"iface": name, "type": "vnet", "active": 1}
            for name, vnet in call.world.networks.applied.networks.items()
            if any(call.may(f"/sdn/zones/{vnet.zone}/{name}", one) for one in _SEEING_VNETS)
        ]
    return rows


def _memory(node: options.NodeOptions) -> dict[str, object]:
    used = node.memory_bytes // 26
    total, taken = 270_553_174_016, 37_000_122_368
    return {
        "memory": {
            "total": node.memory_bytes,
            "used": used,
            "free": node.memory_bytes - 2 * used,
            "available": node.memory_bytes - used,
        },
        "swap": {"total": 0, "used": 0, "free": 0},
        "rootfs": {
            "total": total,
            "used": taken,
            "free": total - taken,
            "avail": 71_944_171_520,
        },
    }


def _processors(node: options.NodeOptions) -> dict[str, object]:
    return {
        "hvm": "",
        "vendor": "AuthenticAMD",
        "family": "26",
        "flags": "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov sse sse2 lm",
        "sockets": 1,
        "cores": node.cpus,
        "cpus": node.cpus,
        "user_hz": 100,
        "mhz": "2596.122",
        "model": "AMD EPYC",
    }


def _bridge(node: options.NodeOptions, name: str) -> dict[str, object]:
    return {
        "iface": name,
        "type": "bridge",
        "active": 1,
        "autostart": 1,
        "priority": 3,
        "method": "static",
        "method6": "manual",
        "families": ["inet"],
        "address": node.address,
        "netmask": "24",
        "cidr": f"{node.address}/24",
        "bridge_ports": "",
        "bridge_stp": "off",
        "bridge_fd": "0",
    }


async def interface(call: rest.Call) -> rest.Json:
    """One interface of a node."""
    node = call.world.nodes[call.node]
    name = call.text("iface")
    if name not in node.bridges:
        raise errors.ParameterErrors({"iface": "interface does not exist"})
    return _bridge(node, name)


def _open(path: str, handler: rest.Handler, **parameters: Property) -> rest.Route:
    return rest.Route(
        method="GET",
        path=path,
        handler=handler,
        permission=rest.any_user,
        parameters=parameters,
    )


def _audited(name: str, handler: rest.Handler) -> rest.Route:
    return rest.Route(
        method="GET",
        path=f"/nodes/{{node}}/{name}",
        handler=handler,
        permission=rest.needs("/nodes/{node}", "Sys.Audit"),
        parameters=_NODE,
    )


ROUTES = (
    _open("/nodes", list_nodes),
    _open("/nodes/{node}", index, **_NODE),
    _open("/nodes/{node}/version", cluster_wide.version, **_NODE),
    _open("/nodes/{node}/qemu", list_machines, **_NODE, full=flag()),
    _audited("status", status),
    _audited("time", time),
    _audited("dns", dns),
    _audited("apt/versions", versions),
    _open("/nodes/{node}/network", network, **_NODE, type=text(enum=_INTERFACE_TYPES)),
    rest.Route(
        method="GET",
        path="/nodes/{node}/network/{iface}",
        handler=interface,
        permission=rest.needs("/nodes/{node}", "Sys.Audit"),
        parameters={**_NODE, "iface": Property(min_length=2, max_length=20)},
    ),
)
