"""The figures of a guest, as status, lists and the cluster's published view show them."""

from pve402_devnet.pve import cluster, runtime, storage
from pve402_devnet.pve.firewall import addresses

_DEFAULT_DISK = 4 * 1024**3
_DEFAULT_MEMORY_MB = 512
_IDLE_MEMORY = 1_118_208
_SMALL_IMAGE = 2_498_560
_FILE_SYSTEM_SHARE = 0.9506  # what ext4 leaves of an image
_PRESSURES = tuple(
    f"pressure{what}{who}" for what in ("cpu", "io", "memory") for who in ("some", "full")
)


async def status_of(world: cluster.Cluster, guest: cluster.Guest) -> dict[str, object]:
    """One entry of the container list of a node."""
    conf = guest.config
    shown: dict[str, object] = {
        "type": "lxc",
        "vmid": guest.vmid,
        "status": "stopped",
        "name": conf.text("hostname") or f"CT{guest.vmid}",
        "cpus": cpus_of(world, guest),
        "disk": 0,
        "maxdisk": _root_size(guest),
        "mem": 0,
        "swap": 0,
        "maxmem": conf.integer("memory", _DEFAULT_MEMORY_MB) * 1024**2,
        "maxswap": conf.integer("swap", 0) * 1024**2,
        "uptime": 0,
        "cpu": 0,
        "netin": 0,
        "netout": 0,
        "diskread": 0,
        "diskwrite": 0,
    }
    for name in ("tags", "lock", "template"):
        if name in conf.options:
            shown[name] = conf.options[name]
    if await world.is_running(guest.vmid):
        shown.update(await _running_figures(world, guest))
    return shown


async def _running_figures(world: cluster.Cluster, guest: cluster.Guest) -> dict[str, object]:
    usage = await world.runtime.usage(guest.vmid) or runtime.GuestUsage(
        memory_bytes=_IDLE_MEMORY, disk_bytes=_SMALL_IMAGE
    )
    started_at = guest.started_at or world.clock.now()
    return {
        "status": "running",
        "pid": guest.pid,
        "uptime": usage.uptime_seconds or int(world.clock.now() - started_at),
        "cpu": usage.cpu,
        "mem": usage.memory_bytes,
        "disk": usage.disk_bytes,
        "maxdisk": int(_root_size(guest) * _FILE_SYSTEM_SHARE),
        "netin": usage.net_in_bytes,
        "netout": usage.net_out_bytes,
        **dict.fromkeys(_PRESSURES),
    }


def cpus_of(world: cluster.Cluster, guest: cluster.Guest) -> int | float:
    """The cores a guest may use, or its limit, or those of the node."""
    cores = guest.config.integer("cores", 0)
    if cores:
        return cores
    limit = float(guest.config.text("cpulimit", "0"))
    if limit:
        return int(limit) if limit.is_integer() else limit
    return world.nodes[guest.node].cpus


async def publish(world: cluster.Cluster) -> None:
    """Take the snapshot of all guests that `/cluster/resources` shows until the next one.

    While the statistics daemon is dead nobody takes one: what was shown stays, and a guest that
    came later reads `unknown`.
    """
    if world.statistics_dead:
        return
    for guest in list(world.guests.values()):
        now = await status_of(world, guest)
        guest.published = {
            "name": now["name"],
            "status": now["status"],
            "uptime": now["uptime"],
            "template": int(bool(guest.config.options.get("template"))),
            "maxcpu": now["cpus"],
            **{key: now[key] for key in _PUBLISHED},
            "memhost": 0,
        }


_PUBLISHED = (
    "cpu",
    "maxmem",
    "mem",
    "maxdisk",
    "disk",
    "netin",
    "netout",
    "diskread",
    "diskwrite",
)


def resource_of(guest: cluster.Guest) -> dict[str, object]:
    """One guest in `/cluster/resources`; lock and tags are read from the file as it is now."""
    shown: dict[str, object] = {
        "id": f"lxc/{guest.vmid}",
        "vmid": guest.vmid,
        "node": guest.node,
        "type": "lxc",
        "status": "unknown",
        **(guest.published or {}),
    }
    for name in ("lock", "tags"):
        if name in guest.config.options:
            shown[name] = guest.config.options[name]
    return shown


def resource_of_storage(found: storage.Storage, node: str) -> dict[str, object]:
    """One storage of a node in `/cluster/resources` and among a pool's members."""
    return {
        "id": f"storage/{node}/{found.name}",
        "storage": found.name,
        "node": node,
        "type": "storage",
        "plugintype": found.options.type,
        "status": "available",
        "shared": int(found.options.shared),
        "content": ",".join(found.options.content),
        "maxdisk": found.options.total_bytes,
        "disk": found.used_bytes,
    }


_LOOPBACK = runtime.GuestAddress(
    name="lo", hardware_address="00:00:00:00:00:00", inet="127.0.0.1/8", inet6="::1/128"
)


def interfaces_of(world: cluster.Cluster, guest: cluster.Guest) -> list[dict[str, object]] | None:
    """The network interfaces of a running guest, as configured; None until its programs run."""
    if world.clock.now() - (guest.started_at or 0) < world.latencies.addresses:
        return None
    cards = guest.config.networks().values()
    shown = [_LOOPBACK, *(_configured_address(world, guest, card) for card in cards)]
    return [_interface(address) for address in shown]


def _configured_address(
    world: cluster.Cluster, guest: cluster.Guest, card: dict[str, str]
) -> runtime.GuestAddress:
    mac = card.get("hwaddr", "").lower()
    inet, inet6 = card.get("ip", ""), card.get("ip6", "")
    if inet == "dhcp":
        inet = world.held_address(guest, card) or ""
    return runtime.GuestAddress(
        name=card["name"],
        hardware_address=mac,
        inet=inet if "/" in inet else None,
        inet6=inet6 if "/" in inet6 else f"{addresses.link_local(mac)}/64",
    )


def _interface(address: runtime.GuestAddress) -> dict[str, object]:
    shown: dict[str, object] = {
        "name": address.name,
        "hwaddr": address.hardware_address,
        "hardware-address": address.hardware_address,
    }
    listed = []
    for family, text in (("inet", address.inet), ("inet6", address.inet6)):
        if text is not None:
            host, _, prefix = text.partition("/")
            shown[family] = text
            listed.append({"ip-address-type": family, "ip-address": host, "prefix": prefix})
    shown["ip-addresses"] = listed
    return shown


def _root_size(guest: cluster.Guest) -> int:
    root = guest.config.volumes().get("rootfs", {})
    return storage.size_of(root.get("size", "")) or _DEFAULT_DISK
