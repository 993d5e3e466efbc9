"""Changing a configuration: what is stored at once, what waits for a restart (LXC::Config)."""

import re
import secrets
from collections.abc import Mapping, Sequence

from pve402_devnet.pve import cluster, config, errors, formats, guest_schema, schema, storage

MAC_PREFIX = "BC:24:11"

_APPLIED_WHILE_RUNNING = frozenset(
    {
        "cores",
        "description",
        "hookscript",
        "hostname",
        "lock",
        "onboot",
        "protection",
        "startup",
        "tags",
    }
)
_CGROUP_OPTIONS = frozenset({"cpulimit", "cpuunits", "memory", "swap"})
_DELETED_WHILE_RUNNING = re.compile(r"swap|cpulimit|cpuunits|net\d|unused\d+")
_SMALLEST_WEIGHT = 2  # of CPU shares, as a node with control groups of version 1 keeps them
_REQUIRED = ("memory", "ostype", "rootfs")


def update(
    world: cluster.Cluster,
    guest: cluster.Guest,
    *,
    wanted: Mapping[str, config.Value],
    delete: Sequence[str] = (),
    revert: Sequence[str] = (),
    running: bool,
) -> dict[str, str]:
    """Note the changes as pending and apply those that can be; returns what could not, by option.

    Raises `errors.Failure` for a change that is never possible.
    """
    conf = guest.config
    for name in revert:
        conf.pending.pop(name, None)
        _drop(conf.pending_delete, name)
    selection = _note_deletions(guest, delete)
    for name in sorted(wanted):
        conf.pending[name] = _checked(world, guest, name, wanted[name])
        _drop(conf.pending_delete, name)
        selection.add(name)
    _clean_up(conf)
    return _apply(world, guest, selection, running=running)


def apply_all(world: cluster.Cluster, guest: cluster.Guest) -> None:
    """Apply every pending change, as a start does."""
    waiting = {*guest.config.pending, *guest.config.pending_delete}
    _apply(world, guest, waiting, running=False)


def first_value(world: cluster.Cluster, node: str, name: str, value: config.Value) -> config.Value:
    """Check an option of a guest that does not exist yet and write it as it is stored."""
    checked = _checked_value(world, node, name, value)
    return print_network(str(checked)) if re.fullmatch(r"net\d+", name) else checked


def unique_tags(text: str) -> str:
    """Fold a tag list to lower case, sort it and drop doubles."""
    return ";".join(sorted({tag.lower() for tag in formats.split_list(text)}))


def print_network(text: str) -> str:
    """Write a network device in full: with a hardware address and its type."""
    network = schema.parse_property_string(text, guest_schema.NETWORK)
    network["type"] = "veth"
    network.setdefault("hwaddr", draw_hardware_address())
    return schema.print_property_string(network, guest_schema.NETWORK)


def draw_hardware_address() -> str:
    """Draw a hardware address with Proxmox's prefix."""
    tail = secrets.token_bytes(3)
    return ":".join([MAC_PREFIX, *(f"{octet:02X}" for octet in tail)])


def _note_deletions(guest: cluster.Guest, delete: Sequence[str]) -> set[str]:
    conf, selection = guest.config, set()
    for name in delete:
        if name not in conf.options and name not in conf.pending:
            continue
        selection.add(name)
        if name in _REQUIRED:
            raise errors.Failure(f"unable to delete required option '{name}'")
        if name == "unprivileged":
            raise errors.Failure(f"unable to delete read-only option: '{name}'")
        if re.fullmatch(r"(unused|mp)\d+", name):
            conf.require_unprotected(f"can't remove CT {guest.vmid} drive '{name}'")
        conf.pending.pop(name, None)
        if name not in conf.pending_delete:
            conf.pending_delete.append(name)
    return selection


def _checked(
    world: cluster.Cluster, guest: cluster.Guest, name: str, value: config.Value
) -> config.Value:
    if name == "unprivileged":
        raise errors.Failure(f"unable to modify read-only option: '{name}'")
    if name in guest_schema.VOLUME_KEYS:
        guest.config.require_unprotected(f"can't update CT {guest.vmid} drive '{name}'")
        _require_root_directories(world, guest.node, name, str(value))
    return _checked_value(world, guest.node, name, value)


def _checked_value(
    world: cluster.Cluster, node: str, name: str, value: config.Value
) -> config.Value:
    if name == "tags":
        return unique_tags(str(value))
    if name == "hookscript":
        _refuse_script(str(value))
    if name == "cpuunits":
        return max(_SMALLEST_WEIGHT, int(value))
    if name in ("nameserver", "searchdomain"):
        return " ".join(formats.split_list(str(value)))
    if re.fullmatch(r"net\d+", name):
        _require_sane_network(world, node, name, str(value))
    return value


def _require_root_directories(world: cluster.Cluster, node: str, name: str, value: str) -> None:
    volume = config.parse_volume(name, value)["volume"]
    parts = storage.split_volume_id(volume)
    if parts is None:
        return
    found = world.storages.require(parts[0], node)
    if "rootdir" not in found.options.content:
        raise errors.Failure(
            f"storage '{parts[0]}' does not allow content type 'rootdir' (Container)"
        )


def _refuse_script(volume_id: str) -> None:
    """No storage here holds scripts, so none can be hooked in."""
    parts = storage.split_volume_id(volume_id)
    name = parts[1] if parts else volume_id
    if storage.parse_volume_name(name).content != "snippets":
        raise errors.Failure(f"'{volume_id}' is not in the snippets directory")
    raise errors.Failure(f"script '{volume_id}' does not exist")


