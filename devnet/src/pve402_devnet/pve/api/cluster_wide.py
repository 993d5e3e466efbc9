"""`/`, `/version`, `/cluster/...`: calls about the whole cluster."""

from pve402_devnet.pve import access, cluster, errors, figures, guest_schema, rest
from pve402_devnet.pve.guest_schema import text
from pve402_devnet.pve.schema import Property

VERSION = {"release": "9.2", "version": "9.2.11", "repoid": "14a22df3a1b2"}
_NODE_FIGURES = ("uptime", "cpu", "mem", "disk", "maxcpu", "maxmem", "maxdisk")
DISK_BYTES = 270_553_174_016
DISK_USED_BYTES = 37_000_028_160
_UPTIME_BASE_SECONDS = 5600


async def root(call: rest.Call) -> rest.Json:
    """The entries of the API's root."""
    names = ("version", "cluster", "nodes", "storage", "access", "pools")
    return [{"subdir": name} for name in names]


async def cluster_index(call: rest.Call) -> rest.Json:
    """The entries of `/cluster`."""
    names = (
        "acme backup backup-info bulk-action ceph config firewall ha jobs log mapping metrics"
        " notifications nextid options qemu replication resources status tasks sdn"
    )
    return [{"name": name} for name in names.split()]


async def version(call: rest.Call) -> rest.Json:
    """Versions of the API."""
    return dict(VERSION)


async def next_id(call: rest.Call) -> rest.Json:
    """The lowest free vmid, or the requested one, as a string; reserves nothing."""
    if "vmid" not in call.params:
        return str(call.world.next_free_vmid())
    if call.vmid in call.world.guests:
        raise errors.ParameterErrors({"vmid": f"VM {call.vmid} already exists"})
    return str(call.vmid)


async def resources(call: rest.Call) -> rest.Json:
    """The guests, nodes, storages and pools that the caller may see, as last published."""
    wanted = call.text("type")
    rows: list[dict[str, object]] = []
    if not wanted:
        rows += _pools(call)
    if wanted in ("", "vm"):
        rows += await _guests(call)
    if wanted in ("", "node"):
        rows += [
            {**row, "cgroup-mode": 1, **_hastate(call.world, str(row["node"]))}
            for row in node_rows(call)
        ]
    if wanted in ("", "storage"):
        rows += _storages(call)
    if not wanted and call.may("/sdn/zones/localnetwork", "SDN.Audit"):
        rows += [_network(name) for name in call.world.nodes]
    return rows


async def options(call: rest.Call) -> rest.Json:
    """Settings of the whole cluster."""
    return {"keyboard": "en-us", "allowed-tags": [], "description": "", "mac_prefix": "BC:24:11"}


async def status(call: rest.Call) -> rest.Json:
    """The members of the cluster; a single node is not a cluster."""
    world = call.world
    rows: list[dict[str, object]] = []
    several = len(world.nodes) > 1
    if several:
        rows.append(
            {
                "type": "cluster",
                "id": "cluster",
                "name": "devnet",
                "version": 1,
                "nodes": len(world.nodes),
                "quorate": int(world.quorate),
            }
        )
    for number, node in enumerate(world.nodes.values(), start=int(several)):
        rows.append(
            {
                "type": "node",
                "id": f"node/{node.name}",
                "name": node.name,
                "nodeid": number,
                "ip": node.address,
                "local": int(node.name == world.local_node),
                "online": int(node.name not in world.offline),
                "level": "",
            }
        )
    return rows


def node_rows(call: rest.Call) -> list[dict[str, object]]:
    """The nodes as lists show them; figures need Sys.Audit on the node."""
    world = call.world
    uptime = uptime_seconds(world)
    rows = []
    for node in world.nodes.values():
        row: dict[str, object] = {
            "id": f"node/{node.name}",
            "node": node.name,
            "type": "node",
            "level": "",
            "status": "offline" if node.name in world.offline else "online",
        }
        if call.may(f"/nodes/{node.name}", "Sys.Audit"):
            used = node.memory_bytes // 27
            values = (uptime, 0.007, used, DISK_USED_BYTES)
            limits = (node.cpus, node.memory_bytes, DISK_BYTES)
            row.update(zip(_NODE_FIGURES, (*values, *limits), strict=True))
        rows.append(row)
    return rows


def _hastate(world: cluster.Cluster, node: str) -> dict[str, object]:
    """Tells of a node that high availability has emptied for maintenance; of others nothing."""
    return {"hastate": "maintenance"} if node in world.maintenance else {}


def uptime_seconds(world: cluster.Cluster) -> int:
    """How long the nodes have been up."""
    return _UPTIME_BASE_SECONDS + int(world.clock.now() - world.started_at)


async def _guests(call: rest.Call) -> list[dict[str, object]]:
    world = call.world
    if world.options.publish_interval_seconds <= 0:
        await figures.publish(world)
    rows = []
    for guest in sorted(world.guests.values(), key=lambda g: g.vmid):
        if not call.may(f"/vms/{guest.vmid}", "VM.Audit"):
            continue
        row = figures.resource_of(guest)
        pool = world.access.pool_of(guest.vmid)
        if pool and call.may(f"/pool/{pool}", "Pool.Audit"):
            row["pool"] = pool
        rows.append(row)
    return rows


def _pools(call: rest.Call) -> list[dict[str, object]]:
    return [
        {"id": f"/pool/{name}", "pool": name, "type": "pool", **_sums(call.world, pool)}
        for name, pool in sorted(call.world.access.pools.items())
        if call.may(f"/pool/{name}", "Pool.Audit")
    ]


def _sums(world: cluster.Cluster, pool: access.Pool) -> dict[str, object]:
    """The total of a pool's running guests; empty if none is running."""
    published = [world.guests[vmid].published or {} for vmid in pool.guests if vmid in world.guests]
    running = [row for row in published if row.get("uptime")]
    if not running:
        return {}
    sums = {
        name: sum(float(str(row[name])) for row in running) for name in ("maxcpu", "maxmem", "mem")
    }
    used = sum(float(str(row["cpu"])) * float(str(row["maxcpu"])) for row in running)
    longest = max(int(str(row["uptime"])) for row in running)
    return {**sums, "cpu": used / sums["maxcpu"], "uptime": longest}


def _storages(call: rest.Call) -> list[dict[str, object]]:
    return [
        figures.resource_of_storage(found, node)
        for found in call.world.storages
        if call.may(f"/storage/{found.name}", "Datastore.Audit")
        for node in call.world.nodes
        if found.is_on(node)
    ]


def _network(node: str) -> dict[str, object]:
    return {
        "id": f"network/{node}/zone/localnetwork",
        "type": "network",
        "network-type": "zone",
        "network": "localnetwork",
        "node": node,
        "status": "ok",
    }


def _open(path: str, handler: rest.Handler, **parameters: Property) -> rest.Route:
    return rest.Route(
        method="GET",
        path=path,
        handler=handler,
        permission=rest.any_user,
        parameters=parameters,
    )


ROUTES = (
    _open("/", root),
    _open("/version", version),
    _open("/cluster", cluster_index),
    _open(
        "/cluster/nextid",
        next_id,
        vmid=guest_schema.VMID_OPTIONAL,
    ),
    _open("/cluster/resources", resources, type=text(enum=("vm", "storage", "node", "sdn"))),
    _open("/cluster/options", options),
    rest.Route(
        method="GET",
        path="/cluster/status",
        handler=status,
        permission=rest.needs("/", "Sys.Audit"),
        protected=True,
    ),
)
