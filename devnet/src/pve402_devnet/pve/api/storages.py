"""`/storage` and `/nodes/{node}/storage`: storages and their content."""

from collections.abc import Iterator, Mapping

from pve402_devnet.pve import (
    access,
    errors,
    guest_rights,
    guest_schema,
    pulling,
    registries,
    rest,
    storage,
    tasks,
)
from pve402_devnet.pve.guest_schema import flag, text
from pve402_devnet.pve.schema import Property

_NODE = {"node": guest_schema.NODE}
_STORAGE = Property(format="pve-storage-id")
_TYPES = (
    "btrfs",
    "cephfs",
    "cifs",
    "dir",
    "esxi",
    "iscsi",
    "iscsidirect",
    "lvm",
    "lvmthin",
    "nfs",
    "pbs",
    "rbd",
    "zfs",
    "zfspool",
)
_READERS = ("Datastore.Audit", "Datastore.AllocateSpace")
_TEMPLATE_FORMATS = {"gz": "tgz", "xz": "txz", "zst": "tzst", "bz2": "tbz2", "tar": "tar"}


async def list_configured(call: rest.Call) -> rest.Json:
    """The storages of the cluster's configuration."""
    wanted = call.text("type")
    return [
        {
            "storage": found.name,
            "type": found.options.type,
            **_place(found),
            "content": ",".join(found.options.content),
            "digest": "aad791fe54aa767f9379328e63c23ce68bd72025",
            **({"shared": 1} if found.options.shared else {}),
            **({"nodes": ",".join(found.options.nodes)} if found.options.nodes else {}),
        }
        for found in call.world.storages
        if wanted in ("", found.options.type) and _may_read(call, found.name)
    ]


async def list_on_node(call: rest.Call) -> rest.Json:
    """The storages of a node with their free space."""
    wanted, name = call.text("content"), call.text("storage")
    return [
        {
            **_status(found),
            "storage": found.name,
            "used_fraction": found.used_bytes / found.options.total_bytes,
        }
        for found in call.world.storages
        if found.is_on(call.node)
        and _may_read(call, found.name)
        and (not wanted or wanted in found.options.content)
        and name in ("", found.name)
    ]


async def index(call: rest.Call) -> rest.Json:
    """The entries of a node's storage."""
    names = (
        "content download-url file-restore import-metadata identity oci-registry-pull"
        " prunebackups rrd rrddata status upload"
    )
    return [{"subdir": name} for name in names.split()]


async def status(call: rest.Call) -> rest.Json:
    """The free space of one storage."""
    found = call.world.storages.get(call.text("storage"))
    if found is None or not found.is_on(call.node):
        raise errors.ParameterErrors({"storage": "No such storage."})
    return _status(found)


async def content(call: rest.Call) -> rest.Json:
    """The templates and volumes on a storage that the caller may see."""
    found = call.world.storages.require(call.text("storage"), call.node)
    kind, vmid = call.text("content"), call.integer("vmid", 0)
    rows = []
    if kind in ("", "vztmpl") and not vmid:
        rows += list(_templates(found))
    if kind in ("", "rootdir"):
        rows += [row for row in _volumes(found) if vmid in (0, row["vmid"])]
    return [row for row in rows if _may_see(call, str(row["volid"]))]


