"""Rights on single options of a guest and on volumes (LXC::check_ct_modify_config_perm)."""

import re
from collections.abc import Callable, Mapping, Sequence

from pve402_devnet.pve import config, errors, guest_schema, rest, schema, storage

_ARBITRARY_PATH = (
    "Only root can pass arbitrary filesystem paths. at /usr/share/perl5/PVE/Storage.pm line 651."
)
_PLAIN_PRIVILEGES = {
    "cores": "VM.Config.CPU",
    "cpuunits": "VM.Config.CPU",
    "cpulimit": "VM.Config.CPU",
    "memory": "VM.Config.Memory",
    "swap": "VM.Config.Memory",
    "nameserver": "VM.Config.Network",
    "searchdomain": "VM.Config.Network",
    "hostname": "VM.Config.Network",
}
_Options = Mapping[str, config.Value]


def require_changes(
    call: rest.Call,
    *,
    vmid: int,
    pool: str | None = None,
    old: _Options,
    new: _Options,
    delete: Sequence[str] = (),
    unprivileged: bool,
) -> None:
    """Raise `errors.PermissionDenied` for the first option the caller may not touch."""
    if call.is_root:
        return

    def on_guest(privilege: str) -> None:
        call.world.access.require_on_guest(call.user, vmid, pool, privilege)

    for name in sorted(new):
        _require_option(call, name, old, new, on_guest, unprivileged=unprivileged)
    for name in delete:
        _require_option(call, name, old, {}, on_guest, unprivileged=unprivileged)


def require_volume(
    call: rest.Call, volume_id: str, content: str | None, vmid: int | None = None
) -> None:
    """Raise what Proxmox raises for a volume the caller may not use, or not as this content."""
    parts = storage.split_volume_id(volume_id)
    if parts is None:
        if call.is_root:
            return
        raise errors.Failure(_ARBITRARY_PATH)
    volume = call.world.storages.require(parts[0], call.world.local_node).understand(parts[1])
    fits = content in (None, volume.content) or (content, volume.content) == ("rootdir", "images")
    if not fits:
        raise errors.Failure(
            f"unable to use volume {volume_id} - content type needs to be '{content}'"
        )
    path = f"/storage/{parts[0]}"
    if call.may(path, "Datastore.Allocate"):
        return
    _require_existing_volume(call, volume_id, volume, path, vmid)


def _require_existing_volume(
    call: rest.Call,
    volume_id: str,
    volume: storage.VolumeName,
    path: str,
    vmid: int | None,
) -> None:
    if volume.content in ("iso", "vztmpl", "import"):
        readers = ("Datastore.AllocateSpace", "Datastore.Audit")
        call.world.access.require_any(call.user, path, *readers)
    elif volume.owner is not None and volume.owner == vmid:
        return
    elif volume.content == "backup" and volume.owner:
        call.require(path, "Datastore.AllocateSpace")
        call.require(f"/vms/{volume.owner}", "VM.Backup")
    elif volume.content == "images" and volume.owner:
        call.require(path, "Datastore.Audit")
        call.require(f"/vms/{volume.owner}", "VM.Config.Disk")
    else:
        raise errors.Failure(f"missing privileges to access {volume_id}")


def _require_option(
    call: rest.Call,
    name: str,
    old: _Options,
    new: _Options,
    on_guest: Callable[[str], None],
    *,
    unprivileged: bool,
) -> None:
    if name in _PLAIN_PRIVILEGES:
        on_guest(_PLAIN_PRIVILEGES[name])
    elif name in guest_schema.VOLUME_KEYS:
        on_guest("VM.Config.Disk")
        _require_volume_option(call, name, new)
    elif re.fullmatch(r"net\d+", name):
        on_guest("VM.Config.Network")
        for options in (old, new):
            require_bridge(call, str(options.get(name, "")))
    elif re.fullmatch(r"dev\d+", name):
        raise errors.PermissionDenied("configuring device passthrough is only allowed for root@pam")
    elif name == "features":
        _require_features(old, new, on_guest, unprivileged=unprivileged)
    elif name == "hookscript":
        raise errors.PermissionDenied("changing the hookscript is only allowed for root@pam")
    else:
        on_guest("VM.Config.Options")


def _require_volume_option(call: rest.Call, name: str, new: _Options) -> None:
    if name not in new:
        return
    volume = config.parse_volume(name, str(new[name]))["volume"]
    if volume.startswith("/"):
        kind = "device" if volume.startswith("/dev/") else "bind"
        raise errors.PermissionDenied(f"mount point type {kind} is only allowed for root@pam")
    fresh = re.fullmatch(guest_schema.NEW_DISK, volume)
    if fresh:
        call.require(f"/storage/{fresh[1]}", "Datastore.AllocateSpace")
    else:
        require_volume(call, volume, "rootdir", call.vmid)


def require_bridge(call: rest.Call, text: str) -> None:
    """Raise `errors.PermissionDenied` for a bridge or VLAN the caller may not use."""
    network = schema.parse_property_string(text, guest_schema.NETWORK) if text else {}
    bridge, tag = network.get("bridge"), network.get("tag")
    if bridge is None:
        return
    path = call.world.networks.path_of(bridge)
    tags = [tag] if tag else []
    tags += network.get("trunks", "").split(";") if network.get("trunks") else []
    for one in tags:
        call.require(f"{path}/{one}", "SDN.Use")
    if not tags:
        call.require(path, "SDN.Use")


def _require_features(
    old: _Options, new: _Options, on_guest: Callable[[str], None], *, unprivileged: bool
) -> None:
    if not unprivileged:
        raise errors.PermissionDenied(
            "changing feature flags for privileged container is only allowed for root@pam"
        )
    before, after = _features(old), _features(new)
    changed = {k for k in before.keys() | after.keys() if before.get(k) != after.get(k)}
    if changed - {"nesting"}:
        raise errors.PermissionDenied(
            "changing feature flags (except nesting) is only allowed for root@pam"
        )
    if changed:
        on_guest("VM.Allocate")


def _features(options: _Options) -> dict[str, str]:
    text = str(options.get("features", ""))
    return schema.parse_property_string(text, guest_schema.FEATURES) if text.strip() else {}
