"""`resize`, `clone`, `template` and `feature` of a guest."""

import copy
from collections.abc import Mapping

from pve402_devnet.pve import (
    access,
    changes,
    cluster,
    config,
    disks,
    errors,
    formats,
    guest_rights,
    guest_schema,
    locks,
    rest,
    tasks,
)
from pve402_devnet.pve.api import guests_config
from pve402_devnet.pve.schema import Property

_GUEST = "/nodes/{node}/lxc/{vmid}"
_RUNNING_SOURCE = "Full clone of a running container is only possible from a snapshot"
_NOT_COPIED = frozenset({"lock", "parent", "snaptime", "snapstate", "template"})


async def resize(call: rest.Call) -> rest.Json:
    """Grow a volume; a size with `+` is added, one without a unit is bytes."""
    new_size = _require_growth(call)
    world, node, vmid, name = call.world, call.node, call.vmid, call.text("disk")

    async def work(task: tasks.Task) -> None:
        async with world.locks.hold(vmid):
            _require_growth(call)
            await disks.resize(world, world.guest(vmid, node), name, new_size, task)

    return world.tasks.fork(node, "resize", str(vmid), call.user, work)


async def clone(call: rest.Call) -> rest.Json:
    """Copy a guest under a new vmid."""
    world, node, new_id = call.world, call.node, call.integer("newid", 0)
    pool = call.text("pool") or None
    if pool is not None:
        world.access.require_pool(pool)
    node_of_copy = _require_target(call)
    _require_storage(call, node_of_copy)
    world.require_quorum()
    source = await _lock_source(call)
    try:
        await _reserve(call, new_id)
        try:
            copied = await _plan_copy(call, source)
        except errors.ApiError:
            world.guests.pop(new_id, None)
            raise
    except errors.ApiError:
        source.config.options.pop("lock", None)
        raise
    target = world.guests[new_id]
    target.config = copied
    copied.raw = copy.deepcopy(source.config.raw)
    target.template, target.systemd, target.image = source.template, source.systemd, source.image
    world.firewalls.copy_guest(source.vmid, new_id)
    for card in copied.networks().values():
        world.networks.give(new_id, card)

    linked = not _is_full(call, source)

    async def work(task: tasks.Task) -> None:
        where, snapshot = call.text("storage"), call.text("snapname")
        await disks.clone(world, source, target, where, task, linked=linked, snapshot=snapshot)
        if pool:
            world.access.pools[pool].guests.add(new_id)
        target.node = node_of_copy  # until then it is a guest of the source's node

    return world.tasks.fork(node, "vzclone", str(call.vmid), call.user, work)


async def feature(call: rest.Call) -> rest.Json:
    """Return whether the guest's storages can take snapshots, clone or copy."""
    name = call.text("feature")
    snapshots = disks.can_snapshot(call.world, call.guest)
    links = disks.can_link(call.world, call.guest, of_snapshot="snapname" in call.params)
    return {"hasFeature": int({"copy": True, "snapshot": snapshots, "clone": links}[name])}


async def make_template(call: rest.Call) -> rest.Json:
    """Turn a stopped guest into a template."""
    async with call.world.locks.hold(call.vmid):
        guest = call.guest
        guest.config.require_unlocked()
        if guest.config.snapshots:
            raise errors.Failure("unable to create template, because CT contains snapshots")
        if guest.config.options.get("template"):
            raise errors.Failure("you can't convert a template to a template")
        if await call.world.is_running(call.vmid):
            raise errors.Failure("you can't convert a CT to template if the CT is running")

        async def work(_: tasks.Task) -> None:
            guest.config.put("template", 1)

        call.world.tasks.fork(call.node, "vztemplate", str(call.vmid), call.user, work)
    return None


def _require_target(call: rest.Call) -> str:
    """Return the node that a copy goes to; nobody asks whether that is up."""
    target = call.text("target", call.node)
    if target == "localhost":
        return call.node
    if target not in call.world.nodes:
        raise errors.Failure(f"no such cluster node '{target}'")
    return target


def _require_storage(call: rest.Call, node_of_copy: str) -> None:
    """Check the storage that a full copy is to lie on: both nodes need it."""
    name = call.text("storage")
    if not name:
        return
    found = call.world.storages.require(name, call.node)
    if node_of_copy != call.node:
        call.world.storages.require(name, node_of_copy)
        if not found.options.shared:
            raise errors.Failure(f"can't clone to non-shared storage '{name}'")