async def volume(call: rest.Call) -> rest.Json:
    """One template or volume."""
    found = call.world.storages.require(call.text("storage"), call.node)
    name = call.text("volume")
    volume_id = name if ":" in name else f"{found.name}:{name}"
    guest_rights.require_volume(call, volume_id, None)
    rest_of_id = volume_id.partition(":")[2]
    known = found.understand(rest_of_id)
    template, disk = found.templates.get(known.name), found.volumes.get(rest_of_id)
    if template is not None:
        size = -(-template.size_bytes // 1024) * 1024
        path = found.template_path(known.name)
        return {"path": path, "size": size, "used": size, "format": "raw"}
    if disk is not None:
        path = found.path(disk.name)
        used = 0 if found.is_lvm else disk.used_bytes  # LVM does not say
        return {"path": path, "size": disk.size_bytes, "used": used, "format": "raw"}
    raise errors.Failure(f"volume_size_info on '{volume_id}' failed - no format")


async def pull(call: rest.Call) -> rest.Json:
    """Start copying an OCI image into a file; that it exists is noticed before anything else."""
    found = call.world.storages.require(call.text("storage"), call.node)
    found.require_templates()
    reference = call.text("reference")
    name = registries.file_name(call.text("filename", reference))
    if name in found.templates:
        raise errors.Failure(f"refusing to override existing file '{name}'")
    plan = pulling.Plan(reference=reference, storage=found, name=name)
    return call.world.tasks.fork(
        call.node,
        "ociregistrypull",
        name,
        call.user,
        lambda task: pulling.pull(call.world, plan, task),
    )


async def remove(call: rest.Call) -> rest.Json:
    """Start removing a template; guests' disks go with their guests alone."""
    found = call.world.storages.require(call.text("storage"), call.node)
    name = call.text("volume").removeprefix(f"{found.name}:")
    known = found.understand(name)
    call.require(f"/storage/{found.name}", "Datastore.Allocate")
    if known.content != "vztmpl":
        raise errors.Failure("only templates can be removed from this simulated storage")

    async def work(task: tasks.Task) -> None:
        if found.templates.pop(known.name, None) is None:
            task.log(f"disk image '{found.template_path(known.name)}' does not exist")
        task.log(f"Removed volume '{found.name}:{name}'")

    upid = call.world.tasks.fork(call.node, "imgdel", found.name, call.user, work)
    if not call.integer("delay", 0):
        return upid
    await call.world.tasks.require(upid).ended.wait()  # which takes no time
    return None


def _place(found: storage.Storage) -> dict[str, object]:
    if found.is_lvm:
        return {"vgname": found.options.volume_group, "thinpool": "data"}
    return {"path": found.options.path}


def _status(found: storage.Storage) -> dict[str, object]:
    return {
        "type": found.options.type,
        "content": ",".join(found.options.content),
        "shared": int(found.options.shared),
        "enabled": 1,
        "active": 1,
        "total": found.options.total_bytes,
        "used": found.used_bytes,
        "avail": found.available_bytes,
    }


def _templates(found: storage.Storage) -> Iterator[dict[str, object]]:
    for name, template in sorted(found.templates.items()):
        yield {
            "volid": f"{found.name}:vztmpl/{name}",
            "content": "vztmpl",
            "format": _TEMPLATE_FORMATS[name.rpartition(".")[2]],
            "size": template.size_bytes,
            "ctime": template.created_at,
        }


def _volumes(found: storage.Storage) -> Iterator[dict[str, object]]:
    for name, disk in sorted(found.volumes.items()):
        yield {
            "volid": f"{found.name}:{name}",
            "content": "rootdir",
            "format": "subvol" if disk.is_subvolume else "raw",
            "vmid": disk.owner,
            "size": disk.size_bytes,
            "ctime": disk.created_at,
            **({} if found.is_lvm else {"used": disk.used_bytes, "parent": None}),
        }


def _may_read(call: rest.Call, name: str) -> bool:
    return any(call.may(f"/storage/{name}", privilege) for privilege in _READERS)


def _may_see(call: rest.Call, volume_id: str) -> bool:
    try:
        guest_rights.require_volume(call, volume_id, None)
    except errors.ApiError:
        return False
    return True


def _on_node(
    path: str, handler: rest.Handler, permission: rest.Permission, **parameters: Property
) -> rest.Route:
    return rest.Route(
        method="GET",
        path=f"/nodes/{{node}}/storage{path}",
        handler=handler,
        permission=permission,
        parameters={**_NODE, **parameters},
        protected=True,
    )


def _may_pull(known: access.Access, user: str, values: Mapping[str, object]) -> None:
    known.require(user, f"/storage/{values.get('storage')}", "Datastore.AllocateTemplate")
    known.require(user, f"/nodes/{values.get('node')}", "Sys.AccessNetwork")


_READS = rest.needs_any("/storage/{storage}", *_READERS)

ROUTES = (
    rest.Route(
        method="GET",
        path="/storage",
        handler=list_configured,
        permission=rest.any_user,
        parameters={"type": text(enum=_TYPES)},
    ),
    _on_node(
        "",
        list_on_node,
        rest.any_user,
        storage=text(format="pve-storage-id"),
        content=text(format="pve-storage-content-list"),
        enabled=flag(),
        target=text(format="pve-node"),
        format=flag(),
    ),
    _on_node("/{storage}", index, _READS, storage=_STORAGE),
    _on_node("/{storage}/status", status, _READS, storage=_STORAGE),
    _on_node(
        "/{storage}/content",
        content,
        _READS,
        storage=_STORAGE,
        content=text(format="pve-storage-content"),
        vmid=guest_schema.VMID_OPTIONAL,
    ),
    _on_node(
        "/{storage}/content/{volume...}",
        volume,
        rest.any_user,
        storage=text(format="pve-storage-id"),
        volume=Property(),
    ),
    rest.Route(
        method="DELETE",
        path="/nodes/{node}/storage/{storage}/content/{volume...}",
        handler=remove,
        permission=rest.any_user,
        parameters={
            **_NODE,
            "storage": text(format="pve-storage-id"),
            "volume": Property(),
            "delay": guest_schema.number(1, 30),
        },
        protected=True,
    ),
    rest.Route(
        method="POST",
        path="/nodes/{node}/storage/{storage}/oci-registry-pull",
        handler=pull,
        permission=_may_pull,
        parameters={
            **_NODE,
            "storage": _STORAGE,
            "reference": Property(pattern=registries.REFERENCE),
            "filename": Property(optional=True, min_length=1, max_length=255),
        },
        protected=True,
    ),
)