def _require_sane_network(world: cluster.Cluster, node: str, name: str, value: str) -> None:
    network = schema.parse_property_string(value, guest_schema.NETWORK)
    bridge, mtu = network.get("bridge"), int(network.get("mtu", "0"))
    if mtu and bridge not in world.bridges(node):
        raise errors.Failure(f"bridge '{bridge}' does not exist")
    if mtu > 1500:
        raise errors.Failure(f"{name}: MTU size '{mtu}' is bigger than bridge MTU '1500'")
    if network.get("host-managed") == "1" and network.get("ip6") == "auto":
        raise errors.Failure(
            f"{name}: SLAAC is not supported for host-managed network configuration."
        )


def _clean_up(conf: config.GuestConfig) -> None:
    """A pending change that changes nothing is none."""
    for name, value in list(conf.pending.items()):
        if conf.options.get(name) == config.as_stored(name, value):
            del conf.pending[name]
    conf.pending_delete = [name for name in conf.pending_delete if name in conf.options]


def _apply(
    world: cluster.Cluster, guest: cluster.Guest, selection: set[str], *, running: bool
) -> dict[str, str]:
    conf, problems = guest.config, {}
    for name in sorted(selection & set(conf.pending_delete)):
        if running and not _can_delete_now(name):
            continue
        _forget_option(world, guest, name)
        _drop(conf.pending_delete, name)
        _follow_card(world, guest, name)
    for name in sorted(selection & set(conf.pending)):
        if running and not _can_change_now(conf, name):
            continue
        try:
            conf.put(name, _final_value(world, guest, name, running=running))
        except errors.Failure as problem:
            problems[name] = f"unable to hotplug {name}: {problem.message}"
            continue
        conf.pending.pop(name)
        _follow_card(world, guest, name)
    return problems


def _follow_card(world: cluster.Cluster, guest: cluster.Guest, name: str) -> None:
    """Give the address of a card that is gone back, and one to a new card that asks for it."""
    if not re.fullmatch(r"net\d+", name):
        return
    cards = guest.config.networks()
    held = {one.hardware_address for one in world.networks.addresses if one.vmid == guest.vmid}
    for gone in held - {card.get("hwaddr", "") for card in cards.values()}:
        world.networks.take_back(guest.vmid, gone)
    card = cards.get(name, {})
    if card.get("hwaddr") not in held:
        world.networks.give(guest.vmid, card)


def _can_delete_now(name: str) -> bool:
    return name in _APPLIED_WHILE_RUNNING or bool(_DELETED_WHILE_RUNNING.fullmatch(name))


def _can_change_now(conf: config.GuestConfig, name: str) -> bool:
    if name in _APPLIED_WHILE_RUNNING or name in _CGROUP_OPTIONS:
        return True
    if re.fullmatch(r"net\d+", name):
        return True
    return bool(re.fullmatch(r"(mp|dev)\d+", name)) and name not in conf.options


def _final_value(
    world: cluster.Cluster, guest: cluster.Guest, name: str, *, running: bool
) -> config.Value:
    value = guest.config.pending[name]
    if running and name in world.faults.refused_live:
        raise errors.Failure("Device or resource busy")
    if re.fullmatch(r"net\d+", name):
        printed = print_network(str(value))
        bridge = schema.parse_property_string(printed, guest_schema.NETWORK).get("bridge")
        if running and bridge and bridge not in world.bridges(guest.node):
            raise errors.Failure(f"interface {bridge} does not exist\n")
        return printed
    if name in guest_schema.VOLUME_KEYS:
        return with_new_volume(world, guest, name, str(value))
    return value


def with_new_volume(world: cluster.Cluster, guest: cluster.Guest, name: str, value: str) -> str:
    """Allocate the volume a value asks for by `storage:GiB`; another value is left as it is."""
    volume = config.parse_volume(name, value)
    match = re.fullmatch(guest_schema.NEW_DISK, volume["volume"])
    if match is None:
        return _with_size(world, name, value)
    found = world.storages.require(match[1], guest.node)
    made = found.allocate(guest.vmid, storage.parse_new_disk(match[2]), world.clock.now())
    volume |= {"volume": f"{found.name}:{made.name}", "size": str(made.size_bytes)}
    return config.print_volume(name, volume)


def _with_size(world: cluster.Cluster, name: str, value: str) -> str:
    """Note the size of a volume that is there already."""
    volume = config.parse_volume(name, value)
    found = world.storages.volume(volume["volume"])
    if found is None or "size" in volume or not found[1].size_bytes:
        return value
    return config.print_volume(name, {**volume, "size": str(found[1].size_bytes)})


def _forget_option(world: cluster.Cluster, guest: cluster.Guest, name: str) -> None:
    value = guest.config.options.pop(name, None)
    if value is None:
        return
    if re.fullmatch(r"mp\d+", name):
        volume = config.parse_volume(name, str(value))["volume"]
        if not volume.startswith("/"):
            _add_unused(guest.config, volume)
    if re.fullmatch(r"unused\d+", name):
        found = world.storages.volume(str(value))
        if found is not None and found[1].owner == guest.vmid:  # never another guest's disk
            found[0].free(found[1].name)


def _add_unused(conf: config.GuestConfig, volume: str) -> None:
    number = next(n for n in range(guest_schema.UNUSED_VOLUMES) if f"unused{n}" not in conf.options)
    conf.put(f"unused{number}", volume)


def _drop(names: list[str], name: str) -> None:
    if name in names:
        names.remove(name)