def _require_growth(call: rest.Call) -> int:
    """Check a resize, as Proxmox does before and inside the task; returns the new size."""
    conf, name = call.guest.config, call.text("disk")
    conf.require_unlocked()
    guest_rights.require_changes(
        call,
        vmid=call.vmid,
        old=conf.options,
        new={"disk": name},
        unprivileged=bool(conf.options.get("unprivileged")),
    )
    guests_config.require_digest(call, conf)
    volume = config.parse_volume(name, conf.text(name))["volume"]
    call.require(f"/storage/{volume.partition(':')[0]}", "Datastore.AllocateSpace")
    found = call.world.storages.volume(volume)
    size = found[1].size_bytes if found else 0
    wanted = call.text("size")
    new_size = (formats.parse_size(wanted.lstrip("+")) or 0) + (size if wanted[0] == "+" else 0)
    if new_size < size:
        raise errors.Failure("unable to shrink disk size")
    if new_size == size:
        raise errors.Failure("disk is already at specified size")
    return new_size


async def _lock_source(call: rest.Call) -> cluster.Guest:
    async with call.world.locks.hold(call.vmid):
        source = call.guest
        source.config.require_unlocked()
        source.config.put("lock", "disk")
    return source


async def _reserve(call: rest.Call, new_id: int) -> None:
    world = call.world
    async with world.locks.hold(new_id, patience_seconds=locks.CREATE_PATIENCE_SECONDS):
        world.require_unused(new_id)
        world.guests[new_id] = cluster.Guest(
            vmid=new_id,
            node=call.node,
            config=config.GuestConfig(options={"lock": "create"}),
            created_at=world.clock.now(),
        )


async def _plan_copy(call: rest.Call, source: cluster.Guest) -> config.GuestConfig:
    running = await call.world.is_running(source.vmid)
    snapshot = call.text("snapname")
    full = _is_full(call, source)
    if call.text("storage") and not full:
        raise errors.Failure("parameter 'storage' not allowed for linked clones")
    options: Mapping[str, config.Value] = source.config.options
    if snapshot:
        options = guests_config.snapshot_of(source.config, snapshot)
    is_shared = True
    for volume in source.config.volumes().values():
        storage = call.text("storage") or volume["volume"].partition(":")[0]
        found = call.world.storages.get(storage)
        is_shared = is_shared and found is not None and found.options.shared
        call.require(f"/storage/{storage}", "Datastore.AllocateSpace")
        if full and running and not snapshot:
            raise errors.Failure(_RUNNING_SOURCE)
        if not full and not disks.can_link(call.world, source, of_snapshot=bool(snapshot)):
            name = volume["volume"]
            raise errors.Failure(f"Linked clone feature for '{name}' is not available")
    target = _require_target(call)
    if target != call.node and not is_shared:
        raise errors.Failure(f"can't clone CT to node '{target}' (CT uses local storage)")
    return _copy_options(call, options)


def _is_full(call: rest.Call, source: cluster.Guest) -> bool:
    """Whether a clone is a copy; by default only clones of templates share volumes."""
    return bool(call.params.get("full", not source.config.options.get("template")))


def _copy_options(call: rest.Call, options: Mapping[str, config.Value]) -> config.GuestConfig:
    copied = config.GuestConfig(options=copy.deepcopy(dict(options)))
    for name in _NOT_COPIED:
        copied.options.pop(name, None)
    for name, network in copied.networks().items():
        network["hwaddr"] = changes.draw_hardware_address()
        text = ",".join(f"{key}={value}" for key, value in network.items())
        copied.options[name] = changes.print_network(text)
        guest_rights.require_bridge(call, text)
    for name in ("hostname", "description"):
        if call.text(name):
            copied.put(name, call.text(name))
    copied.options["lock"] = "create"
    return copied


def _may_clone(known: access.Access, user: str, values: Mapping[str, object]) -> None:
    known.require(user, f"/vms/{values.get('vmid')}", "VM.Clone")
    pool = values.get("pool")
    allowed = known.may(user, f"/vms/{values.get('newid')}", "VM.Allocate")
    if not allowed and not (pool and known.may(user, f"/pool/{pool}", "VM.Allocate")):
        raise errors.PermissionDenied


ROUTES = (
    rest.Route(
        method="PUT",
        path=f"{_GUEST}/resize",
        handler=resize,
        permission=rest.needs_any("/vms/{vmid}", "VM.Config.Disk"),
        parameters=guest_schema.RESIZE,
        protected=True,
    ),
    rest.Route(
        method="POST",
        path=f"{_GUEST}/clone",
        handler=clone,
        permission=_may_clone,
        parameters=guest_schema.CLONE,
        protected=True,
    ),
    rest.Route(
        method="GET",
        path=f"{_GUEST}/feature",
        handler=feature,
        permission=rest.needs("/vms/{vmid}", "VM.Audit"),
        parameters={
            **guest_schema.OF_A_GUEST,
            "feature": Property(enum=("snapshot", "clone", "copy")),
            "snapname": guest_schema.text(format="pve-configid", max_length=40),
        },
        protected=True,
    ),
    rest.Route(
        method="POST",
        path=f"{_GUEST}/template",
        handler=make_template,
        permission=rest.needs("/vms/{vmid}", "VM.Allocate"),
        parameters=guest_schema.OF_A_GUEST,
        protected=True,
    ),
)
